"""Rotating API keys: creates a successor, with an overlap in which both keys work."""

from datetime import datetime, timedelta
from enum import StrEnum

from django.db import transaction
from django.utils import timezone

from accounts import audit, ids
from accounts.audit import Event
from accounts.errors import AlreadyExists, InvalidState
from accounts.policy import Actor
from accounts.services import apply_changes

from ..models import APIKey, State
from ..power import Power
from .keys import SETTINGS, Issued, save_new
from .revocation import revoke_locked
from .rules import latest_expiry, lock_key, require_not_revoked, require_within_own_power


class Overlap(StrEnum):
    """How long a rotated key keeps working beside its successor."""

    NONE = "none"
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def length(self) -> timedelta:
        return _OVERLAPS[self]


_OVERLAPS = {
    Overlap.NONE: timedelta(0),
    Overlap.HOUR: timedelta(hours=1),
    Overlap.DAY: timedelta(days=1),
    Overlap.WEEK: timedelta(days=7),
}


@transaction.atomic
def rotate_api_key(*, actor: Actor, api_key: APIKey, overlap: Overlap, id: str | None = None) -> Issued:
    """Create a successor with the same settings, and keep the old key working for the overlap.

    The successor doesn't outlive the key's original expiry. Without an overlap the old key is revoked immediately.
    Raises `InvalidState` unless the key is active and was not rotated before, `AlreadyExists` for an `id` that was
    used, and `NotPermitted` if the successor would get more power than the acting key has.
    """
    actor, old = lock_key(actor, api_key)
    if id is not None and APIKey.objects.filter(pk=id).exists():
        raise AlreadyExists("This key was already rotated.")
    require_not_revoked(old, "rotated")
    if old.state != State.ACTIVE:
        raise InvalidState(f"{old.name} is {old.state.label.lower()}. Only an active key can be rotated.")
    if old.rotated_at is not None:
        raise InvalidState("This key was already rotated.")
    require_within_own_power(actor, Power.of(old))
    settings = {field: getattr(old, field) for field in SETTINGS}
    successor = APIKey(id=id or ids.new_key_id(), account_id=old.account_id, rotated_from=old, **settings)
    successor.expires_at = _earliest(old.expires_at, latest_expiry(actor))
    issued = save_new(actor, successor)
    changes = {"successor": (None, successor.id)}
    old.rotated_at = timezone.now()
    if overlap != Overlap.NONE:
        changes |= apply_changes(old, expires_at=_earliest(old.expires_at, old.rotated_at + overlap.length))
    old.save(update_fields=["rotated_at", "expires_at"])
    audit.record(actor=actor, event=Event.API_KEY_ROTATED, target=old.target, changes=changes)
    if overlap == Overlap.NONE:
        revoke_locked(actor, [old])
    return issued


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
