"""Maintenance mode as every process sees it: read by the heartbeat, never by a request."""

import logging
from typing import NamedTuple

from django.db import DatabaseError

from .models import Maintenance

logger = logging.getLogger(__name__)


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
    """Read the state from the database. With that out of reach, what was known stays."""
    global _current
    try:
        row = Maintenance.objects.filter(on=True).first()
    except DatabaseError as error:
        logger.warning("The maintenance state can't be read: %s", error)
        return
    _current = Status(True, row.message, row.retry_after) if row else _OFF


def switch(*, on: bool, message: str = "", retry_after: int | None = None) -> Maintenance:
    """Switch maintenance on or off; every process obeys within a second."""
    defaults = Maintenance(message=message or Maintenance.MESSAGE, on=on)
    if retry_after is not None:
        defaults.retry_after = retry_after
    defaults.save(force_insert=not Maintenance.objects.filter(pk=defaults.pk).exists())
    return defaults
