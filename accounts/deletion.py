"""Deletes of many rows, so many at a time: a statement of a server has seconds, and other writers wait for each."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.db.models import QuerySet

_Rows = TypeVar("_Rows", bound="QuerySet[Any]")

#: Called between two steps of long work. It raises what ends the work there, and the rest is left for another time.
Checkpoint = Callable[[], None]

#: How many rows a statement deletes.
BATCH = 1_000


def no_checkpoint() -> None:
    """The checkpoint of work that nothing ends early."""


def in_batches(rows: _Rows, checkpoint: Checkpoint = no_checkpoint) -> Iterator[_Rows]:
    """Yield the rows in parts, each of which has to be deleted before the next is asked for."""
    while batch := list(rows.order_by().values_list("pk", flat=True)[:BATCH]):
        checkpoint()
        yield rows.filter(pk__in=batch)  # unless a row changed since, and is no longer one of them


def delete(rows: "QuerySet[Any]", checkpoint: Checkpoint = no_checkpoint) -> int:
    """Delete the rows; return how many."""
    return sum(batch.delete()[0] for batch in in_batches(rows, checkpoint))
