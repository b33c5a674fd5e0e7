"""Counting what keys do: in memory on the request, written by one flush a second off it.

A clean stop loses nothing, `kill -9` at most one flush, and nothing is counted twice: what a flush takes
comes back only if its transaction failed.
"""

import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest

from .credentials import Credential
from .models import AccountUsage, APIKey, KeyUsage

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
#: By how many seconds the clocks of two nodes may differ. A use that lies further ahead was noted by a wrong clock.
SKEW = 60

_PLACES = {"header": 5, "query": 6, "body": 7}
_EPOCH = date(1970, 1, 1)


class _Tally:
    """What one key did on one day since the last flush."""

    __slots__ = ("agent", "at", "counts", "source")

    def __init__(self) -> None:
        self.counts = [0] * len(COUNTS)
        self.at = 0.0
        self.source = ""
        self.agent = ""

    def add(self, other: "_Tally") -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        if other.at > self.at:
            self.at, self.source, self.agent = other.at, other.source, other.agent


_lock = threading.Lock()
_pending: dict[tuple[str, int], _Tally] = {}


def _status_index(status: int) -> int:
    if status < 400:
        return 1
    if status == 429:
        return 3
    return 2 if status < 500 else 4


def count(request: HttpRequest, credential: Credential, status: int) -> None:
    """Note one answered request of a key."""
    now = time.time()
    meta = request.META
    slot = (credential.key.id, int(now // 86400))
    with _lock:
        tally = _pending.get(slot)
        if tally is None:
            tally = _pending[slot] = _Tally()
        counts = tally.counts
        counts[0] += 1
        counts[_status_index(status)] += 1
        counts[_PLACES[credential.place]] += 1
        tally.at = now
        tally.source = meta["REMOTE_ADDR"]
        tally.agent = meta.get("HTTP_USER_AGENT", "")


def flush() -> None:
    """Write what was counted. If that fails, the counts wait for the next flush."""
    global _pending
    with _lock:
        taken, _pending = _pending, {}
    if not taken:
        return
    try:
        _write(taken)
    except BaseException:
        with _lock:
            for slot, tally in taken.items():
                _pending.setdefault(slot, _Tally()).add(tally)
        raise


def discard() -> int:
    """Forget what was counted and not yet written. Returns how many requests that were."""
    with _lock:
        lost = sum(tally.counts[0] for tally in _pending.values())
        _pending.clear()
    return lost


def _write(taken: dict[tuple[str, int], _Tally]) -> None:
    """Add up the counts and note the last uses; counts of keys that are gone are dropped.

    Rows are written in the order of their keys, then of their accounts, so that two nodes can't lock each other out.
    """
    now = time.time()
    with transaction.atomic(), connection.cursor() as cursor:
        accounts = dict(APIKey.objects.filter(pk__in={key for key, _ in taken}).values_list("pk", "account_id"))
        slots = sorted(slot for slot in taken if slot[0] in accounts)
        if not slots:
            return
        sums: dict[tuple[int, int], _Tally] = {}
        for key, day in slots:
            sums.setdefault((accounts[key], day), _Tally()).add(taken[key, day])
        cursor.executemany(_upsert(KeyUsage, "api_key_id"), [_row(slot, taken[slot]) for slot in slots])
        cursor.executemany(_update(), [_last_used(key, taken[key, day], now) for key, day in slots])
        cursor.executemany(_upsert(AccountUsage, "account_id"), [_row(slot, sums[slot]) for slot in sorted(sums)])


def _row(slot: tuple[str | int, int], tally: _Tally) -> tuple[Any, ...]:
    of, day = slot
    return (of, _EPOCH + timedelta(days=day), *tally.counts)


def _upsert(model: type[KeyUsage | AccountUsage], of: str) -> str:
    """Add counts to the row of a day and of what the column `of` names."""
    table = connection.ops.quote_name(model._meta.db_table)
    columns = ", ".join((of, "day", *COUNTS))
    values = ", ".join(["%s"] * (len(COUNTS) + 2))
    sums = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in COUNTS)
    return (
        f"INSERT INTO {table} ({columns}) VALUES ({values}) "  # noqa: S608  only names of our own
        f"ON CONFLICT ({of}, day) DO UPDATE SET {sums}"
    )


def _update() -> str:
    table = connection.ops.quote_name(APIKey._meta.db_table)
    return (
        f"UPDATE {table} SET last_used_at = %s, last_used_from = %s, last_used_agent = %s "  # noqa: S608  as above
        "WHERE id = %s AND (last_used_at IS NULL OR last_used_at < %s OR last_used_at > %s)"
    )


def _last_used(key: str, tally: _Tally, now: float) -> tuple[Any, ...]:
    """The parameters of `_update`. A last use that lies ahead of `now` was written by a wrong clock, and gives way."""
    at = written(min(tally.at, now))
    return (at, tally.source or None, tally.agent[:200], key, at, written(now + SKEW))


def written(moment: float) -> Any:
    """Unix time as the database takes it."""
    return connection.ops.adapt_datetimefield_value(datetime.fromtimestamp(moment, UTC))
