"""Deletes in batches, because a server's statement times out after some seconds, and blocks other writers."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.db.models import QuerySet

_Rows = TypeVar("_Rows", bound="QuerySet[Any]")

#: Called between the steps of long work. It raises an exception to stop the work there; the rest is done next time.
Checkpoint = Callable[[], None]

#: Rows per DELETE statement.
BATCH = 1_000


def no_checkpoint() -> None:
    """A checkpoint that never stops the work."""


def in_batches(rows: _Rows, checkpoint: Checkpoint = no_checkpoint) -> Iterator[_Rows]:
    """Yield the rows in batches. The caller must delete each batch before it takes the next."""
    while batch := list(rows.order_by().values_list("pk", flat=True)[:BATCH]):
        checkpoint()
        yield rows.filter(pk__in=batch)  # without rows that have changed and no longer match


def delete(rows: "QuerySet[Any]", checkpoint: Checkpoint = no_checkpoint) -> int:
    """Delete the rows; return how many."""
    return sum(batch.delete()[0] for batch in in_batches(rows, checkpoint))
