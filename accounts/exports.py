"""The audit log as a file.

It is written to a temporary file first, as fast as the database yields rows, and sent from there. So no query stays
open behind a slow reader, a failure while reading is an error page instead of half a file, and a file that was cut off
on its way is told by its `Content-Length`. Exports are few at a time: each holds a thread and keeps a processor busy.
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

#: Columns that are read as the text that the database has: Django's way to values takes as long as all the rest.
AS_TEXT = ("at", "actor_label", "target_label", "changes")

#: What a cell of CSV can't hold without quotes.
NEED_QUOTES = frozenset('",\r\n')

#: What a formula may start with, in the wide forms of East Asian keyboards too.
FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")

#: Exports that one process works on at once. `serve` starts as many threads on top of `THREADS`.
MAX_EXPORTS = 2
#: Seconds that an export may take, from its first row to its last byte.
TIME_LIMIT = 300
#: Seconds after which the server cuts off a reader who takes nothing.
STALL_LIMIT = 20
#: Seconds after which an account's lock goes by itself, for a process that was killed: longer than any export.
LOCK_TIMEOUT = TIME_LIMIT + 2 * STALL_LIMIT
#: Seconds after which to ask again.
RETRY_AFTER = 30

#: Rows that are handled at a stretch. So few, because other requests of the process wait for the interpreter meanwhile.
BATCH = 100
#: Seconds after each batch in which they get it. Compressing a batch gives them as many.
PAUSE = 0.00005
CHUNK_SIZE = 1024 * 1024  # bytes

Columns = list[list[Any]]
Writer = Callable[[Iterator[Columns]], Iterator[bytes]]

_slots = threading.BoundedSemaphore(MAX_EXPORTS)

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
                    raise Invalid("This is too much for one file. Filter it by date and export it in parts.")

    def __iter__(self) -> Iterator[bytes]:
        """The file, in pieces. The server keeps what is unsent of 2 MiB: a file up to that frees its thread at once.

        Ends too early when the time is over. The reader, who was told the size, sees that as a failure.
        """
        while piece := self._file.read(CHUNK_SIZE):
            if time.monotonic() > self._deadline:
                logger.warning("An export was cut off: its reader was not done after %s s.", TIME_LIMIT)
                return
            yield piece


@contextmanager
def _slot(account_id: int) -> Iterator[None]:
    """One of the process's places, and the only one of the account over all processes that share a cache."""
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
    """Some rows at a time, as plain values in columns: what is done column by column costs a third of the time.

    One query, because the database's order of rows is used once: a query a batch would sort anew for each on a
    PostgreSQL that has no statistics of a table that has just grown.
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
    """A time as the database writes it, which is in UTC whether it says so (PostgreSQL) or not (SQLite)."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat()


def as_csv(batches: Iterator[Columns]) -> Iterator[bytes]:
    """CSV (RFC 4180), the first line naming the columns."""
    yield _lines([[name] for name in COLUMNS])
    for columns in batches:
        columns[ADDRESS] = [address or "" for address in columns[ADDRESS]]
        yield _lines([_quoted(_without_formulas(column)) for column in columns])


def _lines(columns: list[list[str]]) -> bytes:
    """Column by column, because that is three times as fast as `csv.writer`, which looks at each character."""
    return "".join([f"{line}\r\n" for line in map(",".join, zip(*columns, strict=True))]).encode()


def _quoted(column: list[str]) -> list[str]:
    """Cells with a comma, a quote or the end of a line in them stand in quotes."""
    text = "".join(column)
    if not any(mark in text for mark in NEED_QUOTES):
        return column
    return [cell if NEED_QUOTES.isdisjoint(cell) else '"' + cell.replace('"', '""') + '"' for cell in column]


def _without_formulas(column: list[str]) -> list[str]:
    """A text that a spreadsheet would take for a formula, made plain text (OWASP, CSV injection)."""
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
