"""The audit log as a file.

It is written to a temporary file first, as fast as the database yields rows, and sent from there. So no query stays
open behind a slow reader, a failure while reading is an error page instead of half a file, and a file that was cut off
on its way is told by its `Content-Length`. Exports are few at a time: each holds a thread and keeps a processor busy.
"""

import csv
import gzip
import io
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

import orjson
from django.core.cache import cache
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from .connections import end_stalled_readers
from .errors import Invalid, Unavailable
from .models import AuditEvent

logger = logging.getLogger(__name__)

COLUMNS = (
    *("id", "at", "event", "actor_kind", "actor_id", "actor_label"),
    *("target_kind", "target_id", "target_label", "address", "request_id", "changes"),
)
AT = COLUMNS.index("at")

#: What a formula may start with, in the wide forms of East Asian keyboards too.
FORMULA = frozenset("=+-@\t\r\n＝＋－＠")

#: Exports that one process works on at once. `serve` starts as many threads on top of `THREADS`.
AT_ONCE = 2
#: Seconds that an export may take, from its first row to its last byte.
LONGEST = 300
#: Seconds after which a reader who takes nothing is cut off.
STALLED = 20
#: Seconds after which an account's lock goes by itself, for a process that was killed: longer than any export.
LOCK = LONGEST + 2 * STALLED
#: Seconds after which to ask again.
RETRY_AFTER = 30

#: Rows that are handled at a stretch. So few, because other requests of the process wait for the interpreter meanwhile;
#: they get it each time while a batch is compressed.
BATCH = 100
PIECE = 1024 * 1024  # bytes

Rows = list[tuple[Any, ...]]
Writer = Callable[[Iterator[Rows]], Iterator[bytes]]

_places = threading.BoundedSemaphore(AT_ONCE)

#: One file is written at a time. Two would take twice as long each, and hold up everybody else twice as much.
_writing = threading.Lock()


class Export:
    """A file that was written and waits to be sent, once. Its place is free when it is closed, or garbage."""

    def __init__(
        self, events: QuerySet[AuditEvent], write: Writer, *, account_id: int, compressed: bool = False
    ) -> None:
        """Write the file. `compressed` says whether its reader takes gzip.

        Raises `Unavailable` if the account has an export already or the process has enough of them, and `Invalid`
        if there is more than can be written in time.
        """
        self._deadline = time.monotonic() + LONGEST
        with ExitStack() as resources:
            resources.enter_context(_place(account_id))
            file = resources.enter_context(TemporaryFile())
            with _writing:
                size = self._fill(file, write(_batches(events)))
            #: How many bytes will be sent.
            self.size = file.tell() if compressed else size
            file.seek(0)
            self._source: Any = file if compressed else gzip.GzipFile(fileobj=file)
            self.close = weakref.finalize(self, resources.pop_all().close)

    def _fill(self, file: IO[bytes], parts: Iterator[bytes]) -> int:
        """Write what takes a seventh of the disk, at gzip's level 1, and tell how long it really is."""
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as compressed:
            for part in parts:
                compressed.write(part)
                if time.monotonic() > self._deadline:
                    raise Invalid("This is too much for one file. Filter it by date and export it in parts.")
            return compressed.tell()

    def __iter__(self) -> Iterator[bytes]:
        """The file, in pieces of which the server takes five unsent: a file of 5 MB frees its thread at once.

        Ends too early when the time is over. The reader, who was told the size, sees that as a failure.
        """
        end_stalled_readers(STALLED)
        while piece := self._source.read(PIECE):
            if time.monotonic() > self._deadline:
                logger.warning("An export was cut off: its reader was not done after %s s.", LONGEST)
                return
            yield piece


@contextmanager
def _place(account_id: int) -> Iterator[None]:
    """One of the process's places, and the only one of the account over all processes that share a cache."""
    if not _places.acquire(blocking=False):
        raise Unavailable("Other exports are running. Try again in a minute.", retry_after=RETRY_AFTER)
    try:
        lock = f"export:{account_id}"
        if not cache.add(lock, True, LOCK):
            message = "Another export of this account is running. Try again when it is done."
            raise Unavailable(message, retry_after=RETRY_AFTER)
        try:
            yield
        finally:
            cache.delete(lock)
    finally:
        _places.release()


def _batches(events: QuerySet[AuditEvent]) -> Iterator[Rows]:
    """Plain rows in the order of `COLUMNS`, with `changes` as the JSON text that it is.

    One query, because the database's order of rows is used once: a query a batch would sort anew for each on a
    PostgreSQL that has no statistics of a table that has just grown.
    """
    plain = events.annotate(changes_text=Cast("changes", TextField()))
    rows = plain.values_list(*COLUMNS[:-1], "changes_text").iterator(chunk_size=BATCH)
    while batch := list(islice(rows, BATCH)):
        yield batch


def as_csv(batches: Iterator[Rows]) -> Iterator[bytes]:
    """CSV (RFC 4180), the first line naming the columns."""
    yield _csv([COLUMNS])
    for batch in batches:
        columns = [list(column) for column in zip(*batch, strict=True)]
        columns[AT] = [at.isoformat() for at in columns[AT]]
        yield _csv(zip(*map(_harmless, columns), strict=True))


def _csv(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _harmless(column: list[Any]) -> list[Any]:
    """A text that a spreadsheet would take for a formula, made plain text (OWASP, CSV injection)."""
    if FORMULA.isdisjoint([value[0] for value in column if value]):
        return column
    return [f"'{value}" if value and value[0] in FORMULA else value for value in column]


def as_json(batches: Iterator[Rows]) -> Iterator[bytes]:
    """A JSON array of objects."""
    opening = b"["
    for batch in batches:
        yield opening + b"\n" + b",\n".join(map(_json, batch))
        opening = b","
    yield b"\n]\n" if opening == b"," else b"[]\n"


def _json(row: tuple[Any, ...]) -> bytes:
    *values, changes = row
    return orjson.dumps(dict(zip(COLUMNS, (*values, orjson.Fragment(changes)), strict=True)))
