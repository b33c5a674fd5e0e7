"""What an audit event is about. Pure: imports no models, which name themselves by this."""

from typing import NamedTuple


class Target(NamedTuple):
    """What it was done to: a kind, its public id and the name it had then."""

    kind: str
    id: str
    label: str
