"""Mail to people about an account, from `templates/accounts/mail/`: as text, and the same text as HTML."""

import logging
from collections.abc import Iterable
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string

from .models import Account, Membership

logger = logging.getLogger(__name__)

LONGEST_ADDRESS = 254


def everybody(account: Account) -> list[str]:
    """The addresses of the account's members."""
    return list(Membership.objects.for_account(account).values_list("user__email", flat=True))


def is_possible(address: str) -> bool:
    """Whether mail can be sent there: Django's check passes domains that have no form in ASCII, or too long a one."""
    local, _, domain = address.rpartition("@")
    try:
        return len(local) + 1 + len(domain.encode("idna")) <= LONGEST_ADDRESS
    except UnicodeError:
        return False


def tell(addresses: Iterable[str], name: str, **context: Any) -> None:
    """Mail once the transaction is committed. A mail that fails is logged and holds nothing up."""
    addresses = list(addresses)

    def send_or_log() -> None:
        try:
            send(addresses, name, **context)
        except (OSError, ValueError):
            logger.exception("The mail %s could not be sent.", name)

    transaction.on_commit(send_or_log)


def send(addresses: Iterable[str], name: str, **context: Any) -> None:
    """Mail now. Raises `OSError` if the mail server can't be reached or refuses, `ValueError` for no address."""
    subject = render_to_string(f"accounts/mail/{name}_subject.txt", context)
    deliver(addresses, subject, render_to_string(f"accounts/mail/{name}.txt", context))


def deliver(addresses: Iterable[str], subject: str, text: str) -> None:
    """Mail a text, and the same text as HTML, to each address by itself. Raises as `send` does."""
    subject = " ".join(subject.split())
    html = render_to_string("accounts/mail/base.html", {"subject": subject, "text": text})
    for address in addresses:
        message = EmailMultiAlternatives(subject, text, to=[address])
        message.attach_alternative(html, "text/html")
        message.send()
