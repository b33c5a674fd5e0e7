"""Telling a database or Redis that can't be reached from one that was asked nonsense: a 503 from a 500."""

import sqlite3

import redis
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.http import HttpResponse
from django.template.loader import render_to_string

from accounts.errors import Unavailable
from apikeys import outages

#: What PostgreSQL counts among internal errors (class 25) and is none of ours: it ended a transaction that was idle
#: for too long, or it takes no writes, as a standby does.
_ELSEWHERE = ("25006", "25P03")


def is_outage(error: BaseException | None) -> bool:
    """Whether a service can't answer now (gone, locked, full, shutting down).

    SQLite calls a missing table operational too: its error code tells it from a lock.
    """
    if error is None:
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return isinstance(error, OperationalError) and code != sqlite3.SQLITE_ERROR
    if isinstance(error, InternalError):
        return getattr(cause, "sqlstate", "") in _ELSEWHERE
    return isinstance(error, (OperationalError, InterfaceError, redis.RedisError))


def unavailable(error: BaseException | None) -> Unavailable:
    """What a reader is told then. The log is told once an outage."""
    if isinstance(error, redis.RedisError):
        outages.REDIS.record_failure(error)
        return Unavailable("Our rate limits are out of reach. Please try again later.", retry_after=2)
    if isinstance(error, Exception):
        outages.DATABASE.record_failure(error)
    return Unavailable("Our database is out of reach. Please try again later.", retry_after=2)


def page(error: Unavailable) -> HttpResponse:
    """The sentence as a page that asks nothing of what is out of reach."""
    content = render_to_string("503.html", {"message": error.message})
    return HttpResponse(content, status=error.status, headers={"Retry-After": str(error.retry_after)})


def probe_database() -> None:
    """Ask on a new connection whether the database answers anybody. Raises what says that it doesn't."""
    connection.close()
    with outages.wait_at_most(outages.PROBE_SECONDS):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            connection.close()
