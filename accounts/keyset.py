"""Keyset pagination: the last page is as fast as the first, and pages stay stable while rows are added.

A page starts after the row that its cursor names, by the values of the columns that order the list. No rows are
counted or skipped, so with an index in that order every page takes the same time. Times are in microseconds since
1970 and dates in days, such as in `1764530381695197.prj_7Kd2Qm0aXb9LsTyW`: every number is a valid one, so a regular
expression can describe the cursors of a list (`pattern`). A cursor of the previous page begins with `~`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

from django.core.exceptions import ValidationError
from django.db.models import DateField, DateTimeField, Field, IntegerField, Model, Q, QuerySet

M = TypeVar("M", bound=Model)

_BACKWARD = "~"
_SEPARATOR = "."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = _EPOCH.date()
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
#: How many digits a number has at most, so that all such numbers are valid: up to the year 5138 in microseconds, up to
#: 4707 in days, and 64 bits.
_TIME_DIGITS, _DAY_DIGITS, _INTEGER_DIGITS = 17, 6, 18


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
        texts = [_text(field.value_from_object(row)) for field in self.fields]
        return (_BACKWARD if backward else "") + _SEPARATOR.join(texts)

    def read(self, cursor: str) -> tuple[bool, list[Any]]:
        """The direction and the values in a cursor. Raises `ValueError`."""
        texts = cursor.removeprefix(_BACKWARD).split(_SEPARATOR)
        values = [_value(field, text) for field, text in zip(self.fields, texts, strict=True)]
        return cursor.startswith(_BACKWARD), values

    @property
    def pattern(self) -> str:
        """A regular expression for cursors of a list whose texts are ids. All that match it can be read."""
        values = f"[{_SEPARATOR}]".join(map(_pattern, self.fields))
        return f"^{_BACKWARD}?{values}$"


def _column(name: str) -> str:
    return name.removeprefix("-")


def _direction(name: str) -> str:
    """The comparison for rows that come later in this order."""
    return "lt" if name.startswith("-") else "gt"


def _text(value: Any) -> str:
    """A column's value as text in a cursor."""
    if isinstance(value, datetime):
        return str((value - _EPOCH) // _MICROSECOND)
    if isinstance(value, date):
        return str((value - _FIRST_DAY) // _DAY)
    return quote(str(value), safe="").replace(_SEPARATOR, "%2E").replace(_BACKWARD, "%7E")


def _value(field: "Field[Any, Any]", text: str) -> Any:
    """A column's value, strictly validated because the database gets it. Raises `ValueError`."""
    try:
        if isinstance(field, DateTimeField):
            return _EPOCH + _number(text, _TIME_DIGITS) * _MICROSECOND
        if isinstance(field, DateField):
            return _FIRST_DAY + _number(text, _DAY_DIGITS) * _DAY
        value = _number(text, _INTEGER_DIGITS) if isinstance(field, IntegerField) else unquote(text)
        field.run_validators(value)
    except ValidationError as error:
        raise ValueError from error
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError
    return value


def _number(text: str, digits: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise ValueError
    return int(text)


def _pattern(field: "Field[Any, Any]") -> str:
    if isinstance(field, DateTimeField):
        return f"[0-9]{{1,{_TIME_DIGITS}}}"
    if isinstance(field, DateField):
        return f"[0-9]{{1,{_DAY_DIGITS}}}"
    if isinstance(field, IntegerField):
        return f"[0-9]{{1,{_INTEGER_DIGITS}}}"
    return f"[0-9A-Za-z_]{{1,{field.max_length}}}"
