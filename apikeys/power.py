"""How much a key can do, from where and for how long, and whether one power covers another. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from accounts.policy import KeyPermission

from . import networks


class HasPower(Protocol):
    """An `APIKey`, or its settings."""

    permission: str
    administrator: bool
    expires_at: datetime | None
    allowed_networks: list[str]


class Power(NamedTuple):
    """What makes a key dangerous. How fast it may go does not: two slow keys are as fast as one."""

    permission: KeyPermission
    administrator: bool
    expires_at: datetime | None
    allowed_networks: Sequence[str]

    @classmethod
    def of(cls, key: HasPower) -> "Power":
        return cls(KeyPermission(key.permission), key.administrator, key.expires_at, tuple(key.allowed_networks))

    def exceeded_by(self, other: "Power") -> str | None:
        """How `other` goes beyond this power, as the end of a sentence; None if it doesn't."""
        if not self.permission.covers(other.permission) or (other.administrator and not self.administrator):
            return "with more power than its own"
        if self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at):
            return "that outlives it"
        if not networks.covers(self.allowed_networks, other.allowed_networks):
            return "that works from more networks than it does"
        return None
