"""For each key, the number of requests at each service on each day, and the last use. Flushed every second."""

import time
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from django.db import connection

from accounts.fields import AGENT_LENGTH

from ..gate import Place
from ..models import AccountUsage, APIKey, KeyUsage
from .buffer import SKEW, Buffer, KeyRequest, database_time

COUNTS = (
    "requests",
    "succeeded",
    "client_errors",
    "throttled",
    "server_errors",
    "in_header",
    "in_query",
    "in_body",
)

_PLACES = {Place.HEADER: 5, Place.QUERY: 6, Place.BODY: 7}
_EPOCH = date(1970, 1, 1)

Slot = tuple[str, int, str]  # a key's id, a day (in days since 1970) and a service


class _Tally:
    """The requests of one key at one service on one day."""

    __slots__ = ("address", "agent", "at", "counts")

    def __init__(self) -> None:
        self.counts = [0] * len(COUNTS)
        self.at = 0.0
        self.address = ""
        self.agent = ""

    @property
    def requests(self) -> int:
        return self.counts[0]

    def record(self, request: KeyRequest) -> None:
        counts = self.counts
        counts[0] += 1
        counts[_status_index(request.status)] += 1
        counts[_PLACES[request.place]] += 1
        self.at, self.address, self.agent = request.at, request.address, request.agent

    def add(self, other: "_Tally") -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        if other.at > self.at:
            self.at, self.address, self.agent = other.at, other.address, other.agent


def _status_index(status: int) -> int:
    if status < 400:
        return 1
    if status == 429:
        return 3
    return 2 if status < 500 else 4


def record(key_id: str, service: str, request: KeyRequest) -> None:
    _buffer.record((key_id, int(request.at // 86400), service), request)


def flush() -> None:
    """Write what was counted, as `Buffer.flush` does."""
    _buffer.flush()


def discard() -> int:
    """Drop all records, except those that are known to be written. Returns the number of their requests."""
    return _buffer.discard()


def _write(taken: dict[Slot, _Tally]) -> None:
    """Add the counts and update the last uses. Counts of deleted keys are dropped.

    Rows are written in the order of their keys, then of their accounts, so that two nodes can't deadlock.
    """
    now = time.time()
    keys = {key for key, _, _ in taken}
    accounts = dict(APIKey.objects.filter(pk__in=keys).values_list("pk", "account_id"))
    slots = sorted(slot for slot in taken if slot[0] in accounts)
    if not slots:
        return
    by_key: dict[str, _Tally] = {}
    by_account: dict[tuple[int, int], _Tally] = {}
    for key, day, service in slots:
        tally = taken[key, day, service]
        by_key.setdefault(key, _Tally()).add(tally)
        by_account.setdefault((accounts[key], day), _Tally()).add(tally)
    of_keys = [_row(taken[slot], *slot) for slot in slots]
    of_accounts = [_row(by_account[slot], *slot) for slot in sorted(by_account)]
    with connection.cursor() as cursor:
        _add(cursor, KeyUsage, ("api_key_id", "day", "service"), of_keys)
        cursor.executemany(_update(), [_last_used(key, by_key[key], now) for key in by_key])
        _add(cursor, AccountUsage, ("account_id", "day"), of_accounts)


_buffer = Buffer(_Tally, _write)


def _row(tally: _Tally, of: str | int, day: int, *service: str) -> tuple[Any, ...]:
    return (of, _EPOCH + timedelta(days=day), *service, *tally.counts)


def _add(
    cursor: Any, model: type[KeyUsage | AccountUsage], of: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Add counts to the rows that the columns `of` identify, in the order given.

    PostgreSQL gets all rows as arrays: a statement for each row took seven times as long, and delayed requests.
    """
    names = (*of, *COUNTS)
    table = connection.ops.quote_name(model._meta.db_table)
    sums = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in COUNTS)
    into = f"INSERT INTO {table} ({', '.join(names)})"
    on_conflict = f"ON CONFLICT ({', '.join(of)}) DO UPDATE SET {sums}"
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{model._meta.get_field(name).db_type(connection)}[]" for name in names)
        columns = [list(column) for column in zip(*rows, strict=True)]
        cursor.execute(f"{into} SELECT * FROM unnest({arrays}) {on_conflict}", columns)  # noqa: S608  only names of our own
    else:
        cursor.executemany(f"{into} VALUES ({', '.join(['%s'] * len(names))}) {on_conflict}", rows)


def _update() -> str:
    table = connection.ops.quote_name(APIKey._meta.db_table)
    return (
        f"UPDATE {table} SET last_used_at = %s, last_used_from = %s, last_used_agent = %s "  # noqa: S608  as above
        "WHERE id = %s AND (last_used_at IS NULL OR last_used_at < %s OR last_used_at > %s)"
    )


def _last_used(key: str, tally: _Tally, now: float) -> tuple[Any, ...]:
    """The parameters of `_update`. A stored last use in the future comes from a wrong clock, and is overwritten."""
    at = database_time(min(tally.at, now))
    return (at, tally.address or None, tally.agent[:AGENT_LENGTH], key, at, database_time(now + SKEW))
