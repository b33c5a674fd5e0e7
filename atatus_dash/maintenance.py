"""Maintenance mode as every process sees it: read by the heartbeat, never by a request."""

from django.utils import timezone

from apikeys import gate

from .models import Maintenance

_current: gate.Maintenance | None = None
_at_guard: gate.Maintenance | None = None


def current() -> gate.Maintenance | None:
    """The state that the heartbeat read last. None unless maintenance is on."""
    return _current


def at_guard() -> gate.Maintenance | None:
    """The state for authorization requests. None unless maintenance is on for services too."""
    return _at_guard


def refresh() -> None:
    """Read the state from the database. If the database is unavailable, this raises and the last state stays."""
    global _current, _at_guard
    row = Maintenance.objects.filter(on=True).first()
    _current = gate.Maintenance(row.message, row.retry_after) if row else None
    _at_guard = _current if row and row.guard else None


def switch(
    *,
    on: bool,
    guard: bool = False,
    message: str = Maintenance.MESSAGE,
    retry_after: int = Maintenance.RETRY_AFTER,
) -> None:
    """Switch maintenance on or off, in every process within a second. `retry_after` is in seconds.

    Without `guard`, gateways still get answers: an upgrade of this server must not be an outage of the services behind
    them.
    """
    values = {"on": on, "guard": guard, "message": message, "retry_after": retry_after, "changed_at": timezone.now()}
    Maintenance.objects.update_or_create(pk=1, defaults=values)
