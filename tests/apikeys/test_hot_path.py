"""What an authenticated request takes: one fixed statement, no write, no session, no second query."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys import lookup, tokens
from tests import dead_connections, factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db


def test_an_authenticated_request_is_one_query_and_it_reads(program: Program) -> None:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert program.get("/v2").status_code == 200
    # 1: the key and its account, by digest
    assert len(captured) == 1
    assert captured[0]["sql"].startswith("SELECT")


def test_a_refused_key_is_one_query_at_most(cast: Cast, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        Program(tokens.generate()).get("/v2")
    with django_assert_num_queries(0):
        Program("nonsense").get("/v2")


def test_the_statement_knows_every_column_of_the_record(cast: Cast) -> None:
    issued = factories.make_key(
        cast.account,
        name="Deploys",
        allowed_networks=["10.0.0.0/8"],
        rate_limit="5/minute",
        administrator=True,
        access='[{"service":"api"}]',
    )
    key = lookup.by_digest(tokens.digest(issued.secret))
    assert key is not None
    assert key.id == issued.api_key.id
    assert (key.name, key.permission, bool(key.administrator)) == ("Deploys", "read_write", True)
    assert (key.revoked, key.disabled, bool(key.expired)) == (None, None, False)
    assert (key.networks, key.rate_limit, key.access) == (("10.0.0.0/8",), "5/minute", '[{"service":"api"}]')
    assert (key.account_id, key.account_slug, key.account_name) == (cast.account.id, "acme", "Acme")


def test_a_statement_returns_what_django_would_each_time_it_is_executed(cast: Cast) -> None:
    with connection.cursor() as cursor:
        for value in ("%s", "100%"):
            cursor.execute("SELECT %s, '100%%', '?'", [value])
            assert cursor.fetchone() == (value, "100%", "?")
        cursor.execute("SELECT '100%', '%s'")
        assert cursor.fetchone() == ("100%", "%s")
        cursor.execute("SELECT %(name)s, '100%%'", {"name": "x"})
        assert cursor.fetchone() == ("x", "100%")


@pytest.mark.django_db(transaction=True)
def test_a_dead_connection_is_replaced_once(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    with dead_connections.replaced_once():
        assert Program(issued.secret).get("/v2").status_code == 200


# Without a cursor -------------------------------------------------------------------------------


def fetch_row(sql: str, parameters: Sequence[str]) -> Any:
    """The row, by the method of our own backends."""
    backend: Any = connection
    return backend.fetch_row(sql, parameters)


def by_cursor(sql: str, parameters: Sequence[str]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True)
def test_a_row_is_the_same_with_a_cursor_and_without(cast: Cast) -> None:
    issued = factories.make_key(
        cast.account,
        name="Nächtlich %s 100%",
        expires_at=timezone.now() + timedelta(days=3),
        revoked_at=timezone.now(),
        allowed_networks=["10.0.0.0/8"],
    )
    sql = lookup._statement(connection.vendor, "digest")
    for digest in (tokens.digest(issued.secret), tokens.digest("another"), "", "\u00e4'; --"):
        row = fetch_row(sql, (digest,))
        assert row == by_cursor(sql, (digest,))
        assert (row is None) == (digest != tokens.digest(issued.secret))
    with CaptureQueriesContext(connection) as captured:
        fetch_row(sql, ("",))
    assert len(captured) == 1  # code that counts queries sees the query


@pytest.mark.django_db(transaction=True)
def test_a_database_error_is_djangos_exception(cast: Cast) -> None:
    with pytest.raises((ProgrammingError, OperationalError)):
        fetch_row("SELECT nothing FROM nowhere WHERE a = %s", ("x",))
    assert lookup.by_digest(tokens.digest("another")) is None  # the connection still works


# Plans of PostgreSQL ----------------------------------------------------------------------------


@pytest.fixture
def statement(cast: Cast) -> Iterator[tuple[str, str, str]]:
    """The statement that finds a key, on its own connection, with a key's digest and id."""
    issued = factories.make_key(cast.account)
    connection.close()
    yield lookup._statement("postgresql", "digest"), tokens.digest(issued.secret), issued.api_key.id
    connection.close()


def named_plans() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [name for (name,) in cursor.fetchall()]


on_postgresql = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.services,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL"),
]


class TestPlans:
    pytestmark = on_postgresql

    def test_a_statement_is_planned_once_for_each_connection(self, statement: tuple[str, str, str]) -> None:
        sql, digest, key = statement
        for _ in range(3):
            assert fetch_row(sql, (digest,))[0] == key
            assert fetch_row(sql, ("another",)) is None
        assert len(named_plans()) == 1

    def test_a_statement_in_a_transaction_is_part_of_it_and_not_planned(self, statement: tuple[str, str, str]) -> None:
        sql, digest, key = statement
        with transaction.atomic():
            assert fetch_row(sql, (digest,))[0] == key
            assert connection.connection.info.transaction_status.name == "INTRANS"
            assert named_plans() == []

    def test_a_pooler_that_switches_connections_causes_no_error(self, statement: tuple[str, str, str]) -> None:
        sql, digest, key = statement
        fetch_row(sql, (digest,))
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
        for _ in range(3):
            assert fetch_row(sql, (digest,))[0] == key

    def test_a_pooler_that_switches_to_a_connection_with_the_plan_causes_no_error(
        self, statement: tuple[str, str, str]
    ) -> None:
        sql, digest, key = statement
        fetch_row(sql, (digest,))
        connection.connection._readers.clear()
        for _ in range(3):
            assert fetch_row(sql, (digest,))[0] == key

    def test_a_migration_that_changes_a_column_causes_no_error(self, statement: tuple[str, str, str]) -> None:
        sql = "SELECT a FROM planned WHERE b = %s"
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE planned AS SELECT '7'::text AS a, 'x'::text AS b")
            assert fetch_row(sql, ("x",)) == ("7",)
            cursor.execute("ALTER TABLE planned ALTER a TYPE integer USING a::integer")
        for _ in range(3):
            assert fetch_row(sql, ("x",)) == (7,)
