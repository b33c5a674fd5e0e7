"""The audit log as a file.

It is first written to a temporary file, as fast as the database returns rows, and sent from there. So a slow client
keeps no query open, an error while reading results in an error page instead of half a file, and a client notices an
incomplete download by `Content-Length`. The number of exports is limited, because each occupies a thread and a
processor.
"""

import gzip
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

import orjson
from django.core.cache import cache
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from .errors import Invalid, Unavailable
from .models import AuditEvent
from .validators import in_one_line

logger = logging.getLogger(__name__)

COLUMNS = (
    *("id", "at", "event", "actor_kind", "actor_id", "actor_label"),
    *("target_kind", "target_id", "target_label", "address", "request_id", "changes"),
)
AT, ADDRESS, CHANGES = map(COLUMNS.index, ("at", "address", "changes"))
LABELS = [COLUMNS.index(name) for name in ("actor_label", "target_label")]

#: Columns that the database converts to text: Django's conversion takes as long as everything else together.
AS_TEXT = ("at", "actor_label", "target_label", "changes")

#: Characters that need quotes around their CSV cell.
NEED_QUOTES = frozenset('",\r\n')

#: Characters that start a formula in spreadsheets, with their full-width forms from East Asian keyboards.
FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")

#: Exports that one process runs at once. `serve` starts this many threads in addition to `THREADS`.
MAX_EXPORTS = 2
#: Seconds that an export may take, from the first row read to the last byte sent.
TIME_LIMIT = 300
#: Seconds after which the server disconnects a client that reads nothing.
STALL_LIMIT = 20
#: Seconds after which an account's lock expires, in case its process was killed. Longer than any export.
LOCK_TIMEOUT = TIME_LIMIT + 2 * STALL_LIMIT
#: Seconds in `Retry-After`.
RETRY_AFTER = 30

#: Rows per batch. Small, because other requests of the process wait for the interpreter lock meanwhile.
BATCH = 100
#: Seconds of sleep after each batch, in which other requests run. Compression releases the lock for as long.
PAUSE = 0.00005
CHUNK_SIZE = 1024 * 1024  # bytes

Columns = list[list[Any]]
Writer = Callable[[Iterator[Columns]], Iterator[bytes]]

_slots = threading.BoundedSemaphore(MAX_EXPORTS)

#: One file is written at a time. Two would each take twice as long, and delay other requests twice as much.
_writing = threading.Lock()


class Export:
    """A written file, to be sent once. Its slot becomes free when it is closed or garbage-collected."""

    def __init__(
        self, events: QuerySet[AuditEvent], write: Writer, *, account_id: int, compressed: bool = False
    ) -> None:
        """Write the file. `compressed` says whether the client accepts gzip.

        Raises `Unavailable` if another export of the account, or too many in this process, are running, and `Invalid`
        if the file can't be written in time.
        """
        self._deadline = time.monotonic() + TIME_LIMIT
        with ExitStack() as resources:
            resources.enter_context(_slot(account_id))
            file = resources.enter_context(TemporaryFile())
            with _writing:
                self._write(file, write(_batches(events)), compressed=compressed)
            #: How many bytes will be sent.
            self.size = file.tell()
            file.seek(0)
            self._file = file
            self.close = weakref.finalize(self, resources.pop_all().close)

    def _write(self, file: IO[bytes], parts: Iterator[bytes], *, compressed: bool) -> None:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) if compressed else nullcontext(file) as target:
            for part in parts:
                target.write(part)
                if not compressed:
                    time.sleep(PAUSE)
                if time.monotonic() > self._deadline:
                    raise Invalid("This export is too large for one file. Filter it by date and export it in parts.")

    def __iter__(self) -> Iterator[bytes]:
        """The file in chunks. The server buffers 2 MiB, so a file up to that size frees its thread immediately.

        Stops early at the time limit. The client knows the size, so it sees that as a failure.
        """
        while piece := self._file.read(CHUNK_SIZE):
            if time.monotonic() > self._deadline:
                logger.warning("An export was stopped: the client had not read all of it after %s s.", TIME_LIMIT)
                return
            yield piece


@contextmanager
def _slot(account_id: int) -> Iterator[None]:
    """Occupy one of the process's slots, and the account's only slot in all processes that share the cache."""
    if not _slots.acquire(blocking=False):
        raise Unavailable("Other exports are running. Try again in a minute.", retry_after=RETRY_AFTER)
    try:
        lock = f"export:{account_id}"
        if not cache.add(lock, True, LOCK_TIMEOUT):
            message = "Another export of this account is running. Try again when it is done."
            raise Unavailable(message, retry_after=RETRY_AFTER)
        try:
            yield
        finally:
            cache.delete(lock)
    finally:
        _slots.release()


def _batches(events: QuerySet[AuditEvent]) -> Iterator[Columns]:
    """Batches of rows, as columns of plain values: working by column takes a third of the time.

    One query, so that rows are sorted once. With a query for each batch, PostgreSQL would sort each time if its
    statistics of a growing table are not current.
    """
    texts = {f"{name}_text": Cast(name, TextField()) for name in AS_TEXT}
    names = [f"{name}_text" if name in AS_TEXT else name for name in COLUMNS]
    rows = events.annotate(**texts).values_list(*names).iterator(chunk_size=BATCH)
    while batch := list(islice(rows, BATCH)):
        columns: Columns = [list(column) for column in zip(*batch, strict=True)]
        columns[AT] = [_utc_time(text) for text in columns[AT]]
        for label in LABELS:
            columns[label] = [in_one_line(text) for text in columns[label]]
        yield columns


def _utc_time(text: str) -> str:
    """A time as the database writes it: always in UTC, with an offset (PostgreSQL) or without (SQLite)."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat()


def as_csv(batches: Iterator[Columns]) -> Iterator[bytes]:
    """CSV (RFC 4180) with a header line."""
    yield _lines([[name] for name in COLUMNS])
    for columns in batches:
        columns[ADDRESS] = [address or "" for address in columns[ADDRESS]]
        yield _lines([_quoted(_without_formulas(column)) for column in columns])


def _lines(columns: list[list[str]]) -> bytes:
    """CSV lines from columns. Three times as fast as `csv.writer`, which checks each character."""
    return "".join([f"{line}\r\n" for line in map(",".join, zip(*columns, strict=True))]).encode()


def _quoted(column: list[str]) -> list[str]:
    """Put cells that contain a comma, a quote or a line break into quotes."""
    text = "".join(column)
    if not any(mark in text for mark in NEED_QUOTES):
        return column
    return [cell if NEED_QUOTES.isdisjoint(cell) else '"' + cell.replace('"', '""') + '"' for cell in column]


def _without_formulas(column: list[str]) -> list[str]:
    """Prefix cells that a spreadsheet would run as a formula (OWASP, CSV injection)."""
    if FORMULA_STARTS.isdisjoint([cell[:1] for cell in column]):
        return column
    return [f"'{cell}" if cell[:1] in FORMULA_STARTS else cell for cell in column]


def as_json(batches: Iterator[Columns]) -> Iterator[bytes]:
    """A JSON array of objects."""
    opening = b"["
    for columns in batches:
        columns[CHANGES] = [orjson.Fragment(changes) for changes in columns[CHANGES]]
        rows = [orjson.dumps(dict(zip(COLUMNS, row, strict=True))) for row in zip(*columns, strict=True)]
        yield opening + b"\n" + b",\n".join(rows)
        opening = b","
    yield b"\n]\n" if opening == b"," else b"[]\n"
