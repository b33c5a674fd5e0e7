"""Maintenance mode as every process sees it: read by the heartbeat, never by a request."""

from django.utils import timezone

from apikeys import gate

from .models import Maintenance

_current: gate.Maintenance | None = None
_at_guard: gate.Maintenance | None = None


def current() -> gate.Maintenance | None:
    """What the last heartbeat read: None unless it is on."""
    return _current


def at_guard() -> gate.Maintenance | None:
    """What gateways are told: None unless it is on for the services behind them, too."""
    return _at_guard


def refresh() -> None:
    """Read the state from the database. While that is out of reach, which raises, what was known stays."""
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
    """Switch maintenance on or off; every process obeys within a second. `retry_after` is in seconds.

    With `guard` it stops gateways, too: an upgrade of ours need be no outage of the services behind them.
    """
    values = {"on": on, "guard": guard, "message": message, "retry_after": retry_after, "changed_at": timezone.now()}
    Maintenance.objects.update_or_create(pk=1, defaults=values)
