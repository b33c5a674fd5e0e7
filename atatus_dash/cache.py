"""Django's cache on Redis, which reads as empty while Redis is unavailable and LIMITS_WITHOUT_REDIS is `allow`.

The limits that Django and allauth count in it, such as attempts to sign in, then let everybody pass, and so do the
API's limits.
"""

import json
from collections.abc import Callable
from typing import Any

from django.core.cache.backends import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apikeys import redis_limits


class JSONSerializer:
    """Stores values as JSON. With Django's own, which uses pickle, write access to Redis would allow running code."""

    def dumps(self, value: Any) -> int | str:
        return value if type(value) is int else json.dumps(value)  # Redis increments numbers only

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class Client(redis.RedisCacheClient):
    def add(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).add(*args), True)

    def get(self, key: Any, default: Any) -> Any:
        return _call(lambda: super(Client, self).get(key, default), default)

    def set(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).set(*args), None)

    def touch(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).touch(*args), False)

    def delete(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).delete(*args), False)

    def has_key(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).has_key(*args), False)

    def incr(self, key: Any, delta: Any) -> Any:
        return _call(lambda: super(Client, self).incr(key, delta), delta)

    def get_many(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).get_many(*args), {})

    def set_many(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).set_many(*args), None)

    def delete_many(self, *args: Any) -> Any:
        return _call(lambda: super(Client, self).delete_many(*args), None)


def _call(call: Callable[[], Any], default: Any) -> Any:
    """Redis' answer, or the default if it is unavailable.

    Raises `RedisUnavailable` instead if LIMITS_WITHOUT_REDIS is `refuse`.
    """
    answer = redis_limits.call_redis(call)
    return default if answer is redis_limits.NO_ANSWER else answer


class RedisCache(redis.RedisCache):
    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        # No retries and short time-outs, so that a page fails quickly while Redis is unavailable.
        options = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
        super().__init__(server, {**params, "OPTIONS": {"serializer": JSONSerializer(), **options}})
        self._class = Client
