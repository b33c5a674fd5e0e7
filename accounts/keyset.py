"""Keyset pagination: the last page is as fast as the first, and pages stay stable while rows are added.

A page starts after the row that its cursor names, by the values of the columns that order the list. No rows are
counted or skipped, so with an index in that order every page takes the same time.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Page(Generic[M]):
    """Rows of a list, and the cursors of the next and previous pages, if they exist."""

    rows: list[M]
    next: str | None
    previous: str | None

    def __iter__(self) -> Iterator[M]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def page(queryset: QuerySet[M], *, size: int, cursor: str = "") -> Page[M]:
    """The cursor's page, or the first one, in the model's order.

    The columns of that order must not be null, and the last one must be unique. Raises `ValueError` for an invalid
    cursor.
    """
    order = Order.of(queryset.model)
    backward, position = order.read(cursor) if cursor else (False, None)
    if backward:
        order = order.reversed()
    rows = queryset.order_by(*order.names)
    if position is not None:
        rows = rows.filter(order.after(position))
    found = list(rows[: size + 1])
    is_last = len(found) <= size
    found = found[:size]
    if backward:
        found.reverse()
    has_next, has_previous = (position is not None, not is_last) if backward else (not is_last, position is not None)
    return Page(
        found,
        next=order.cursor(found[-1], backward=False) if has_next and found else None,
        previous=order.cursor(found[0], backward=True) if has_previous and found else None,
    )


@dataclass(frozen=True)
class Order:
    """The columns that a list is ordered by, as Django names them: `-at` is newest first."""

    model: type[Model]
    names: tuple[str, ...]

    @classmethod
    def of(cls, model: type[Model]) -> "Order":
        """The model's order; without one, the newest rows come first."""
        return cls(model, tuple(str(name) for name in model._meta.ordering or (f"-{model._meta.pk.name}",)))

    @property
    def fields(self) -> list["Field[Any, Any]"]:
        found = [self.model._meta.get_field(name.removeprefix("-")) for name in self.names]
        return [field for field in found if isinstance(field, Field)]  # keeps all: none is a relation

    def reversed(self) -> "Order":
        return Order(self.model, tuple(name[1:] if name.startswith("-") else f"-{name}" for name in self.names))

    def after(self, position: Sequence[Any]) -> Q:
        """The rows after these values: after in the first column, or equal there and after in the next, and so on.

        The first condition follows from the others; it lets the database use its index.
        """
        first, *_ = self.names
        further = Q(**{f"{_column(first)}__{_direction(first)}e": position[0]})
        alternatives = Q()
        for number, name in enumerate(self.names):
            same = {_column(before): position[at] for at, before in enumerate(self.names[:number])}
            alternatives |= Q(**same, **{f"{_column(name)}__{_direction(name)}": position[number]})
        return further & alternatives

    def cursor(self, row: Model, *, backward: bool) -> str:
        values = [field.value_to_string(row) for field in self.fields]
        return urlsafe_b64encode(json.dumps([int(backward), *values]).encode()).decode().rstrip("=")

    def read(self, cursor: str) -> tuple[bool, list[Any]]:
        """The direction and the values in a cursor. Raises `ValueError`."""
        try:
            content = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        except RecursionError as error:
            raise ValueError from error
        if not isinstance(content, list) or len(content) != len(self.names) + 1 or content[0] not in (0, 1):
            raise ValueError
        return bool(content[0]), [_value(field, text) for field, text in zip(self.fields, content[1:], strict=True)]


def _column(name: str) -> str:
    return name.removeprefix("-")


def _direction(name: str) -> str:
    """The comparison for rows that come later in this order."""
    return "lt" if name.startswith("-") else "gt"


def _value(field: "Field[Any, Any]", text: Any) -> Any:
    """A column's value, strictly validated because the database gets it. Raises `ValueError`."""
    if not isinstance(text, str) or "\0" in text:
        raise ValueError
    try:
        value = field.to_python(text)
        field.run_validators(value)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError
            return value.astimezone(UTC)  # PostgreSQL doesn't accept every offset that Python does
        return value
    except (ValidationError, OverflowError) as error:
        raise ValueError from error
