"""Finds a key by its digest with one fixed statement, the only query of an authenticated request.

The ORM takes ten times longer to build this query than the database takes to answer it. So the queryset's SQL is
compiled once, and still only the models define the columns. The thread's connection is looked up once, because
`django.db.connection` looks it up again for each attribute.

A request to a service behind a gateway also takes one statement (`at_service`). It selects the service first and joins
the key, so that the service's gateways are known even without a key. No relation of the models expresses that, so the
joins are written by hand.
"""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection, connections
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from accounts.models import Account
from accounts.policy import KEY_GRANTS, KeyRole, Permission

from . import networks
from .models import APIKey, Service


class KeyRecord(NamedTuple):
    """The columns of a key and its account that the rules need. Their raw values need no converter."""

    id: str
    name: str
    permission: str
    administrator: bool
    revoked: object  # when, or None
    expired: object  # true if expired, else false or None
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


class ServiceRecord(NamedTuple):
    """The columns of a service that the guard needs, as stored: lists are JSON."""

    id: str
    account_id: int
    reading_methods: str
    reading_paths: str
    preflight: bool
    query_keys: bool
    gateways: str
    shared: bool

    def is_reading(self, method: str) -> bool:
        return method in _members(self.reading_methods)

    def has_gateway(self, address: str) -> bool:
        return self.gateways != "[]" and networks.is_within(address, _networks(self.gateways))

    def opens_to(self, key: KeyRecord) -> bool:
        """Whether keys of that account are recognized here."""
        return bool(self.shared) or key.account_id == self.account_id


def _in_utc(moment: datetime | None) -> datetime | None:
    """Adds the time zone to SQLite's datetimes, which are naive and in UTC."""
    if moment is not None and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment


@lru_cache(maxsize=4096)
def _networks(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=1024)
def _members(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


@lru_cache(maxsize=8)
def _statement(vendor: str, column: str) -> str:  # noqa: ARG001  part of the cache key
    """The SQL, with one parameter: the value of the column `digest` or `id`."""
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
    assert parameters == ("",), "the value of the column must be the statement's only parameter"
    return sql


@lru_cache(maxsize=2)
def _statement_of_service(vendor: str) -> str:
    """The SQL of `at_service`, with two parameters: a key's digest and a service's id."""
    of_key = _statement(vendor, "digest").partition(" FROM ")[0].removeprefix("SELECT ")
    quoted = connection.ops.quote_name
    service, key, account = (quoted(model._meta.db_table) for model in (Service, APIKey, Account))
    columns = ", ".join(f"{service}.{quoted(field)}" for field in ServiceRecord._fields)
    return (
        f"SELECT {columns}, {of_key} FROM {service} "  # noqa: S608  only names of our own
        f"LEFT JOIN {key} ON {key}.digest = %s AND ({service}.shared OR {key}.account_id = {service}.account_id) "
        f"LEFT JOIN {account} ON {account}.id = {key}.account_id "
        f"WHERE {service}.id = %s"
    )


def by_digest(digest: str) -> KeyRecord | None:
    """The key with this digest, in any state."""
    database = connections[DEFAULT_DB_ALIAS]
    row = _fetch_with_retry(database, _statement(database.vendor, "digest"), (digest,))
    return KeyRecord._make(row) if row is not None else None


def by_id(id: str) -> KeyRecord | None:
    """The key with this id, in any state."""
    database = connections[DEFAULT_DB_ALIAS]
    row = _fetch(database, _statement(database.vendor, "id"), (id,))
    return KeyRecord._make(row) if row is not None else None


def at_service(service_id: str, digest: str) -> tuple[ServiceRecord | None, KeyRecord | None]:
    """The service with this id, and the key with this digest if the service belongs to its account or is shared.

    Otherwise the key is None. No key has an empty digest.
    """
    database = connections[DEFAULT_DB_ALIAS]
    row = _fetch_with_retry(database, _statement_of_service(database.vendor), (digest, service_id))
    if row is None:
        return None, None
    key = row[_SERVICE_COLUMNS:]
    return ServiceRecord._make(row[:_SERVICE_COLUMNS]), None if key[0] is None else KeyRecord._make(key)


_SERVICE_COLUMNS = len(ServiceRecord._fields)

Row = tuple[Any, ...] | None


def _fetch_with_retry(database: Any, sql: str, parameters: tuple[str, ...]) -> Row:
    """Run the statement, and retry it once on a new connection: a restart of the database closes them all.

    A health check would add a query to each request.
    """
    try:
        return _fetch(database, sql, parameters)
    except (OperationalError, InterfaceError):
        if database.in_atomic_block:
            raise
        database.close()
        return _fetch(database, sql, parameters)


def _fetch(database: Any, sql: str, parameters: tuple[str, ...]) -> Row:
    """Uses a method of our own backends (`atatus_dash.backends.rows`): a cursor takes longer than the statement."""
    row: Row = database.fetch_row(sql, parameters)
    return row
