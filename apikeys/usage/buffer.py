"""Records of requests in memory. A flush writes them in one transaction.

A clean stop loses nothing, `kill -9` loses what was recorded since the last flush, and nothing is counted twice: a
batch is written again only if its transaction is known to have failed. If the database refuses the records of one slot,
only those are lost.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from django.db import DataError, Error, IntegrityError, OperationalError, connection, transaction

from ..gate import Place

logger = logging.getLogger(__name__)

#: Errors of a row's values: a retry would fail again. Other errors are about the database itself.
REFUSALS = (DataError, IntegrityError, ValueError, OverflowError)

#: How many seconds the clocks of two nodes may differ. A time further in the future comes from a wrong clock.
SKEW = 60


class KeyRequest(NamedTuple):
    """One answered request of a key."""

    at: float  # Unix time
    address: str  # empty if the request came over a Unix socket
    source: str  # the address, or the /64 of an IPv6 one
    agent: str
    place: Place
    status: int


class Entry(Protocol):
    """The records of one slot between two flushes."""

    def record(self, request: KeyRequest) -> None: ...

    def add(self, other: Self) -> None:
        """Add another entry of the same slot, older or newer than this one."""

    @property
    def requests(self) -> int: ...


S = TypeVar("S")
E = TypeVar("E", bound=Entry)


class Buffer(Generic[S, E]):
    """Entries by slot. Any thread may call any method at any time.

    `new` creates an empty entry. `write` writes a batch, in a transaction that the buffer opens.
    """

    def __init__(self, new: Callable[[], E], write: Callable[[dict[S, E]], None]) -> None:
        self._new = new
        self._write = write
        self._pending: dict[S, E] = {}
        self._lock = threading.Lock()  # of _pending
        #: The transaction, and the records that it may have written.
        self._in_doubt: tuple[str, dict[S, E]] | None = None
        self._flushing = threading.Lock()

    def record(self, slot: S, request: KeyRequest) -> None:
        with self._lock:
            entry = self._pending.get(slot)
            if entry is None:
                entry = self._pending[slot] = self._new()
            entry.record(request)

    def flush(self) -> None:
        """Write what was recorded. If that fails, it raises, and keeps everything for the next flush.

        If the database refuses a slot, that slot is lost and logged, and the others are written.
        While it is unknown whether the last batch was written, it raises `OperationalError` and writes nothing.
        """
        with self._flushing:
            self._settle()
            with self._lock:
                batch, self._pending = self._pending, {}
            if batch:
                self._commit(batch)

    def discard(self) -> int:
        """Drop all records, except those that are known to be written. Returns the number of their requests."""
        with self._flushing, self._lock:
            _, in_doubt = self._in_doubt or ("", {})
            lost = sum(entry.requests for batch in (self._pending, in_doubt) for entry in batch.values())
            self._pending, self._in_doubt = {}, None
        return lost

    def _commit(self, batch: dict[S, E]) -> None:
        transaction_id = None
        try:
            with transaction.atomic(durable=True):
                self._write(batch)
                transaction_id = _current_transaction_id()
        except BaseException as error:
            if transaction_id is not None:  # the COMMIT failed, or its answer did not come in time
                self._in_doubt = transaction_id, batch
                connection.close()
                with suppress(Error):
                    self._settle()
            elif isinstance(error, REFUSALS):
                self._commit_apart(batch, error)
                return
            else:
                self._restore(batch)
            raise

    def _commit_apart(self, batch: dict[S, E], refusal: Exception) -> None:
        """Write a refused batch in halves, recursively, until only the refused slot is left. It is lost."""
        if len(batch) == 1:
            [(slot, entry)] = batch.items()
            logger.error("%d requests of %s are lost: the database refused them. %s", entry.requests, slot, refusal)
            return
        slots = list(batch.items())
        first, second = dict(slots[: len(slots) // 2]), dict(slots[len(slots) // 2 :])
        try:
            self._commit(first)
        except BaseException:
            self._restore(second)
            raise
        self._commit(second)

    def _settle(self) -> None:
        """Find out whether the batch in doubt was written, and restore it if it was not.

        Raises `OperationalError` while its transaction has not ended, and the database's own errors.
        """
        if self._in_doubt is None:
            return
        transaction_id, batch = self._in_doubt
        status = _status(transaction_id)
        if status == "in progress":
            raise OperationalError("the transaction of an earlier flush has not ended")
        self._in_doubt = None
        if status == "aborted":
            self._restore(batch)
        elif status is None:
            requests = sum(entry.requests for entry in batch.values())
            logger.error("PostgreSQL no longer knows whether %d requests were written. They may be missing.", requests)

    def _restore(self, batch: dict[S, E]) -> None:
        with self._lock:
            for slot, entry in batch.items():
                since = self._pending.setdefault(slot, entry)
                if since is not entry:
                    since.add(entry)


def _current_transaction_id() -> str | None:
    """PostgreSQL's id of this transaction. None on SQLite, where a COMMIT that fails has committed nothing."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text")
        return str(cursor.fetchone()[0])


def _status(transaction_id: str) -> str | None:
    """`committed`, `aborted` or `in progress`; None if the transaction is too old for the server to know.

    A server that was restored from a backup, or a replica that took over before it received the transaction, refuses
    the id, because the id is higher than its own. The transaction's rows are missing there, so the result is `aborted`.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_xact_status(%s::xid8)", [transaction_id])
            status: str | None = cursor.fetchone()[0]
    except DataError:
        return "aborted"
    return status


def database_time(moment: float) -> Any:
    """A Unix time as a parameter for the database."""
    return connection.ops.adapt_datetimefield_value(datetime.fromtimestamp(moment, UTC))
