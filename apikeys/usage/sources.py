"""The sources of keys' requests. They are flushed every few seconds."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db import connection

from accounts.fields import AGENT_LENGTH

from ..models import APIKey, KeyOrigin
from .buffer import SKEW, Buffer, KeyRequest, database_time

#: The most sources of one key in a flush. Requests from further sources are counted by `counts` only.
MAX_SOURCES = 20


class _Seen(NamedTuple):
    """The requests from one source."""

    at: float
    agent: str
    requests: int


class _Sources:
    """The sources of one key."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: dict[str, _Seen] = {}

    @property
    def requests(self) -> int:
        return sum(seen.requests for seen in self.seen.values())

    def record(self, request: KeyRequest) -> None:
        self._add(request.source, request.at, request.agent, 1)

    def add(self, other: "_Sources") -> None:
        for source, seen in other.seen.items():
            self._add(source, *seen)

    def _add(self, source: str, at: float, agent: str, requests: int) -> None:
        known = self.seen.get(source)
        if known is None:
            if len(self.seen) < MAX_SOURCES:
                self.seen[source] = _Seen(at, agent, requests)
        elif at >= known.at:
            self.seen[source] = _Seen(at, agent, requests + known.requests)
        else:
            self.seen[source] = known._replace(requests=requests + known.requests)


def record(key_id: str, request: KeyRequest) -> None:
    if request.source:
        _buffer.record(key_id, request)


def flush() -> None:
    """Write what was recorded, as `Buffer.flush` does."""
    _buffer.flush()


def discard() -> None:
    """Drop all records, except those that are known to be written."""
    _buffer.discard()


def _write(taken: dict[str, _Sources]) -> None:
    """Write rows in the order of their keys, so that two nodes can't deadlock. Deleted keys are dropped."""
    known = APIKey.objects.filter(pk__in=taken).order_by("pk").values_list("pk", flat=True)
    now = time.time()
    with connection.cursor() as cursor:
        cursor.executemany(_upsert(), [row for key in known for row in sorted(_rows(key, taken[key], now))])


_buffer = Buffer(_Sources, _write)


def _rows(key: str, sources: _Sources, now: float) -> Iterator[tuple[Any, ...]]:
    """The parameters of `_upsert`, a row for each source."""
    ahead = database_time(now + SKEW)
    for source, seen in sources.seen.items():
        at = database_time(min(seen.at, now))
        yield key, source, seen.requests, at, seen.agent[:AGENT_LENGTH], ahead, ahead


def _upsert() -> str:
    """Adds the requests. Updates the last use if it is later, or if the stored one is in the future (a wrong clock)."""
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
