"""Django's backend for PostgreSQL, with a time limit for every answer.

PostgreSQL has its own time-outs (`statement_timeout` and so on), but it may itself hang, and TCP notices only if a
kernel doesn't respond. So the client checks the time too: psycopg waits in steps of a tenth of a second, and after each
step `outages` decides whether to continue.
"""

import hashlib
import select
import time
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import psycopg
import psycopg.abc
from django.conf import settings
from django.db.backends.postgresql import base
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from apikeys import outages

from ..rows import FetchRowMixin, Row

#: How many seconds longer this client waits than PostgreSQL's own time-outs, so that PostgreSQL's error comes first: it
#: says what timed out.
GRACE_SECONDS = 1


class _WaitSlot:
    """A context for each wait for an answer. Raises `OperationalError` if no answer can be expected."""

    __slots__ = ()

    def __enter__(self) -> None:
        if outages.DATABASE.is_unresponsive and outages.longest_wait() is None:
            raise psycopg.OperationalError(outages.UNRESPONSIVE)
        if not outages.slots.acquire():
            raise psycopg.OperationalError(outages.ALL_WAITING)

    def __exit__(self, *error: object) -> None:
        outages.slots.release()


_wait_slot = _WaitSlot()


class _NoAnswer(psycopg.OperationalError):
    """No answer in time."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed when the database no longer answers.

    Raises `psycopg.OperationalError` then, or if too many threads are waiting.
    """

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> "Connection":
        with _wait_slot:
            try:
                return super().connect(*args, **kwargs)
            except psycopg.errors.ConnectionTimeout:
                outages.DATABASE.mark_unresponsive()
                raise

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._poll = select.poll()
        self._keeps_plans = True
        #: The row readers of this connection's prepared statements, by the statements' names.
        self._readers: dict[bytes, psycopg.abc.Transformer] = {}

    def fetch_row(self, sql: bytes, parameters: Sequence[bytes]) -> Row:
        """The first row of a fixed statement with text parameters `$1` and so on.

        PostgreSQL plans it once for each connection, because planning takes four times as long as running it. If the
        plan is unusable, because a pooler switched connections or a migration changed columns, this connection stops
        using plans. Such an error would end a transaction, so this must not be called in one.
        It calls libpq directly: psycopg's cursors take eight times as long.
        """
        if self._keeps_plans:
            try:
                return self._fetch_planned(_name(sql), sql, parameters)
            except _PLAN_IS_GONE:
                self._keeps_plans = False
        result = self._result(lambda: self.pgconn.send_query_params(sql, parameters))
        return _row(self._reader(result), result)

    def _fetch_planned(self, name: bytes, sql: bytes, parameters: Sequence[bytes]) -> Row:
        reader = self._readers.get(name)
        if reader is None:
            self._result(lambda: self.pgconn.send_prepare(name, sql))
        result = self._result(lambda: self.pgconn.send_query_prepared(name, parameters))
        if reader is None:
            reader = self._readers[name] = self._reader(result)
        else:
            reader.set_pgresult(result, set_loaders=False)
        return _row(reader, result)

    def _reader(self, result: PGresult) -> psycopg.abc.Transformer:
        reader = Transformer(self)
        reader.set_pgresult(result)
        return reader

    def _result(self, send: Callable[[], None]) -> PGresult:
        """PostgreSQL's answer. Raises its errors."""
        with _wait_slot:
            try:
                send()
                result = self._next_result()
                while self._next_result() is not None:
                    pass
            except _NoAnswer:
                self.close()
                raise
        assert result is not None
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result, self.info.encoding)
        return result

    def _next_result(self) -> PGresult | None:
        """libpq's next result; None at the end. Raises `_NoAnswer`."""
        pgconn, started = self.pgconn, time.monotonic()
        while (is_unsent := pgconn.flush()) or pgconn.is_busy():
            self._poll.register(pgconn.socket, select.POLLIN | select.POLLOUT if is_unsent else select.POLLIN)
            if self._poll.poll(100):
                pgconn.consume_input()
            else:
                _require_time_left(time.monotonic() - started)
        return pgconn.get_result()

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        with _wait_slot:
            try:
                return super().wait(_with_timeout(gen), *args, **kwargs)
            except _NoAnswer:
                self.close()
                raise


#: PostgreSQL's errors for a plan that is on another connection, exists already, or has outdated columns.
_PLAN_IS_GONE = (
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
    psycopg.errors.FeatureNotSupported,
)


@lru_cache(maxsize=16)
def _name(sql: bytes) -> bytes:
    """A plan's name, from its whole statement: a pooler may share the connection with another release."""
    return b"atatus_" + hashlib.sha256(sql).hexdigest()[:32].encode()


def _row(reader: psycopg.abc.Transformer, result: PGresult) -> Row:
    row: Row = reader.load_row(0, tuple) if result.ntuples else None
    return row


def _with_timeout(gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Pass on psycopg's waits (`psycopg.abc.PQGen`). Raises `_NoAnswer`."""
    started = time.monotonic()
    ready = None
    try:
        while True:
            wanted = gen.send(ready)
            ready = yield wanted
            if not ready:  # a tenth of a second has passed
                _require_time_left(time.monotonic() - started)
    except StopIteration as end:
        return end.value


def _require_time_left(waited: float) -> None:
    """Raises `_NoAnswer` if this thread has waited for too many seconds."""
    limit = outages.longest_wait()
    if limit is not None:
        if waited > limit:
            raise _NoAnswer(f"no answer for {waited:.1f} seconds")
    elif outages.slots.are_limited:
        if waited > outages.SUSPECT_AFTER:
            outages.DATABASE.suspect()
        longest = settings.DATABASE_STATEMENT_TIMEOUT
        if outages.DATABASE.is_unresponsive or (longest and waited > longest + GRACE_SECONDS):
            raise _NoAnswer(f"no answer for {waited:.1f} seconds")


class DatabaseWrapper(FetchRowMixin, base.DatabaseWrapper):
    #: Django calls its `connect`, and catches its exceptions. It needs only these attributes, not a module.
    Database = SimpleNamespace(**{**vars(psycopg), "connect": Connection.connect})  # type: ignore[assignment]  # not a module

    def _fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        row: Row = self.connection.fetch_row(_numbered(sql), [parameter.encode() for parameter in parameters])
        return row

    def get_connection_params(self) -> dict[str, Any]:
        """Django's parameters, and in a server also time-outs. Commands have none: `migrate` may take long."""
        params: dict[str, Any] = super().get_connection_params()
        limit = outages.longest_wait()
        if limit is not None:
            params["connect_timeout"] = min(int(limit), int(params.get("connect_timeout") or limit))
        if outages.slots.are_limited:
            # libpq uses the last value of an option: those in DATABASE_URL take precedence.
            params["options"] = f"{_time_outs()} {params.get('options', '')}".strip()
        return params


@lru_cache(maxsize=16)
def _numbered(sql: str) -> bytes:
    """A fixed statement with libpq's placeholders."""
    first, *others = sql.split("%s")
    return "".join([first, *(f"${number}{text}" for number, text in enumerate(others, 1))]).encode()


def _time_outs() -> str:
    """For libpq's parameter `options`, in milliseconds. 0 leaves a time-out to PostgreSQL's configuration."""
    seconds = {
        "statement_timeout": settings.DATABASE_STATEMENT_TIMEOUT,
        "lock_timeout": settings.DATABASE_LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": settings.DATABASE_IDLE_TIMEOUT,
    }
    return " ".join(f"-c {name}={value * 1000}" for name, value in seconds.items() if value)
