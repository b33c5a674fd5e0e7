"""One row of a fixed statement, without what Django's cursors do for every other one."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.redaction import mask_writes

Row = tuple[Any, ...] | None

_UNWATCHED: tuple[list[Any], ...] = ([], [mask_writes])


class FetchRowMixin(BaseDatabaseWrapper):
    """A database that answers `apikeys.lookup` on every request: its cursors take longer than the statement."""

    def fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        """The first row, or None. Values and exceptions are those of a cursor.

        A statement in a transaction, which psycopg begins with a cursor, and one that somebody watches, such as a test
        that counts queries, go through one. `mask_writes`, which every connection has, has no part in reading.
        """
        if self.in_atomic_block or self.queries_logged or self.execute_wrappers not in _UNWATCHED:
            with self.cursor() as cursor:
                cursor.execute(sql, parameters)
                row: Row = cursor.fetchone()
                return row
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._fetch_row(sql, parameters)

    @abstractmethod
    def _fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        """Run it on the driver's own connection, which raises the driver's own exceptions."""
