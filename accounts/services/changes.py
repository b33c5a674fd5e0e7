"""What every change needs: the row itself, locked, and what was changed of it."""

from typing import Any, TypeVar

from django.db.models import Model

from ..errors import NotFound
from ..policy import Actor

M = TypeVar("M", bound=Model)


def own(actor: Actor, rows: Any, row: M, name: str) -> M:
    """The row as it is now, locked. Raises `NotFound` if it is gone or another account's."""
    found: M | None = rows.for_account(actor.account).select_for_update(of=("self",)).filter(pk=row.pk).first()
    if found is None:
        raise NotFound(f"{name} is not there any more.")
    return found


def changed(instance: Any, **fields: Any) -> dict[str, tuple[Any, Any]]:
    """Set the fields on the instance and tell which really changed, as before and after."""
    changes = {}
    for field, value in fields.items():
        before = getattr(instance, field)
        if before != value:
            setattr(instance, field, value)
            changes[field] = (before, value)
    return changes
