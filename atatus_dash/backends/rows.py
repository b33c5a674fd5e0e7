"""Fetches one row of a fixed statement without Django's cursors."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.redaction import mask_writes

Row = tuple[Any, ...] | None

_UNWATCHED: tuple[list[Any], ...] = ([], [mask_writes])


class FetchRowMixin(BaseDatabaseWrapper):
    """For `apikeys.lookup`, on every request: Django's cursors take longer than its statement."""

    def fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        """The first row, or None. Values and exceptions are the same as a cursor's.

        A cursor is used in a transaction, because psycopg begins a transaction only with a cursor, and while queries
        are logged or wrapped, such as by a test that counts them. The wrapper `mask_writes`, which every connection
        has, doesn't concern reads.
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
        """Run the statement on the driver's connection. Raises the driver's exceptions."""
