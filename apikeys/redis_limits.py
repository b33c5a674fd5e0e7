"""Limits that all processes and nodes count together, on Redis. `limits` imports this only if there is a Redis.

One Lua script counts, starts the window and returns the time left in one round trip.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.errors import Unavailable

from . import outages
from .outages import RedisUnavailable
from .rates import Outcome, Rate, whole_seconds


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
        for key in self._client.scan_iter(match=self.PREFIX + "*"):
            self._client.delete(key)

    def _ask(self, bucket: str, rate: Rate, *, counts: bool) -> Outcome | None:
        key = f"{self.PREFIX}{bucket}:{rate.window}"
        try:
            answer = call_redis(lambda: self._run(key, rate.limit, rate.window * 1000, int(counts)))
        except RedisUnavailable as error:
            raise Unavailable("Rate limits are unavailable. Please try again later.") from error
        if answer is NO_ANSWER:
            return None
        allowed, count, left = answer
        return Outcome(bool(allowed), rate, max(0, rate.limit - count), whole_seconds(left / 1000, rate))

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

    Otherwise raises `RedisUnavailable`. Raises `Unavailable` if too many threads are waiting already.
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
            raise RedisUnavailable(str(error)) from error
        return NO_ANSWER


def _in_slot(call: Callable[[], Any]) -> Any:
    if not outages.slots.acquire():
        raise Unavailable("Too many requests wait for an answer. Please try again later.")
    try:
        return call()
    finally:
        outages.slots.release()
