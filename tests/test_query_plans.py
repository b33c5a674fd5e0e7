"""Lists over millions of rows: each uses an index for its order and counts nothing.

A test's tables are small, and PostgreSQL reads small tables without an index. So such reads are switched off here,
unless there is no other plan. SQLite always prefers an index.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import mail
from accounts.models import AuditEvent
from apikeys.models import APIKey, KeyUsage, State
from tests import factories
from tests.conftest import Browser, Cast, Program

BIG = (
    "accounts_auditevent",
    "accounts_outgoingmail",
    "accounts_project",
    "accounts_deployment",
    "apikeys_apikey",
    "apikeys_usage",
    "apikeys_keyorigin",
    "apikeys_service",
)
ADMIN = [
    "accounts_auditevent",
    "accounts_outgoingmail",
    "apikeys_apikey",
    "apikeys_keyusage",
    "apikeys_keyorigin",
    "accounts_deployment",
    "apikeys_service",
]


@pytest.fixture
def operator(cast: Cast, browser: Browser) -> Browser:
    return browser.as_(factories.make_operator())


@pytest.fixture(autouse=True)
def _rows(cast: Cast) -> None:
    for _ in range(3):
        api_key = factories.make_key(cast.account).api_key
        factories.make_deployment(factories.make_project(cast.account))
        factories.make_service(cast.account)
        mail.notify(["owner@example.com"], "two_factor_reset", user=cast.owner)
        factories.make_usage(api_key, timezone.now().date(), succeeded=1)
        api_key.origins.create(origin="203.0.113.7", last_used_at=timezone.now())


@pytest.fixture
def many_events(cast: Cast) -> None:
    """Enough rows for PostgreSQL to choose an index, and fresh statistics."""
    AuditEvent.objects.bulk_create(
        AuditEvent(
            account=cast.account,
            event="project.created",
            actor_kind="key",
            actor_id=f"key_{number:016}",
            actor_label="Deploys",
            target_kind="project",
            target_id=f"prj_{number:016}",
            target_label="web",
        )
        for number in range(2000)
    )
    _analyze()


def _analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plans(browser: Browser, url: str, **query: str) -> Iterator[tuple[str, str]]:
    """The statements of a page that read a big table, with their plans."""
    with CaptureQueriesContext(connection) as queries:
        assert browser.get(url, query).status_code == 200
    statements = [row["sql"] for row in queries if re.search(f'FROM "({"|".join(BIG)})"', row["sql"])]
    assert statements
    for statement in statements:
        yield statement, _plan(statement)


def _plan(statement: str) -> str:
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            cursor.execute(f"EXPLAIN (COSTS OFF) {statement.replace('%', '%%')}")
            return "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        return "\n".join(row[3] for row in cursor.fetchall())


def _reads_whole_tables(plan: str) -> bool:
    tables = "|".join(BIG)
    if connection.vendor == "postgresql":
        return re.search(f"Seq Scan on ({tables})", plan) is not None
    return re.search(f"SCAN ({tables})(?! USING)", plan) is not None


def _sorts(plan: str) -> bool:
    return "Sort" in plan or "TEMP B-TREE FOR ORDER BY" in plan


@pytest.mark.parametrize("name", ADMIN)
def test_a_list_of_admin_is_read_in_the_order_of_an_index(operator: Browser, name: str) -> None:
    for statement, plan in plans(operator, reverse(f"admin:{name}_changelist")):
        assert not _reads_whole_tables(plan), plan
        assert not _sorts(plan), plan
        assert "COUNT(" not in statement


@pytest.mark.parametrize(
    "name", ["accounts_auditevent", "accounts_outgoingmail", "apikeys_keyusage", "apikeys_keyorigin"]
)
@pytest.mark.parametrize(
    "text", ["key_0123456789abcdef", "svc_0123456789abcdef", "acme", "owner@example.com", "atk_9fKx…Q2aZ", "7"]
)
def test_a_search_of_admin_reads_no_whole_table(operator: Browser, name: str, text: str) -> None:
    for statement, plan in plans(operator, reverse(f"admin:{name}_changelist"), q=text):
        assert not _reads_whole_tables(plan), plan
        assert "COUNT(" not in statement


def test_the_audit_log_is_read_in_the_order_of_an_index(browser: Browser, cast: Cast) -> None:
    for statement, plan in plans(browser.as_(cast.owner), reverse("accounts:audit_log", args=[cast.account.slug])):
        assert not _reads_whole_tables(plan), plan
        assert not _sorts(plan), plan
        assert "COUNT(" not in statement


def test_the_list_of_services_reads_no_whole_table(browser: Browser, cast: Cast) -> None:
    for statement, plan in plans(browser.as_(cast.owner), reverse("apikeys:services", args=[cast.account.slug])):
        assert not _reads_whole_tables(plan), plan
        # The keys with access to each service are counted in one pass over the account's keys.
        assert "COUNT(" not in statement or 'FROM "apikeys_apikey"' in statement


def test_the_keys_with_access_to_a_service_are_read_in_the_order_of_an_index(cast: Cast) -> None:
    keys = APIKey.objects.for_account(cast.account).in_state(State.ACTIVE).with_access_to("svc_0123456789abcdef")
    plan = _plan(_sql(keys[:11]))
    assert "api_key_newest" in plan
    assert not _sorts(plan), plan


@pytest.mark.usefixtures("many_events")
@pytest.mark.parametrize("field", ["actor", "target"])
def test_the_audit_log_finds_an_id_by_an_index(browser: Browser, cast: Cast, field: str) -> None:
    api_key = factories.make_key(cast.account).api_key
    log = reverse("accounts:audit_log", args=[cast.account.slug])
    for _, plan in plans(browser.as_(cast.owner), log, **{field: api_key.pk}):
        assert f"audit_event_by_{field}" in plan


@pytest.mark.parametrize(
    "path",
    [
        "/v2/api-keys?q=web",
        "/v2/api-keys?state=active&permission=read&administrator=0&created_by=Root",
        "/v2/api-keys?state=revoked",
        "/v2/api-keys?service=svc_0123456789abcdef",
        "/v2/projects?q=web",
        "/v2/projects/{project}/deployments?release_stage=staging&revision=1",
        "/v2/projects/{project}/deployments?since=2026-01-01&until=2026-12-01",
    ],
)
def test_a_filtered_list_of_the_api_is_read_in_the_order_of_an_index(cast: Cast, path: str) -> None:
    project = factories.make_project(cast.account)
    program = Program(factories.make_key(cast.account, administrator=True).secret)
    with CaptureQueriesContext(connection) as queries:
        assert program.get(path.format(project=project.id)).status_code == 200
    plan = _plan(queries[-1]["sql"])
    assert not _reads_whole_tables(plan), plan
    assert not _sorts(plan), plan


@pytest.mark.usefixtures("many_events")
def test_the_events_of_one_key_are_found_by_an_index(browser: Browser, cast: Cast) -> None:
    api_key = factories.make_key(cast.account).api_key
    plan = _plan(_sql(AuditEvent.objects.for_account(cast.account).filter(target_id=api_key.pk)[:10]))
    assert "audit_event_by_target" in plan


def test_the_usage_of_one_service_is_read_in_the_order_of_an_index(cast: Cast) -> None:
    plan = _plan(_sql(KeyUsage.objects.for_account(cast.account).matching(service="svc_0123456789abcdef")[:10]))
    assert "key_usage_of_service" in plan
    assert not _sorts(plan), plan


def test_the_days_of_one_key_are_found_by_an_index(cast: Cast) -> None:
    keys = [factories.make_key(cast.account).api_key for _ in range(40)]
    days = [timezone.now().date() - timedelta(days=number) for number in range(50)]
    KeyUsage.objects.bulk_create(KeyUsage(api_key=key, day=day) for key in keys for day in days)
    _analyze()  # PostgreSQL chooses an index by the number of rows that it expects
    plan = _plan(_sql(KeyUsage.objects.filter(api_key=keys[0], day__gte=days[-1]).order_by("day")))
    assert "key_usage_once_a_day_and_service" in plan


def _sql(queryset: Any) -> str:
    with CaptureQueriesContext(connection) as queries:
        list(queryset)
    return queries[0]["sql"]
