"""Sent mail. For mail that a server's mail thread would have sent by now."""

from typing import Any

from django.core import mail

from accounts import outbox


def delivered() -> list[Any]:
    """All mail so far. The outbox is sent first."""
    outbox.deliver()
    sent: list[Any] = mail.outbox
    return sent
