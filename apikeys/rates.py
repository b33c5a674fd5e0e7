"""A rate such as `100/minute`: a number of requests and a window in seconds. Pure."""

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
