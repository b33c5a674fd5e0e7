"""What was mailed, as a server's mail thread would have sent it by now."""

from typing import Any

from django.core import mail

from accounts import outbox


def delivered() -> list[Any]:
    """Every mail so far: what waits in the outbox is sent first."""
    outbox.deliver()
    sent: list[Any] = mail.outbox
    return sent
