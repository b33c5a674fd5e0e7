"""The audit log as a file: its content, how it is sent, and how many run at once."""

import csv
import gzip
import io
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts import exports, policy, services
from accounts.errors import Invalid, Unavailable
from accounts.exports import Export, as_csv, as_json
from accounts.models import Account, AuditEvent
from atatus_dash.server.connection import Phase
from tests import factories
from tests.conftest import Browser, Cast

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_locks() -> None:
    cache.clear()


@pytest.fixture
def events(cast: Cast) -> Any:
    services.create_project(actor=policy.system(cast.account.ref), name="=HYPERLINK(1)")
    return AuditEvent.objects.for_account(cast.account)


def _text(events: Any, write: Any) -> str:
    with closing(Export(events, write, account_id=1)) as export:
        return b"".join(export).decode()


def _csv(events: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(events, as_csv), newline="")))


def _url(account: Account, kind: str = "csv") -> str:
    return reverse(f"accounts:audit_log_{kind}", args=[account.slug])


def _export(account: Account) -> Export:
    return Export(AuditEvent.objects.for_account(account), as_csv, account_id=account.id)


# Content ----------------------------------------------------------------------------------------


def test_csv_has_a_line_for_every_event(events: Any) -> None:
    rows = _csv(events)
    assert [row["id"] for row in rows] == [event.id for event in events]
    assert rows[0]["event"] == "project.created"


def test_a_row_has_every_column_as_stored(events: Any) -> None:
    event = events[0]
    stored = {column: getattr(event, column) for column in exports.COLUMNS}
    assert json.loads(_text(events, as_json))[0] == {**stored, "at": event.at.isoformat()}
    row = _csv(events)[0]
    assert (row["at"], json.loads(row["changes"])) == (event.at.isoformat(), event.changes)
    assert row["address"] == ""


def test_the_csv_equals_that_of_the_standard_library() -> None:
    odd = [
        "",
        "plain",
        'a "quoted" name',
        "a, b",
        '"',
        '""',
        ",",
        "a\r\nb",
        "a\nb",
        " spaced ",
        "Zoë 🗝",
        "'",
        "x;y",
        "{}",
    ]
    columns: Any = [odd] * len(exports.COLUMNS)
    expected = io.StringIO(newline="")
    csv.writer(expected).writerows([exports.COLUMNS, *zip(*columns, strict=True)])

    assert b"".join(as_csv(iter([[*columns]]))).decode() == expected.getvalue()


@pytest.mark.parametrize("microsecond", [0, 5, 123000, 999999])
def test_a_time_is_in_utc_with_microseconds(cast: Cast, microsecond: int) -> None:
    at = datetime(2026, 3, 29, 1, 30, 0, microsecond, tzinfo=ZoneInfo("Asia/Kolkata"))
    AuditEvent.objects.create(account=cast.account, event="project.created", at=at)
    row = json.loads(_text(AuditEvent.objects.filter(event="project.created"), as_json))[0]
    assert row["at"] == at.astimezone(UTC).isoformat()


def test_a_label_of_two_lines_from_an_older_version_becomes_one_line(events: Any, cast: Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditevent SET target_label = %s", ["two\nlines\u202e"])
    assert {row["target_label"] for row in _csv(events)} == {AuditEvent.objects.all()[0].target_label} == {"two lines "}


def test_a_cell_is_never_a_formula(events: Any) -> None:
    assert _csv(events)[0]["target_label"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n"])
def test_every_character_that_starts_a_formula_is_escaped(cast: Cast, start: str) -> None:
    fields = {"target_id": f"{start}1", "request_id": f"{start}2", "target_label": "web"}
    AuditEvent.objects.create(account=cast.account, event="project.created", **fields)
    row = _csv(AuditEvent.objects.filter(event="project.created"))[0]
    assert (row["target_id"], row["request_id"], row["target_label"]) == (f"'{start}1", f"'{start}2", "web")


def test_json_is_one_array(events: Any) -> None:
    assert [row["id"] for row in json.loads(_text(events, as_json))] == [event.id for event in events]
    assert json.loads(_text(events.filter(event="none"), as_json)) == []


@pytest.mark.parametrize("write", [as_csv, as_json])
def test_a_log_of_several_batches_is_one_file(
    write: Any, events: Any, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        services.create_project(actor=policy.system(cast.account.ref), name=f'"Zoë", {number}')
    whole = _text(events, write)
    monkeypatch.setattr(exports, "BATCH", 2)
    assert _text(events, write) == whole
    assert "Zoë" in whole


def test_an_export_is_one_query_without_model_instances(
    events: Any, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "BATCH", 2)
    monkeypatch.setattr(AuditEvent, "__init__", None)
    with django_assert_num_queries(1):
        _text(events, as_csv)


# How it is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_has_a_content_length_that_reveals_a_partial_download(
    kind: str, cast: Cast, browser: Browser, events: Any
) -> None:
    browser.as_(cast.owner)
    plain = browser.get(_url(cast.account, kind))
    content = plain.getvalue()
    small = browser.get(_url(cast.account, kind), headers={"Accept-Encoding": "br, gzip"})
    sent = small.getvalue()

    assert int(plain.headers["Content-Length"]) == len(content)
    assert int(small.headers["Content-Length"]) == len(sent) < len(content)
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(sent) == content
    assert "Accept-Encoding" in plain.headers["Vary"]


def test_head_creates_no_file(cast: Cast, browser: Browser, events: Any) -> None:
    browser.as_(cast.owner)
    running = _export(cast.account)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.head(_url(cast.account))
    running.close()

    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.getvalue() == b""
    assert not any("accounts_auditevent" in query["sql"] for query in asked.captured_queries)


def test_a_client_that_takes_too_long_gets_less_than_content_length(
    events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CHUNK_SIZE", 10)
    export = Export(events, as_csv, account_id=1)
    parts = iter(export)
    read = next(parts)
    monkeypatch.setattr(export, "_deadline", 0)

    assert list(parts) == []
    assert len(read) < export.size


def test_an_export_that_takes_too_long_is_an_error_page(
    cast: Cast, browser: Browser, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "TIME_LIMIT", -1)
    answer = browser.as_(cast.owner).get(_url(cast.account))

    assert answer.status_code == 400
    assert "Filter it by date" in answer.content.decode()


def test_a_database_error_midway_is_an_error_page_and_no_partial_file(
    cast: Cast, browser: Browser, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(_: Any) -> Iterator[bytes]:
        yield b"id,at"
        raise OperationalError

    monkeypatch.setattr("accounts.views.account.EXPORTS", {"csv": (break_off, "text/csv")})
    monkeypatch.setattr(connection, "close", lambda: None)
    answer = browser.as_(cast.owner).get(_url(cast.account))

    assert answer.status_code == 503
    assert "Content-Disposition" not in answer.headers


def test_the_lock_lasts_longer_than_the_slowest_download() -> None:
    assert Phase.ANSWER.seconds == exports.STALL_LIMIT
    assert exports.TIME_LIMIT + Phase.ANSWER.seconds < exports.LOCK_TIMEOUT


# How many at once -------------------------------------------------------------------------------


def test_an_account_has_one_export_at_a_time(cast: Cast, browser: Browser, events: Any) -> None:
    first = _export(cast.account)
    second = browser.as_(cast.owner).get(_url(cast.account))
    first.close()
    third = browser.get(_url(cast.account))

    assert (second.status_code, third.status_code) == (503, 200)
    assert second.headers["Retry-After"] == str(exports.RETRY_AFTER)
    assert "Another export of this account is running. Try again when it is done." in second.content.decode()


def test_the_lock_spans_processes_and_expires_if_one_is_killed(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes have only the cache in common."""
    monkeypatch.setattr(exports, "LOCK_TIMEOUT", 1)
    killed = _export(cast.account)
    with monkeypatch.context() as another_process:
        another_process.setattr(exports, "_slots", threading.BoundedSemaphore())
        with pytest.raises(Unavailable, match="Another export of this account"):
            _export(cast.account)
        threading.Event().wait(1.1)
        _export(cast.account).close()
    killed.close()


def test_a_process_runs_few_exports_at_a_time(cast: Cast, browser: Browser) -> None:
    with ExitStack() as running:
        for _ in range(exports.MAX_EXPORTS):
            running.enter_context(closing(_export(factories.make_account())))
        refused = browser.as_(cast.owner).get(_url(cast.account))
    accepted = browser.get(_url(cast.account))

    assert (refused.status_code, accepted.status_code) == (503, 200)
    assert "Other exports are running. Try again in a minute." in refused.content.decode()


def test_a_refused_export_takes_no_slot(cast: Cast) -> None:
    first = _export(cast.account)
    for _ in range(exports.MAX_EXPORTS + 1):
        with pytest.raises(Unavailable, match="Another export of this account"):
            _export(cast.account)
    first.close()
    _export(cast.account).close()


def test_a_slot_is_free_after_a_file_was_sent_dropped_or_failed(
    cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.as_(cast.owner)
    for _ in range(exports.MAX_EXPORTS + 1):
        assert browser.get(_url(cast.account)).getvalue()
        _export(cast.account)  # dropped
        with monkeypatch.context() as patch:
            patch.setattr(exports, "TIME_LIMIT", -1)
            with pytest.raises(Invalid):
                _export(cast.account)
    _export(cast.account).close()


def test_the_page_links_to_exports_so_that_an_error_is_shown(cast: Cast, browser: Browser, events: Any) -> None:
    """With `download` on the link, a browser would save the error page, or say that the file isn't there."""
    html = browser.as_(cast.owner).get(reverse("accounts:audit_log", args=[cast.account.slug])).content.decode()
    assert f'href="{_url(cast.account)}"' in html
    assert " download>" not in html
