"""When each service was last asked about by a gateway. Flushed with the counts."""

import threading
import time
from typing import Any

from django.db import connection, transaction

from ..models import Service
from .buffer import SKEW, database_time

_latest: dict[str, float] = {}  # Unix time by the service's id
_lock = threading.Lock()


def note(service_id: str) -> None:
    with _lock:
        _latest[service_id] = time.time()


def flush() -> None:
    """Write what was noted. If that fails, which raises, it waits for the next flush.

    Rows are written in the order of their ids, so that two nodes can't lock each other out.
    """
    global _latest
    with _lock:
        batch, _latest = _latest, {}
    if not batch:
        return
    now = time.time()
    table = connection.ops.quote_name(Service._meta.db_table)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET last_question_at = %s "  # noqa: S608  only a name of our own
                "WHERE id = %s AND (last_question_at IS NULL OR last_question_at < %s OR last_question_at > %s)",
                [_parameters(service, batch[service], now) for service in sorted(batch)],
            )
    except BaseException:
        with _lock:
            _latest = {**batch, **_latest}
        raise


def discard() -> None:
    """Forget what is not written."""
    with _lock:
        _latest.clear()


def _parameters(service: str, at: float, now: float) -> tuple[Any, ...]:
    """A time that lies ahead of `now` was written by a wrong clock, and gives way."""
    latest = database_time(min(at, now))
    return (latest, service, latest, database_time(now + SKEW))
