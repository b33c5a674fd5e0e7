"""The latest record of each service, kept in memory and written by the next flush."""

import threading
import time
from typing import Any

from django.db import connection, transaction

from ..models import Service
from .buffer import SKEW, database_time


class Latest:
    """The latest record of each service: its time, for the column `at`, and its texts, for `columns`."""

    def __init__(self, at: str, *columns: str) -> None:
        self._at = at
        self._columns = columns
        self._pending: dict[str, tuple[float, tuple[str, ...]]] = {}  # Unix time and texts, by the service's id
        self._lock = threading.Lock()

    def record(self, service_id: str, *texts: str) -> None:
        with self._lock:
            self._pending[service_id] = time.time(), texts

    def flush(self) -> None:
        """Write what was recorded. If that fails, it raises, and keeps everything for the next flush.

        Rows are written in the order of their ids, so that two nodes can't deadlock.
        """
        with self._lock:
            batch, self._pending = self._pending, {}
        if not batch:
            return
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.executemany(self._statement(), self._rows(batch))
        except BaseException:
            with self._lock:
                self._pending = {**batch, **self._pending}
            raise

    def discard(self) -> None:
        """Drop all records that are not written."""
        with self._lock:
            self._pending.clear()

    def _statement(self) -> str:
        """Keeps a later time from another node, unless that is in the future, because of a wrong clock."""
        table = connection.ops.quote_name(Service._meta.db_table)
        values = ", ".join(f"{column} = %s" for column in (self._at, *self._columns))
        return (
            f"UPDATE {table} SET {values} "  # noqa: S608  only names of our own
            f"WHERE id = %s AND ({self._at} IS NULL OR {self._at} < %s OR {self._at} > %s)"
        )

    @staticmethod
    def _rows(batch: dict[str, tuple[float, tuple[str, ...]]]) -> list[tuple[Any, ...]]:
        now = time.time()
        ahead = database_time(now + SKEW)
        moments = {service: database_time(min(at, now)) for service, (at, _) in batch.items()}
        return [(moments[service], *batch[service][1], service, moments[service], ahead) for service in sorted(batch)]
