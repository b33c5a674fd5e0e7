"""Mail to people about an account, from `templates/accounts/mail/`: as text, and the same text as HTML."""

import logging
from collections.abc import Iterable
from datetime import UTC
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from . import redaction
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
    """Mail now. Raises as `deliver` does."""
    # A mail goes to several people, in whose name somebody acts: its times are in UTC, whatever their own are.
    with timezone.override(UTC):
        subject = render_to_string(f"accounts/mail/{name}_subject.txt", context)
        text = render_to_string(f"accounts/mail/{name}.txt", context)
    deliver(addresses, subject, text)


def deliver(addresses: Iterable[str], subject: str, text: str) -> None:
    """Mail a text to each address by itself.

    Raises `OSError` if no mail could be sent. An address that is refused alone is logged, for what is sent
    again would reach the others twice.
    """
    refused, sent = None, False
    for address in addresses:
        try:
            compose(address, subject, text).send()
            sent = True
        except OSError as error:
            refused = error
            logger.warning("The mail “%s” to %s could not be sent: %s", subject, address, error)
    if refused and not sent:
        raise refused


def compose(address: str, subject: str, text: str) -> EmailMultiAlternatives:
    """A mail that holds a text, and the same text as HTML. No key is mailed, whoever wrote one into a name."""
    subject, text = redaction.redact(" ".join(subject.split())), redaction.redact(text)
    message = EmailMultiAlternatives(subject, text, to=[address])
    html = render_to_string("accounts/mail/base.html", {"subject": subject, "text": text})
    message.attach_alternative(html, "text/html")
    return message
