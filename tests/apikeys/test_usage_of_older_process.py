"""A process of the version that counted only by key and day keeps running for a while on the migrated database.

Delete this file when the old table is deleted.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from apikeys import usage
from apikeys.gate import Place
from apikeys.models import AccountUsage, APIKey, KeyUsage
from apikeys.usage import counts
from tests import factories
from tests.conftest import Cast

#: The statement of that version's flush, and its columns before the counts.
STATEMENT = (
    'INSERT INTO "apikeys_keyusage" (api_key_id, day, requests, succeeded, client_errors, throttled, server_errors, '
    "in_header, in_query, in_body) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
    'ON CONFLICT (api_key_id, day) DO UPDATE SET requests = "apikeys_keyusage".requests + excluded.requests, '
    'succeeded = "apikeys_keyusage".succeeded + excluded.succeeded, '
    'client_errors = "apikeys_keyusage".client_errors + excluded.client_errors, '
    'throttled = "apikeys_keyusage".throttled + excluded.throttled, '
    'server_errors = "apikeys_keyusage".server_errors + excluded.server_errors, '
    'in_header = "apikeys_keyusage".in_header + excluded.in_header, '
    'in_query = "apikeys_keyusage".in_query + excluded.in_query, '
    'in_body = "apikeys_keyusage".in_body + excluded.in_body'
)
#: The statement that its pages and its `/v2/usage` run.
READING = (
    'SELECT "apikeys_keyusage"."id", "apikeys_keyusage"."day", "apikeys_keyusage"."requests", '
    '"apikeys_keyusage"."api_key_id" FROM "apikeys_keyusage" '
    'ORDER BY "apikeys_keyusage"."day" DESC, "apikeys_keyusage"."id" DESC LIMIT 21'
)

MONDAY = date(2026, 11, 23)
TUESDAY = MONDAY + timedelta(days=1)
BEFORE = ("apikeys", "0010_service")


def older_flush(*rows: tuple[APIKey, date]) -> None:
    """One request of each key on its day, answered with 404, with the key in the query string."""
    with connection.cursor() as cursor:
        cursor.executemany(STATEMENT, sorted((key.pk, day, 1, 0, 1, 0, 0, 0, 1, 0) for key, day in rows))


def count(key: APIKey, **service: str) -> None:
    usage.record({"REMOTE_ADDR": "203.0.113.7"}, key_id=key.pk, place=Place.HEADER, status=200, **service)


def by_service(key: APIKey) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in KeyUsage.objects.filter(api_key=key):
        found[row.service] = found.get(row.service, 0) + row.requests
    return found


@pytest.mark.django_db
def test_its_flush_counts_as_requests_to_the_api(cast: Cast) -> None:
    key, other = (factories.make_key(cast.account).api_key for _ in range(2))
    older_flush((key, MONDAY), (key, TUESDAY), (other, MONDAY))
    older_flush((key, MONDAY))

    rows = KeyUsage.objects.filter(api_key=key).order_by("day")
    assert [(row.day, row.service, row.requests, row.client_errors, row.in_query) for row in rows] == [
        (MONDAY, "api", 2, 2, 2),
        (TUESDAY, "api", 1, 1, 1),
    ]
    assert by_service(other) == {"api": 1}


@pytest.mark.django_db
def test_its_counts_and_ours_are_added_in_one_row(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    count(key)
    count(key, service="svc_0123456789abcdef")
    counts.flush()
    today = KeyUsage.objects.filter(api_key=key).values_list("day", flat=True)[0]
    older_flush((key, today))
    count(key)
    counts.flush()
    older_flush((key, today))

    row = KeyUsage.objects.get(api_key=key, service="api")
    assert (row.requests, row.succeeded, row.client_errors, row.in_header, row.in_query) == (4, 2, 2, 2, 2)
    assert by_service(key) == {"api": 4, "svc_0123456789abcdef": 1}


@pytest.mark.django_db
def test_its_pages_are_answered(cast: Cast) -> None:
    older_flush((factories.make_key(cast.account).api_key, MONDAY))
    with connection.cursor() as cursor:
        cursor.execute(READING)
        assert cursor.fetchall() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's flushes take turns")
def test_simultaneous_flushes_of_both_neither_lose_nor_double_anything(cast: Cast) -> None:
    keys = [factories.make_key(cast.account).api_key for _ in range(5)]
    today = timezone.now().date()

    def flush(older: bool) -> None:
        with closing(connection):
            for _ in range(40):
                if older:
                    older_flush(*((key, today) for key in keys))
                else:
                    for key in keys:
                        count(key)
                        count(key, service="svc_1")
                    counts.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(flush, [True, False, True, False]))
    counts.flush()
    for key in keys:
        assert by_service(key) == {"api": 160, "svc_1": 80}


# The migration ------------------------------------------------------------------------------------


def migrate(*targets: tuple[str, str]) -> None:
    MigrationExecutor(connection).migrate(list(targets))


def older_rows() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key_id, requests, client_errors FROM apikeys_keyusage ORDER BY 1, day")
        return list(cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_old_counts_are_kept_and_migrating_back_sums_the_services(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    other = factories.make_key(cast.account).api_key
    newest = MigrationExecutor(connection).loader.graph.leaf_nodes("apikeys")
    factories.make_usage(key, MONDAY, succeeded=5)
    factories.make_usage(key, MONDAY, service="svc_1", client_errors=2)
    factories.make_usage(key, MONDAY, service="svc_2", client_errors=3)
    factories.make_usage(other, TUESDAY, service="svc_1", succeeded=7)
    try:
        migrate(BEFORE)
        assert sorted(older_rows()) == sorted([(key.pk, 10, 5), (other.pk, 7, 0)])
        older_flush((key, MONDAY), (other, MONDAY))
        assert sorted(older_rows()) == sorted([(key.pk, 11, 6), (other.pk, 1, 1), (other.pk, 7, 0)])
    finally:
        migrate(*newest)
    assert (by_service(key), by_service(other)) == ({"api": 11}, {"api": 8})
    assert sum(AccountUsage.objects.values_list("requests", flat=True)) == 17
    older_flush((key, MONDAY))
    assert by_service(key) == {"api": 12}
