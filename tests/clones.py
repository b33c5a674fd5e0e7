"""Copies of rows that factories wrote once in this process: a copy takes a fraction of a factory's time."""

import copy
import itertools
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.apps import apps
from django.db import connection, models, transaction
from django.utils import timezone

T = TypeVar("T")

#: On SQLite, ids start again from 1 in every test. Each clone has its own range, far from the rows of factories.
_first_ids = itertools.count(1_000_000, 1_000)


class Clone(Generic[T]):
    """`build` is called once.

    `get` inserts the rows that `build` wrote, with one statement for each table. Ids and secrets are the same in every
    test. Times are as long ago as they were after `build`.
    """

    def __init__(self, build: Callable[..., T]) -> None:
        self._build = build
        self._inserts: list[_Insert] | None = None

    def get(self, *arguments: Any) -> T:
        """A copy of what `build` returned. `arguments` for `build` are other clones, whose ids don't change either."""
        if self._inserts is None:
            self._inserts = self._record(arguments)
        late = timezone.now() - self._built_at
        # In any order: foreign keys are checked at the end of the transaction.
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            for insert in self._inserts:
                cursor.execute(insert.sql, insert.values(late))
        result: T
        result, items = pickle.loads(self._pickled)  # noqa: S301  # takes a third of a `deepcopy`
        for item in items:
            item.__dict__.update({k: v + late for k, v in item.__dict__.items() if isinstance(v, datetime)})
        return result

    def _record(self, arguments: tuple[Any, ...]) -> "list[_Insert]":
        with transaction.atomic():
            _skip_ids()
            before = {model: set(_rows(model)) for model in apps.get_models() if not model._meta.proxy}
            result = self._build(*arguments)
            self._built_at = timezone.now()
            written = {model: set(_rows(model)) - before[model] for model in before}
            transaction.set_rollback(True)
        parts: dict[int, Any] = {}
        result = copy.deepcopy(result, parts)
        self._pickled = pickle.dumps((result, [part for part in parts.values() if isinstance(part, models.Model)]))
        return [_Insert(model, rows) for model, rows in written.items() if rows]


def _rows(model: type[models.Model]) -> Any:
    return model._base_manager.all()


class _Insert:
    def __init__(self, model: type[models.Model], rows: set[models.Model]) -> None:
        quote, fields = connection.ops.quote_name, model._meta.concrete_fields
        line = f"({', '.join(['%s'] * len(fields))})"
        columns = ", ".join(quote(str(field.column)) for field in fields)
        self.sql = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES {', '.join([line] * len(rows))}"  # noqa: S608
        values = [(field, getattr(row, field.attname)) for row in rows for field in fields]
        self._values = [field.get_db_prep_save(value, connection) for field, value in values]
        self._times = {place: value for place, (_, value) in enumerate(values) if isinstance(value, datetime)}

    def values(self, late: timedelta) -> list[Any]:
        values = self._values.copy()
        for place, value in self._times.items():
            values[place] = connection.ops.adapt_datetimefield_value(value + late)
        return values


def _skip_ids() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_sequence")
            cursor.execute("INSERT INTO sqlite_sequence SELECT name, %s FROM sqlite_master", [next(_first_ids)])
