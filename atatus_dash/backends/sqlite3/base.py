"""Django's backend for SQLite, with a limit on threads that wait for a lock. SQLite waits `DATABASE_LOCK_TIMEOUT`.

It caches statements with SQLite's placeholders: converting a short statement takes as long as running it.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

from apikeys import outages

from ..rows import FetchRowMixin, Row


class _WaitSlot:
    """Around each statement. Raises `sqlite3.OperationalError` if too many threads are waiting for a lock."""

    __slots__ = ()

    def __enter__(self) -> None:
        if not outages.slots.acquire():
            error = sqlite3.OperationalError(outages.ALL_WAITING)
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    def __exit__(self, *error: object) -> None:
        outages.slots.release()


_wait_slot = _WaitSlot()


class Cursor(base.SQLiteCursorWrapper):
    def execute(self, *args: Any) -> Any:
        with _wait_slot:
            return super().execute(*args)

    def executemany(self, *args: Any) -> Any:
        with _wait_slot:
            return super().executemany(*args)

    def convert_query(self, query: str, *, param_names: Any = None) -> str:
        """Django's, cached. Django converts placeholders on every execution: 15 µs for the lookup of a key."""
        if param_names is None and len(query) <= MAX_REMEMBERED_LENGTH:
            return _converted(query)
        converted: str = super().convert_query(query, param_names=param_names)
        return converted


#: The most characters of a cached statement. Longer ones contain many rows and aren't repeated.
MAX_REMEMBERED_LENGTH = 4096


@lru_cache(maxsize=256)
def _converted(query: str) -> str:
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")


class DatabaseWrapper(FetchRowMixin, base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        with _wait_slot:
            return super().get_new_connection(conn_params)

    def create_cursor(self, name: Any = None) -> Any:  # noqa: ARG002  as Django calls it
        return self.connection.cursor(factory=Cursor)

    def _fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        with _wait_slot:
            row: Row = self.connection.execute(_converted(sql), parameters).fetchone()
            return row
