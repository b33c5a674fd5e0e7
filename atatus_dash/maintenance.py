"""Maintenance mode as every process sees it: read by the heartbeat, never by a request."""

from typing import NamedTuple

from django.utils import timezone

from .models import Maintenance


class Status(NamedTuple):
    on: bool
    message: str
    retry_after: int  # seconds


_OFF = Status(False, "", 0)
_current = _OFF


def current() -> Status:
    """What the last heartbeat read."""
    return _current


def refresh() -> None:
    """Read the state from the database. While that is out of reach, which raises, what was known stays."""
    global _current
    row = Maintenance.objects.filter(on=True).first()
    _current = Status(True, row.message, row.retry_after) if row else _OFF


def switch(*, on: bool, message: str = Maintenance.MESSAGE, retry_after: int = Maintenance.RETRY_AFTER) -> None:
    """Switch maintenance on or off; every process obeys within a second. `retry_after` is in seconds."""
    values = {"on": on, "message": message, "retry_after": retry_after, "changed_at": timezone.now()}
    Maintenance.objects.update_or_create(pk=1, defaults=values)
