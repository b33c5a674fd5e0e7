"""A key's power: what it can do, where, from which networks and for how long. Compares two powers."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from accounts.policy import KeyPermission

from . import limits, networks, scopes
from .scopes import Access


class HasPower(Protocol):
    """What `Power.of` reads from an `APIKey`."""

    permission: str
    administrator: bool
    expires_at: datetime | None
    allowed_networks: list[str]
    rate_limit: str | None
    accepts_query: bool
    accepts_body: bool
    access: str | None


class Power(NamedTuple):
    """What a key may grant. `rate_limit` is the key's own: a key without one may grant any rate."""

    permission: KeyPermission
    administrator: bool
    expires_at: datetime | None
    allowed_networks: Sequence[str]
    rate_limit: str | None
    access: Access

    @classmethod
    def of(cls, key: HasPower) -> "Power":
        return cls(
            KeyPermission(key.permission),
            key.administrator,
            key.expires_at,
            tuple(key.allowed_networks),
            key.rate_limit or None,
            scopes.load(key.access),
        )

    def exceeded_by(self, other: "Power") -> str | None:
        """How `other` exceeds this power, as the end of a sentence, or None."""
        if not self.permission.covers(other.permission) or (other.administrator and not self.administrator):
            return "with more power than its own"
        if self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at):
            return "that expires later than it does"
        if not networks.covers(self.allowed_networks, other.allowed_networks):
            return "that works from more networks than its own"
        if not scopes.covers(self.access, other.access):
            return "with more access than its own"
        if self.rate_limit is not None and not limits.rate_of(self.rate_limit).covers(limits.rate_of(other.rate_limit)):
            return "with a higher rate limit than its own"
        return None


def is_wider(key: HasPower, *, than: HasPower) -> bool:
    """Whether a key can do what another can't. It also compares where the keys may be sent, and their actual rates."""
    return (
        Power.of(than).exceeded_by(Power.of(key)) is not None
        or (key.accepts_query and not than.accepts_query)
        or (key.accepts_body and not than.accepts_body)
        or not limits.rate_of(than.rate_limit).covers(limits.rate_of(key.rate_limit))
    )


def bounds(
    *, expires_at: datetime | None, allowed_networks: Sequence[str], rate_limit: str | None, access: str | None
) -> str:
    """What restricts a key but never an Admin, as the end of "a key that …". Empty if nothing restricts it."""
    if expires_at is not None:
        return "expires"
    if allowed_networks:
        return "is limited to networks"
    if rate_limit:
        return "has its own rate limit"
    return "has limited access" if access is not None else ""
