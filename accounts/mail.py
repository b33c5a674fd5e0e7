"""Mail about an account, from `templates/accounts/mail/`. All of it goes through the outbox."""

from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from . import outbox
from .models import Account, Membership

MAX_ADDRESS_LENGTH = 254

#: How long we try to send a mail. Links to reset a password or confirm an address work equally long.
LIFETIME = timedelta(days=3)


def member_addresses(account: Account) -> list[str]:
    """The e-mail addresses of the account's members."""
    return list(Membership.objects.for_account(account).values_list("user__email", flat=True))


def is_deliverable(address: str) -> bool:
    """Whether mail can be sent there. Django's check accepts domains whose ASCII form doesn't exist or is too long."""
    local, _, domain = address.rpartition("@")
    try:
        return len(local) + 1 + len(domain.encode("idna")) <= MAX_ADDRESS_LENGTH
    except UnicodeError:
        return False


def notify(
    addresses: Iterable[str], name: str, *, lifetime: timedelta = LIFETIME, about: str = "", **context: Any
) -> None:
    """Send a separate mail to each address once the transaction is committed."""
    # Recipients have different time zones, so times in mail are in UTC.
    with timezone.override(UTC):
        subject = render_to_string(f"accounts/mail/{name}_subject.txt", context)
        text = render_to_string(f"accounts/mail/{name}.txt", context)
    for address in addresses:
        outbox.add(address, subject, text, kind=name, lifetime=lifetime, about=about)
