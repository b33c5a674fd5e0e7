"""Exact limits: with N allowed in a window, exactly N pass, across all threads, processes and nodes.

The window is fixed and starts at the first request. The memory limiter is a dictionary with a lock. The Redis limiter
is one Lua script, which counts, starts the window and returns the time left in one round trip.
"""

import hashlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.errors import TooManyRequests, Unavailable

from . import outages, rates
from .rates import Rate

TOO_MANY_ATTEMPTS = "Too many attempts. Please slow down."


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


def _whole_seconds(left: float, rate: Rate) -> int:
    """The time left in a window, at most the window: floating point may exceed it slightly."""
    return min(rate.window, max(0, math.ceil(left)))


class Limiter(Protocol):
    """While the limits are unavailable, both methods return None if the operator lets requests pass.

    Otherwise they raise `Unavailable`.
    """

    def hit(self, bucket: str, rate: Rate) -> Outcome | None:
        """Count one request."""

    def peek(self, bucket: str, rate: Rate) -> Outcome | None:
        """The result that `hit` would return now. Counts nothing."""


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

    def clear(self) -> None:
        """Forget every count. For tests."""
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
        return Outcome(allowed, rate, max(0, rate.limit - count), _whole_seconds(end - now, rate))

    def _sweep(self, now: float) -> None:
        if len(self._windows) >= self._sweep_at:
            self._windows = {key: window for key, window in self._windows.items() if window[1] > now}
            self._sweep_at = max(1024, 2 * len(self._windows))


_NO_WINDOW = (0, -math.inf)


class RedisLimiter:
    """For any number of processes and nodes."""

    PREFIX = "atatus:limit:"
    #: Arguments: limit, window in milliseconds, whether to count. Returns whether it passes, the count, the time left.
    SCRIPT = """
        local count = tonumber(redis.call('GET', KEYS[1]) or '0')
        local left = redis.call('PTTL', KEYS[1])
        local allowed = count < tonumber(ARGV[1])
        if allowed then
            count = count + 1
            if count == 1 then left = tonumber(ARGV[2]) end
            if ARGV[3] == '1' then
                if count == 1 then redis.call('SET', KEYS[1], 1, 'PX', left) else redis.call('INCR', KEYS[1]) end
            end
        end
        return {allowed and 1 or 0, count, left}
    """

    def __init__(self, url: str) -> None:
        # No retries and short timeouts, so that calls fail fast while Redis is unavailable.
        self._client = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=1, socket_connect_timeout=1
        )
        self._digest = hashlib.sha1(self.SCRIPT.encode(), usedforsecurity=False).hexdigest()
        #: Open connections that no thread uses. Getting one from redis-py's pool takes as long as the script itself.
        self._idle: deque[redis.Connection] = deque()
        os.register_at_fork(after_in_child=self._idle.clear)

    def hit(self, bucket: str, rate: Rate) -> Outcome | None:
        return self._ask(bucket, rate, counts=True)

    def peek(self, bucket: str, rate: Rate) -> Outcome | None:
        return self._ask(bucket, rate, counts=False)

    def probe(self) -> None:
        """Raises `RedisError` if Redis is unavailable."""
        self._client.ping()

    def clear(self) -> None:
        """Forget every count. For tests."""
        for key in self._client.scan_iter(match=self.PREFIX + "*"):
            self._client.delete(key)

    def _ask(self, bucket: str, rate: Rate, *, counts: bool) -> Outcome | None:
        key = f"{self.PREFIX}{bucket}:{rate.window}"
        try:
            answer = call_redis(lambda: self._run(key, rate.limit, rate.window * 1000, int(counts)))
        except redis.RedisError as error:
            raise Unavailable("Rate limits are unavailable. Please try again later.") from error
        if answer is NO_ANSWER:
            return None
        allowed, count, left = answer
        return Outcome(bool(allowed), rate, max(0, rate.limit - count), _whole_seconds(left / 1000, rate))

    def _run(self, *arguments: str | int) -> Any:
        """The result of the script. If Redis was restarted, the connection is opened again once.

        If Redis stopped between counting and answering, the request is counted twice.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            pool = self._client.connection_pool
            connection = pool.connection_class(**pool.connection_kwargs)
        try:
            return _answer(connection, "EVALSHA", self._digest, 1, *arguments)
        except (redis.ConnectionError, redis.exceptions.NoScriptError):
            return _answer(connection, "EVAL", self.SCRIPT, 1, *arguments)
        finally:
            self._idle.append(connection)


def _answer(connection: redis.Connection, *command: str | int) -> Any:
    """The reply of Redis. On failure redis-py closes the connection, so a late reply is not read as the next one."""
    connection.send_command(*command)  # type: ignore[no-untyped-call]  # redis-py lacks it
    return connection.read_response()


#: What `call_redis` returns instead of a reply.
NO_ANSWER = object()


def call_redis(call: Callable[[], Any]) -> Any:
    """The reply of Redis, or `NO_ANSWER` while it is unavailable and the operator lets requests pass without limits.

    Otherwise raises `RedisError`. Raises `Unavailable` if too many threads are waiting already.
    """
    try:
        if outages.REDIS.is_unresponsive:
            raise redis.ConnectionError(outages.UNRESPONSIVE)
        if not outages.redis_slots.acquire():
            raise redis.TimeoutError(outages.REDIS_BUSY)
        try:
            return _in_slot(call)
        finally:
            outages.redis_slots.release()
    except redis.RedisError as error:
        passes = settings.LIMITS_WITHOUT_REDIS == "allow"
        outages.REDIS.record_failure(error, "requests pass unlimited" if passes else "requests are refused")
        if not passes:
            raise
        return NO_ANSWER


def _in_slot(call: Callable[[], Any]) -> Any:
    if not outages.slots.acquire():
        raise Unavailable("Too many requests wait for an answer. Please try again later.")
    try:
        return call()
    finally:
        outages.slots.release()


#: The process's limiter, created at import because the first requests arrive on several threads at once.
limiter: MemoryLimiter | RedisLimiter = RedisLimiter(settings.REDIS_URL) if settings.REDIS_URL else MemoryLimiter()


def rate_of(own: str | None) -> Rate:
    """The rate of a key: its own, or the default."""
    return rates.parse(own) if own else settings.API_RATE_LIMIT


def require_within_limit(bucket: str, rate: Rate) -> None:
    """Count one attempt. Raises `TooManyRequests` over the rate."""
    outcome = limiter.hit(bucket, rate)
    if outcome is not None and not outcome.allowed:
        raise TooManyRequests(TOO_MANY_ATTEMPTS, retry_after=outcome.retry_after)
