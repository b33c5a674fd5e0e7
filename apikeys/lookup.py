"""Finding a key by its digest: one fixed statement, the only query of an authenticated request.

The ORM spends ten times longer on building this query than a database on answering it. So the queryset's
SQL is compiled once and run through Django's cursor; the models stay the only place that knows the columns.
"""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError, connection
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from accounts.policy import KEY_GRANTS, KeyRole, Permission

from .models import APIKey


class KeyRecord(NamedTuple):
    """What the gates need to know of a key and its account, in columns whose raw values need no converter."""

    id: str
    name: str
    permission: str
    administrator: bool
    revoked: object  # when, or None
    expired: object  # true, or false or None
    disabled: object  # when, or None
    rotated_at: datetime | None
    accepts_query: bool
    accepts_body: bool
    expires_at: datetime | None
    allowed_networks: str  # a JSON list
    rate_limit: str | None
    access: str | None  # as `scopes.store` writes it
    account_id: int
    account_slug: str
    account_name: str
    account_closed: object  # when, or None
    account_suspended: object  # when, or None
    account_accepts_query: bool
    account_accepts_body: bool

    @property
    def role(self) -> KeyRole:
        return KeyRole.ADMINISTRATOR if self.administrator else KeyRole.KEY

    @property
    def permissions(self) -> frozenset[Permission]:
        return KEY_GRANTS[self.role, self.permission]

    @property
    def networks(self) -> tuple[str, ...]:
        return _networks(self.allowed_networks)

    @property
    def expiry(self) -> datetime | None:
        return _in_utc(self.expires_at)

    @property
    def rotation(self) -> datetime | None:
        return _in_utc(self.rotated_at)


def _in_utc(moment: datetime | None) -> datetime | None:
    """SQLite hands moments over in UTC without saying so."""
    if moment is not None and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment


@lru_cache(maxsize=4096)
def _networks(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=8)
def _statement(vendor: str, column: str) -> str:
    """The SQL, with one parameter: what the column, `digest` or `id`, is compared with."""
    expired = ExpressionWrapper(Q(expires_at__lte=Now()), output_field=BooleanField())
    queryset = (
        APIKey.objects.annotate(expired=expired)
        .filter(**{column: ""})
        .values_list(
            "id",
            "name",
            "permission",
            "administrator",
            "revoked_at",
            "expired",
            "disabled_at",
            "rotated_at",
            "accepts_query",
            "accepts_body",
            "expires_at",
            "allowed_networks",
            "rate_limit",
            "access",
            "account_id",
            "account__slug",
            "account__name",
            "account__closed_at",
            "account__suspended_at",
            "account__accepts_query",
            "account__accepts_body",
        )
    )
    sql, parameters = queryset.order_by().query.sql_with_params()
    assert parameters == ("",), "what the column is compared with has to be the statement's only parameter"
    return sql


def by_digest(digest: str) -> KeyRecord | None:
    """The key with this digest, whatever its state.

    A database that was restarted leaves every thread a dead connection. A health check would cost a query
    per request, so the lookup is tried once more on a fresh connection instead.
    """
    try:
        row = _fetch("digest", digest)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        row = _fetch("digest", digest)
    return KeyRecord._make(row) if row is not None else None


def by_id(id: str) -> KeyRecord | None:
    """The key with this id, whatever its state."""
    row = _fetch("id", id)
    return KeyRecord._make(row) if row is not None else None


def _fetch(column: str, value: str) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(_statement(connection.vendor, column), (value,))
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row
