"""Django's backend for PostgreSQL, whose connections wait for no answer without end.

The server's own time-outs (`statement_timeout` and its kin) are kept by the server, which may be the one that hangs;
and TCP finds a peer dead only if its kernel is. So the client keeps an eye on the time as well: psycopg waits in
steps of a tenth of a second, and between them `outages` says whether to go on.
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

#: Beyond the server's own time-outs, in seconds: its answer says what timed out.
GRACE = 1


class _Turn:
    """Around each wait. Raises `OperationalError` where waiting is in vain."""

    __slots__ = ()

    def __enter__(self) -> None:
        if outages.DATABASE.is_unresponsive and outages.longest_wait() is None:
            raise psycopg.OperationalError(outages.UNRESPONSIVE)
        if not outages.slots.acquire():
            raise psycopg.OperationalError(outages.ALL_WAITING)

    def __exit__(self, *error: object) -> None:
        outages.slots.release()


_turn = _Turn()


class _NoAnswer(psycopg.OperationalError):
    """The wait was given up."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed rather than waited for when the database falls silent.

    Raises `psycopg.OperationalError` then, and where too many threads wait already.
    """

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> "Connection":
        with _turn:
            try:
                return super().connect(*args, **kwargs)
            except psycopg.errors.ConnectionTimeout:
                outages.DATABASE.mark_unresponsive()
                raise

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._poll = select.poll()
        self._keeps_plans = True
        #: What reads the rows of statements that PostgreSQL has planned for this connection, by their names.
        self._readers: dict[bytes, psycopg.abc.Transformer] = {}

    def fetch_row(self, sql: bytes, parameters: Sequence[bytes]) -> Row:
        """The first row of a fixed statement whose parameters are `$1` and so on, and are text.

        PostgreSQL plans it once for each connection: planning takes four times as long as the answer. A pooler may hand
        over another connection each time, and a migration may change the columns of a plan: this connection keeps no
        plans from then on. It would not do in a transaction, which that error ends.
        It talks to libpq itself: psycopg's cursors take eight times as long over it.
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
        """What PostgreSQL answers. Raises what it refuses."""
        with _turn:
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
        """What libpq hands over next; None is the end. Raises `_NoAnswer`."""
        pgconn, started = self.pgconn, time.monotonic()
        while (is_unsent := pgconn.flush()) or pgconn.is_busy():
            self._poll.register(pgconn.socket, select.POLLIN | select.POLLOUT if is_unsent else select.POLLIN)
            if self._poll.poll(100):
                pgconn.consume_input()
            else:
                _require_time_left(time.monotonic() - started)
        return pgconn.get_result()

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        with _turn:
            try:
                return super().wait(_with_timeout(gen), *args, **kwargs)
            except _NoAnswer:
                self.close()
                raise


#: What PostgreSQL says where a plan is on another connection, is there already, or no longer tells its columns right.
_PLAN_IS_GONE = (
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
    psycopg.errors.FeatureNotSupported,
)


@lru_cache(maxsize=16)
def _name(sql: bytes) -> bytes:
    """Names a plan by all of its statement: behind a pooler, other releases may have planned on the same connection."""
    return b"atatus_" + hashlib.sha256(sql).hexdigest()[:32].encode()


def _row(reader: psycopg.abc.Transformer, result: PGresult) -> Row:
    row: Row = reader.load_row(0, tuple) if result.ntuples else None
    return row


def _with_timeout(gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for (`psycopg.abc.PQGen`), and give up where nothing comes of it."""
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
    """Raises `_NoAnswer` if who has waited for so many seconds should no longer."""
    limit = outages.longest_wait()
    if limit is not None:
        if waited > limit:
            raise _NoAnswer(f"no answer for {waited:.1f} seconds")
    elif outages.slots.are_limited:
        if waited > outages.SUSPECT_AFTER:
            outages.DATABASE.suspect()
        longest = settings.DATABASE_STATEMENT_TIMEOUT
        if outages.DATABASE.is_unresponsive or (longest and waited > longest + GRACE):
            raise _NoAnswer(f"no answer for {waited:.1f} seconds")


class DatabaseWrapper(FetchRowMixin, base.DatabaseWrapper):
    #: What Django calls, and takes the exceptions from.
    Database = SimpleNamespace(**{**vars(psycopg), "connect": Connection.connect})  # type: ignore[assignment]  # Django asks for no module

    def _fetch_row(self, sql: str, parameters: Sequence[str]) -> Row:
        row: Row = self.connection.fetch_row(_numbered(sql), [parameter.encode() for parameter in parameters])
        return row

    def get_connection_params(self) -> dict[str, Any]:
        """Django's, with the time-outs that hold for a server alone: a migration or a dump may take its time."""
        params: dict[str, Any] = super().get_connection_params()
        limit = outages.longest_wait()
        if limit is not None:
            params["connect_timeout"] = min(int(limit), int(params.get("connect_timeout") or limit))
        if outages.slots.are_limited:
            # libpq takes the last of several: what DATABASE_URL says wins.
            params["options"] = f"{_time_outs()} {params.get('options', '')}".strip()
        return params


@lru_cache(maxsize=16)
def _numbered(sql: str) -> bytes:
    """A fixed statement with libpq's placeholders."""
    first, *others = sql.split("%s")
    return "".join([first, *(f"${number}{text}" for number, text in enumerate(others, 1))]).encode()


def _time_outs() -> str:
    """For libpq's parameter `options`, in milliseconds. 0 leaves one to the server."""
    seconds = {
        "statement_timeout": settings.DATABASE_STATEMENT_TIMEOUT,
        "lock_timeout": settings.DATABASE_LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": settings.DATABASE_IDLE_TIMEOUT,
    }
    return " ".join(f"-c {name}={value * 1000}" for name, value in seconds.items() if value)
