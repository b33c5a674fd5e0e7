"""The target of an audit event. Pure: models import it and provide their own `target`."""

from typing import NamedTuple


class Target(NamedTuple):
    """The item that was changed: its kind, its public id and its name at that time."""

    kind: str
    id: str
    label: str
