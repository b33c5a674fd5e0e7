"""Exact limits: with N allowed in a window, exactly N pass, across all threads, processes and nodes.

The window is fixed and starts at the first request. The limiter in memory is a dictionary with a lock. `redis_limits`
has the other one.
"""

import math
import threading
import time
from typing import Protocol

from django.conf import settings

from accounts.errors import TooManyRequests

from . import rates
from .rates import Outcome, Rate, whole_seconds

TOO_MANY_ATTEMPTS = "Too many attempts. Please slow down."


class Limiter(Protocol):
    """While the limits are unavailable, both methods return None if the operator lets requests pass.

    Otherwise they raise `Unavailable`.
    """

    def hit(self, bucket: str, rate: Rate) -> Outcome | None:
        """Count one request."""

    def peek(self, bucket: str, rate: Rate) -> Outcome | None:
        """The result that `hit` would return now. Counts nothing."""


class Counter(Limiter, Protocol):
    """A limiter that counts."""

    def probe(self) -> None:
        """Raises an exception if the counts are unavailable."""

    def clear(self) -> None:
        """Forget every count. For tests."""


class DryRun:
    """A limiter that counts nothing, but returns what a real hit would.

    It does count in buckets whose names begin with `counting`.
    """

    def __init__(self, limiter: Limiter, *, counting: str | None = None) -> None:
        self._limiter = limiter
        self._counting = counting

    def hit(self, bucket: str, rate: Rate) -> Outcome | None:
        if self._counting is not None and bucket.startswith(self._counting):
            return self._limiter.hit(bucket, rate)
        return self.peek(bucket, rate)

    def peek(self, bucket: str, rate: Rate) -> Outcome | None:
        return self._limiter.peek(bucket, rate)


class Unlimited:
    """Counts nothing and lets everything pass."""

    def hit(self, bucket: str, rate: Rate) -> None:
        pass

    def peek(self, bucket: str, rate: Rate) -> None:
        pass


UNLIMITED = Unlimited()


class MemoryLimiter:
    """For one process. Each time its size has doubled, it drops the windows that have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, int], tuple[int, float]] = {}  # count, end of the window
        self._sweep_at = 1024

    def hit(self, bucket: str, rate: Rate) -> Outcome:
        return self._ask(bucket, rate, counts=True)

    def peek(self, bucket: str, rate: Rate) -> Outcome:
        return self._ask(bucket, rate, counts=False)

    def probe(self) -> None:
        pass

    def clear(self) -> None:
        with self._lock:
            self._windows.clear()

    def _ask(self, bucket: str, rate: Rate, *, counts: bool) -> Outcome:
        now = time.monotonic()
        key = (bucket, rate.window)
        with self._lock:
            count, end = self._windows.get(key, _NO_WINDOW)
            if end <= now:
                count, end = 0, now + rate.window
            allowed = count < rate.limit
            if allowed:
                count += 1
                if counts:
                    if count == 1:
                        self._sweep(now)
                    self._windows[key] = (count, end)
        return Outcome(allowed, rate, max(0, rate.limit - count), whole_seconds(end - now, rate))

    def _sweep(self, now: float) -> None:
        if len(self._windows) >= self._sweep_at:
            self._windows = {key: window for key, window in self._windows.items() if window[1] > now}
            self._sweep_at = max(1024, 2 * len(self._windows))


_NO_WINDOW = (0, -math.inf)


def _new_limiter() -> Counter:
    if not settings.REDIS_URL:
        return MemoryLimiter()
    from .redis_limits import RedisLimiter  # here, because importing redis-py takes a tenth of a start

    return RedisLimiter(settings.REDIS_URL)


#: The process's limiter, created at import because the first requests arrive on several threads at once.
limiter = _new_limiter()


def rate_of(own: str | None) -> Rate:
    """The rate of a key: its own, or the default."""
    return rates.parse(own) if own else settings.API_RATE_LIMIT


def require_within_limit(bucket: str, rate: Rate) -> None:
    """Count one attempt. Raises `TooManyRequests` over the rate."""
    outcome = limiter.hit(bucket, rate)
    if outcome is not None and not outcome.allowed:
        raise TooManyRequests(TOO_MANY_ATTEMPTS, retry_after=outcome.retry_after)
