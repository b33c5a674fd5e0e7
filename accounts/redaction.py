"""Secrets are stored nowhere: who writes a text asks here first, and what was forgotten is masked on its way out.

Which texts hold one is said by the app above, which registers what recognises its secrets. Forms, serializers and
commands refuse such a text by `validators`, at its field. What no person can correct is masked: user agents, mail,
sessions and, whoever writes it, every value of an INSERT or UPDATE.
"""

import logging
from collections.abc import Callable
from operator import is_not
from typing import Any, Protocol

from django.contrib.sessions.serializers import JSONSerializer
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.types.json import Json, Jsonb

logger = logging.getLogger(__name__)


class Kind(Protocol):
    """What recognises one kind of secret: a module or an object."""

    def is_in(self, text: str, /) -> bool:
        """Whether such a secret stands anywhere in the text."""

    def redact(self, text: str, /) -> str:
        """The text with every such secret masked; never longer than it was."""


_kinds: list[Kind] = []


def register(kind: Kind) -> None:
    """Let secrets of this kind be stored nowhere. For an app's `ready`."""
    if kind not in _kinds:
        _kinds.append(kind)


def holds_secret(text: str) -> bool:
    return any(kind.is_in(text) for kind in _kinds)


def redact(text: str) -> str:
    """The text with every secret masked, and what looks like one, such as a key with a typo."""
    for kind in _kinds:
        text = kind.redact(text)
    return text


def redact_all(value: Any) -> Any:
    """The value with every secret in its texts masked, in lists and mappings too. Without one it is the same object."""
    if isinstance(value, str):
        return redact(value) if holds_secret(value) else value
    if isinstance(value, dict):
        masked = {redact_all(key): redact_all(held) for key, held in value.items()}
        return masked if any(masked.get(key) is not held for key, held in value.items()) else value
    if isinstance(value, (list, tuple)):
        items = [redact_all(held) for held in value]
        return type(value)(items) if any(map(is_not, items, value)) else value
    if isinstance(value, (Json, Jsonb)):  # as PostgreSQL's driver is given JSON
        held = redact_all(value.obj)
        return value if held is value.obj else type(value)(held, dumps=value.dumps)
    return value


# Sessions ---------------------------------------------------------------------------------------


class SessionSerializer(JSONSerializer):
    """Django's, with secrets masked: what is stored is encoded, and no statement would show them."""

    def dumps(self, obj: Any) -> bytes:
        return super().dumps(redact_all(obj))


# The database -----------------------------------------------------------------------------------


def mask_connection(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Mask secrets in what this connection writes. Connected to `connection_created`."""
    if mask_writes not in connection.execute_wrappers:
        connection.execute_wrappers.append(mask_writes)


def mask_writes(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement; values of one that writes are stored without secrets.

    It never fails: a person would meet an error they can't explain, at a field that nobody thought of. The log
    tells of it, for such a field lacks its validator.
    """
    if params and str(sql)[:6].upper() in ("INSERT", "UPDATE"):
        masked = redact_all(params)
        if masked is not params:
            logger.warning("A secret was masked on its way into the database: %s", str(sql)[:80])
            params = masked
    return execute(sql, params, many, context)
