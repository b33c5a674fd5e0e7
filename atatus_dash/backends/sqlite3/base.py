"""Django's backend for SQLite. A lock is waited for in SQLite itself, for `DATABASE_LOCK_TIMEOUT` at most.

It remembers how statements read in SQLite's style of parameters: to find out takes as long as running a short one.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

from apikeys import outages

from ..rows import FetchRowMixin, Row


class _Turn:
    """Around each statement. Raises `sqlite3.OperationalError` where too many threads wait for a lock already."""

    __slots__ = ()

    def __enter__(self) -> None:
        if not outages.slots.acquire():
            error = sqlite3.OperationalError(outages.ALL_WAITING)
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    def __exit__(self, *error: object) -> None:
        outages.slots.release()


_turn = _Turn()


class Cursor(base.SQLiteCursorWrapper):
    def execute(self, *args: Any) -> Any:
        with _turn:
            return super().execute(*args)

    def executemany(self, *args: Any) -> Any:
        with _turn:
            return super().executemany(*args)

    def convert_query(self, query: str, *, param_names: Any = None) -> str:
        """Django's, which looks for placeholders at every execution: 15 µs for the statement that finds a key."""
        if param_names is None and len(query) <= MAX_REMEMBERED_LENGTH:
            return _converted(query)
        converted: str = super().convert_query(query, param_names=param_names)
        return converted


#: Characters of a statement that is remembered. Longer ones hold many rows, and don't come again.
MAX_REMEMBERED_LENGTH = 4096


@lru_cache(maxsize=256)
def _converted(query: str) -> str:
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")


class DatabaseWrapper(FetchRowMixin, base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        with _turn:
            return super().get_new_connection(conn_params)

    def create_cursor(self, name: Any = None) -> Any:  # noqa: ARG002  as Django calls it
        return self.connection.cursor(factory=Cursor)

    def _fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        with _turn:
            row: Row = self.connection.execute(_converted(sql), parameters).fetchone()
            return row
