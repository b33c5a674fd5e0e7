"""Telling what a change changed."""

from typing import Any


def changed(instance: Any, **fields: Any) -> dict[str, tuple[Any, Any]]:
    """Set the fields on the instance and tell which really changed, as before and after."""
    changes = {}
    for field, value in fields.items():
        before = getattr(instance, field)
        if before != value:
            setattr(instance, field, value)
            changes[field] = (before, value)
    return changes
