"""Mail to people about an account, from `templates/accounts/mail/`. All of it goes through the outbox."""

from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from . import outbox
from .models import Account, Membership

MAX_ADDRESS_LENGTH = 254

#: How long a mail is tried. A link to reset a password, or to confirm an address, works for as long.
LIFETIME = timedelta(days=3)


def member_addresses(account: Account) -> list[str]:
    """The addresses of the account's members."""
    return list(Membership.objects.for_account(account).values_list("user__email", flat=True))


def is_deliverable(address: str) -> bool:
    """Whether mail can be sent there: Django's check passes domains that have no form in ASCII, or too long a one."""
    local, _, domain = address.rpartition("@")
    try:
        return len(local) + 1 + len(domain.encode("idna")) <= MAX_ADDRESS_LENGTH
    except UnicodeError:
        return False


def notify(
    addresses: Iterable[str], name: str, *, lifetime: timedelta = LIFETIME, about: str = "", **context: Any
) -> None:
    """Mail each address by itself, if the transaction is committed."""
    # A mail goes to several people, in whose name somebody acts: its times are in UTC, whatever their own are.
    with timezone.override(UTC):
        subject = render_to_string(f"accounts/mail/{name}_subject.txt", context)
        text = render_to_string(f"accounts/mail/{name}.txt", context)
    for address in addresses:
        outbox.add(address, subject, text, kind=name, lifetime=lifetime, about=about)
