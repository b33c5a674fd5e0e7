"""Telling a database or Redis that can't be reached from one that was asked nonsense: a 503 from a 500."""

import sqlite3

import redis
from django.db import InterfaceError, OperationalError

from accounts.errors import Unavailable


def is_out_of_reach(error: Exception) -> bool:
    """Whether a service can't answer now (gone, locked, shutting down).

    SQLite calls a missing table operational too: its error code tells it from a lock.
    """
    if isinstance(error.__cause__, sqlite3.Error):
        code = getattr(error.__cause__, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return isinstance(error, OperationalError) and code != sqlite3.SQLITE_ERROR
    return isinstance(error, (OperationalError, InterfaceError, redis.ConnectionError, redis.TimeoutError))


def unavailable() -> Unavailable:
    """What a reader is told then."""
    return Unavailable("Our database is out of reach. Please try again later.", retry_after=2)
