"""From where keys are used: noted in memory on the request, written every few seconds off it.

A clean stop loses nothing. `kill -9` loses what was noted since the last flush; `usage` counts those requests too.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.http import HttpRequest

from . import networks, usage
from .models import APIKey, KeyOrigin

#: How many origins of one key a flush writes. Requests from more are counted by `usage` alone.
MOST = 20


class _Seen(NamedTuple):
    """What came from one origin since the last flush."""

    at: float
    agent: str
    requests: int


_lock = threading.Lock()
_pending: dict[str, dict[str, _Seen]] = {}


def note(request: HttpRequest, key_id: str) -> None:
    """Note where a request of a key came from."""
    address, agent = request.META["REMOTE_ADDR"], request.META.get("HTTP_USER_AGENT", "")
    if not address:
        return  # it came by a socket of this machine
    origin = networks.origin(address)
    with _lock:
        noted = _pending.get(key_id)
        if noted is None:
            noted = _pending[key_id] = {}
        seen = noted.get(origin)
        if seen is not None:
            noted[origin] = _Seen(time.time(), agent, seen.requests + 1)
        elif len(noted) < MOST:
            noted[origin] = _Seen(time.time(), agent, 1)


def flush() -> None:
    """Write what was noted. If that fails, it waits for the next flush."""
    global _pending
    with _lock:
        taken, _pending = _pending, {}
    if not taken:
        return
    try:
        _write(taken)
    except BaseException:
        with _lock:
            for key, noted in taken.items():
                _take_back(_pending.setdefault(key, {}), noted)
        raise


def discard() -> None:
    """Forget what was noted and not yet written."""
    with _lock:
        _pending.clear()


def _take_back(noted: dict[str, _Seen], earlier: dict[str, _Seen]) -> None:
    for origin, seen in earlier.items():
        if since := noted.get(origin):
            noted[origin] = since._replace(requests=since.requests + seen.requests)
        elif len(noted) < MOST:
            noted[origin] = seen


def _write(taken: dict[str, dict[str, _Seen]]) -> None:
    """Rows in the order of their keys, so that two nodes can't lock each other out. Keys that are gone are dropped."""
    with transaction.atomic(), connection.cursor() as cursor:
        known = APIKey.objects.filter(pk__in=taken).order_by("pk").values_list("pk", flat=True)
        now = time.time()
        cursor.executemany(_upsert(), [row for key in known for row in sorted(_rows(key, taken[key], now))])


def _rows(key: str, noted: dict[str, _Seen], now: float) -> Iterator[tuple[Any, ...]]:
    """The parameters of `_upsert`, a row for each origin."""
    ahead = usage.written(now + usage.SKEW)
    for origin, seen in noted.items():
        at = usage.written(min(seen.at, now))
        yield key, origin, seen.requests, at, seen.agent[:200], ahead, ahead


def _upsert() -> str:
    """Add up, and note the last use if it is later, or if the noted one lies ahead: a wrong clock wrote that."""
    table = connection.ops.quote_name(KeyOrigin._meta.db_table)
    latest = ", ".join(
        f"{column} = CASE WHEN excluded.last_used_at > {table}.last_used_at OR {table}.last_used_at > %s "
        f"THEN excluded.{column} ELSE {table}.{column} END"
        for column in ("last_used_agent", "last_used_at")
    )
    return (
        f"INSERT INTO {table} (api_key_id, origin, requests, last_used_at, last_used_agent) "  # noqa: S608  our own names
        "VALUES (%s, %s, %s, %s, %s) "
        f"ON CONFLICT (api_key_id, origin) DO UPDATE SET requests = {table}.requests + excluded.requests, {latest}"
    )
