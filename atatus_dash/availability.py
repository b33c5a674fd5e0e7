"""Distinguishes an outage of the database or Redis (503) from an error in our queries (500)."""

import sqlite3

from django.db import InterfaceError, InternalError, OperationalError, connection
from django.http import HttpResponse
from django.template.loader import render_to_string

from accounts.errors import Unavailable
from apikeys import outages

#: PostgreSQL's errors of class 25 that are outages: a standby refuses writes, or a transaction was idle for too long.
_OUTAGE_STATES = ("25006", "25P03")


def is_outage(error: BaseException | None) -> bool:
    """Whether the database or Redis can't answer now (unreachable, locked, full, shutting down).

    SQLite raises `OperationalError` for a missing table too. The error code distinguishes that from a lock.
    """
    if error is None:
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return isinstance(error, OperationalError) and code != sqlite3.SQLITE_ERROR
    if isinstance(error, InternalError):
        return getattr(cause, "sqlstate", "") in _OUTAGE_STATES
    return isinstance(error, (OperationalError, InterfaceError, outages.RedisUnavailable))


def unavailable(error: BaseException | None) -> Unavailable:
    """The 503 for an outage, which is logged once."""
    if isinstance(error, outages.RedisUnavailable):
        return Unavailable("Rate limits are unavailable. Please try again later.", retry_after=2)
    if isinstance(error, Exception):
        outages.DATABASE.record_failure(error)
    return Unavailable("The database is unavailable. Please try again later.", retry_after=2)


def page(error: Unavailable) -> HttpResponse:
    """The message as a page that needs neither database nor Redis."""
    content = render_to_string("503.html", {"message": error.message})
    return HttpResponse(content, status=error.status, headers={"Retry-After": str(error.retry_after)})


def probe_database() -> None:
    """Run a statement on a new connection. Raises the database's error if it fails."""
    connection.close()
    with outages.wait_at_most(outages.PROBE_SECONDS):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            connection.close()
