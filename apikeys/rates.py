"""A rate such as `100/minute`: a number of requests and a window in seconds. Pure."""

import math
import re
from functools import lru_cache
from typing import NamedTuple

WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
MAXIMUM = 1_000_000_000

PATTERN = re.compile(rf"([1-9][0-9]{{0,8}}|{MAXIMUM})/(second|minute|hour|day)", re.ASCII)


class Rate(NamedTuple):
    limit: int
    window: int  # seconds

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in WINDOWS.items() if seconds == self.window)
        return f"{self.limit}/{unit}"

    def covers(self, other: "Rate") -> bool:
        """Whether this allows at least as many requests as the other, both in a burst and over time."""
        return self.limit >= other.limit and self.limit * other.window >= other.limit * self.window


@lru_cache(maxsize=1024)
def parse(text: str) -> Rate:
    """Parse a rate such as `100/minute`. Raises `ValueError` with a message for people."""
    found = PATTERN.fullmatch(text)
    if found is None:
        raise ValueError("Write a rate as a number and a unit, such as 100/minute (second, minute, hour or day).")
    return Rate(int(found[1]), WINDOWS[found[2]])


class Outcome(NamedTuple):
    """The result of a limiter. `reset` is the time until the window ends, in whole seconds."""

    allowed: bool
    rate: Rate
    remaining: int
    reset: int

    @property
    def retry_after(self) -> int:
        """Seconds until a retry makes sense, at least 1."""
        return max(1, self.reset)

    @property
    def policy_header(self) -> str:
        """`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11, §3)."""
        return f'"default";q={self.rate.limit};w={self.rate.window}'

    @property
    def header(self) -> str:
        """`RateLimit` (the same draft, §4)."""
        return f'"default";r={self.remaining};t={self.reset}'


def whole_seconds(left: float, rate: Rate) -> int:
    """The time left in a window, at most the window: floating point may exceed it slightly."""
    return min(rate.window, max(0, math.ceil(left)))
