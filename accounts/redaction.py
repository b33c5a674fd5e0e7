"""Secrets are never stored: text that contains one is refused, or masked before it is written.

An app registers functions that recognise its secrets. Forms, serializers and commands refuse them at the field, by
`validators`. Where nobody could correct the text, secrets are masked: in user agents, mail, sessions and in every
value of an INSERT or UPDATE.
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
    """A module or an object that recognises one kind of secret."""

    def is_in(self, text: str, /) -> bool:
        """Whether the text contains such a secret."""

    def redact(self, text: str, /) -> str:
        """The text with every such secret masked; never longer than before."""


_kinds: list[Kind] = []


def register(kind: Kind) -> None:
    """Refuse or mask this kind of secret everywhere. For an app's `ready`."""
    if kind not in _kinds:
        _kinds.append(kind)


def holds_secret(text: str) -> bool:
    return any(kind.is_in(text) for kind in _kinds)


def redact(text: str) -> str:
    """The text with every secret masked, also malformed ones such as a key with a typo."""
    for kind in _kinds:
        text = kind.redact(text)
    return text


def redact_all(value: Any) -> Any:
    """The value with all secrets masked, in lists and mappings too. Without any, the same object is returned."""
    if isinstance(value, str):
        return redact(value) if holds_secret(value) else value
    if isinstance(value, dict):
        masked = {redact_all(key): redact_all(held) for key, held in value.items()}
        return masked if any(masked.get(key) is not held for key, held in value.items()) else value
    if isinstance(value, (list, tuple)):
        items = [redact_all(held) for held in value]
        return type(value)(items) if any(map(is_not, items, value)) else value
    if isinstance(value, (Json, Jsonb)):  # how JSON is passed to PostgreSQL's driver
        held = redact_all(value.obj)
        return value if held is value.obj else type(value)(held, dumps=value.dumps)
    return value


# Sessions ---------------------------------------------------------------------------------------


class SessionSerializer(JSONSerializer):
    """Django's serializer with secrets masked. Stored sessions are encoded, so `mask_writes` can't find secrets."""

    def dumps(self, obj: Any) -> bytes:
        return super().dumps(redact_all(obj))


# The database -----------------------------------------------------------------------------------


def mask_connection(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Mask secrets in everything that this connection writes. A receiver of `connection_created`."""
    if mask_writes not in connection.execute_wrappers:
        connection.execute_wrappers.append(mask_writes)


def mask_writes(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement, with secrets masked in the values of an INSERT or UPDATE.

    It raises no error, because the user couldn't correct it. It logs a warning, because the field lacks a validator.
    """
    if params and str(sql)[:6].upper() in ("INSERT", "UPDATE"):
        masked = redact_all(params)
        if masked is not params:
            logger.warning("A secret was masked before it was written to the database: %s", str(sql)[:80])
            params = masked
    return execute(sql, params, many, context)
