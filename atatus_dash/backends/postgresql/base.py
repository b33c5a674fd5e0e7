"""Django's backend for PostgreSQL, whose connections wait for no answer without end.

The server's own time-outs (`statement_timeout` and its kin) are kept by the server, which may be the one that hangs;
and TCP finds a peer dead only if its kernel is. So the client keeps an eye on the time as well: psycopg waits in
steps of a tenth of a second, and between them `outages` says whether to go on.
"""

import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base

from apikeys import outages

#: Beyond the server's own time-outs, in seconds: its answer says what timed out.
GRACE = 1


class _Turn:
    """Around each wait. Raises `OperationalError` where waiting is in vain."""

    __slots__ = ()

    def __enter__(self) -> None:
        if outages.DATABASE.is_silent and outages.patience_of_this_thread() is None:
            raise psycopg.OperationalError(outages.SILENT)
        if not outages.turns.take():
            raise psycopg.OperationalError(outages.STUCK)

    def __exit__(self, *error: object) -> None:
        outages.turns.give_back()


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
                outages.DATABASE.fall_silent()
                raise

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        with _turn:
            try:
                return super().wait(_not_for_ever(gen), *args, **kwargs)
            except _NoAnswer:
                self.close()
                raise


def _not_for_ever(gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for (`psycopg.abc.PQGen`), and give up where nothing comes of it."""
    started = time.monotonic()
    ready = None
    try:
        while True:
            wanted = gen.send(ready)
            ready = yield wanted
            if not ready:  # a tenth of a second has passed
                _require_hope(time.monotonic() - started)
    except StopIteration as end:
        return end.value


def _require_hope(waited: float) -> None:
    """Raises `_NoAnswer` if who has waited for so many seconds should no longer."""
    patience = outages.patience_of_this_thread()
    if patience is not None:
        if waited > patience:
            raise _NoAnswer(f"no answer for {waited:.1f} seconds")
    elif outages.turns.are_limited:
        if waited > outages.DOUBT_AFTER:
            outages.DATABASE.doubt()
        longest = settings.DATABASE_STATEMENT_TIMEOUT
        if outages.DATABASE.is_silent or (longest and waited > longest + GRACE):
            raise _NoAnswer(f"no answer for {waited:.1f} seconds")


class DatabaseWrapper(base.DatabaseWrapper):
    #: What Django calls, and takes the exceptions from.
    Database = SimpleNamespace(**{**vars(psycopg), "connect": Connection.connect})  # type: ignore[assignment]  # Django asks for no module

    def get_connection_params(self) -> dict[str, Any]:
        """Django's, with the time-outs that hold for a server alone: a migration or a dump may take its time."""
        params: dict[str, Any] = super().get_connection_params()
        patience = outages.patience_of_this_thread()
        if patience is not None:
            params["connect_timeout"] = min(int(patience), int(params.get("connect_timeout") or patience))
        if outages.turns.are_limited:
            # libpq takes the last of several: what DATABASE_URL says wins.
            params["options"] = f"{_time_outs()} {params.get('options', '')}".strip()
        return params


def _time_outs() -> str:
    """For libpq's parameter `options`, in milliseconds. 0 leaves one to the server."""
    seconds = {
        "statement_timeout": settings.DATABASE_STATEMENT_TIMEOUT,
        "lock_timeout": settings.DATABASE_LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": settings.DATABASE_IDLE_TIMEOUT,
    }
    return " ".join(f"-c {name}={value * 1000}" for name, value in seconds.items() if value)
