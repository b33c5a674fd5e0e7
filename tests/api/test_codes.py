"""The status codes of the source page, and the format of every error."""

import json
import logging
import sqlite3
import tempfile
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import services
from accounts.models import Account, Project
from accounts.policy import KeyPermission, system
from apikeys import services as key_services
from apikeys import tokens
from apikeys.rates import Rate
from atatus_dash import availability, maintenance
from tests import factories
from tests.conftest import Browser, Cast, Program

pytestmark = pytest.mark.django_db


def assert_refused(response: Any, status: int, message: str) -> None:
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    assert json.loads(response.content)["Message"] == message
    assert response["X-Request-ID"]


def test_200_names_the_account_and_the_key(cast: Cast) -> None:
    issued = factories.make_key(cast.account, name="Deploys")
    response = Program(issued.secret).get("/v2")
    assert response.status_code == 200
    assert response.json() == {
        "account": {"slug": "acme", "name": "Acme"},
        "api_key": {
            "id": issued.api_key.id,
            "name": "Deploys",
            "permission": "read_write",
            "administrator": False,
            "expires_at": None,
        },
        "rate_limit": {"limit": 600, "remaining": 599, "window": 60},
    }


def test_200_has_the_expiry_of_the_key_in_utc(cast: Cast) -> None:
    ends = timezone.now().replace(microsecond=0) + timedelta(days=1)
    response = Program(factories.make_key(cast.account, expires_at=ends).secret).get("/v2")
    assert response.json()["api_key"]["expires_at"] == ends.isoformat().replace("+00:00", "Z")


def test_201_has_the_location_of_the_new_item(program: Program) -> None:
    response = program.send("post", "/v2/projects", {"name": "web"})
    assert response.status_code == 201
    assert program.get(response["Location"]).json() == response.json()


def test_204_has_no_body(program: Program) -> None:
    location = program.send("post", "/v2/projects", {"name": "web"})["Location"]
    response = program.delete(location)
    assert (response.status_code, response.content) == (204, b"")
    assert program.get(location).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "nonsense",
        '{"name": NaN}',
        '{"name": "a", "name": "b"}',
        '"\\ud800',
        "[" * 200_000 + "]" * 200_000,
        b"\xff\xfe\x00",
        "9" * 5000,
    ],
)
def test_400_for_a_malformed_body(program: Program, body: str | bytes) -> None:
    response = program.post("/v2/projects", body, content_type="application/json")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_400_for_deep_nesting_even_without_a_key(depth: int, db: None) -> None:
    body = '{"api_key":' + "[" * depth + "]" * depth + "}"
    response = Program().post("/v2/projects", body, content_type="application/json")
    assert response.status_code in (400, 401)
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("boundary", ["", "; boundary", "; boundary=", '; boundary=""', "; charset=utf-8"])
def test_400_for_a_multipart_body_without_a_boundary_says_what_to_do(program: Program, boundary: str) -> None:
    response = program.post("/v2/projects", b"nonsense", content_type=f"multipart/form-data{boundary}")
    assert_refused(response, 400, "The multipart body has no boundary: let your client write its Content-Type.")


def test_400_for_a_broken_multipart_body(program: Program) -> None:
    response = program.post("/v2/projects", b"nonsense", content_type="multipart/form-data; boundary=" + "b" * 300)
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/v2/projects", "/v2"])
def test_a_byte_order_mark_before_json_is_not_an_error(cast: Cast, path: str) -> None:
    body = json.dumps({"api_key": factories.make_key(cast.account).secret, "name": "Café"}).encode("utf-8-sig")
    assert Program().post(path, body, content_type="application/json").status_code in (200, 201)


def test_400_for_two_byte_order_marks(program: Program) -> None:
    body = b"\xef\xbb\xbf\xef\xbb\xbf{}"
    assert_refused(program.post("/v2/projects", body, content_type="application/json"), 400, mock.ANY)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"name": "web", "colour": "red"}, "colour"),
        ({"name": "web", "id": "prj_1"}, "id"),
    ],
)
def test_400_names_the_invalid_fields(program: Program, fields: dict[str, Any], named: str) -> None:
    response = program.send("post", "/v2/projects", json.loads(json.dumps(fields)))
    assert_refused(response, 400, f"These fields are invalid: {named}.")
    assert list(response.json()["Errors"]) == [named]
    assert all(isinstance(sentence, str) for sentence in response.json()["Errors"][named])


@pytest.mark.parametrize("body", ["[]", "5", '"text"', "null", "[1, 2]"])
def test_400_for_a_body_that_is_not_an_object(program: Program, body: str) -> None:
    assert program.post("/v2/projects", body, content_type="application/json").status_code == 400


def test_400_for_a_host_that_is_not_served_and_nothing_is_created(program: Program) -> None:
    response = program.send("post", "/v2/projects", {"name": "web"}, headers={"Host": "elsewhere.example"})
    assert_refused(response, 400, "This host is not served here.")
    assert not Project.objects.exists()


@pytest.mark.parametrize("position", ["notadate", "-1", "1.5", "٣", "", "1" * 18, "9" * 5000])
def test_400_for_a_cursor_whose_position_is_not_a_time(program: Program, position: str) -> None:
    response = program.get("/v2/projects", {"cursor": f"{position}.prj_1"})
    assert_refused(response, 400, "The cursor is invalid.")


@pytest.mark.parametrize("position", ["2026-11-24", "9999999", "1764530381695197", ""])
def test_400_for_a_cursor_of_usage_whose_position_is_not_a_day(program: Program, position: str) -> None:
    assert_refused(program.get("/v2/usage", {"cursor": f"{position}.1"}), 400, "The cursor is invalid.")


@pytest.mark.parametrize("position", ["x", "-1", "", "9" * 19, "1" * 5000])
def test_400_for_a_cursor_of_usage_whose_row_is_not_a_number(program: Program, position: str) -> None:
    assert_refused(program.get("/v2/usage", {"cursor": f"20787.{position}"}), 400, "The cursor is invalid.")


@pytest.mark.parametrize("text", ["1", "1.", ".", "~", "1.prj_1.2", "1.\0", "1.%00", f"1.{'x' * 500}", "WzAsIjIwMjYi"])
def test_400_for_a_cursor_that_is_not_one_of_ours(program: Program, text: str) -> None:
    assert_refused(program.get("/v2/projects", {"cursor": text}), 400, "The cursor is invalid.")


@pytest.mark.parametrize("body", ['{"name": "a", "\\ud800": 1}', '{"name": 1e999}', '{"a": [{"\\ud800": 1}]}'])
def test_400_for_json_that_no_response_could_repeat(program: Program, body: str) -> None:
    assert_refused(program.post("/v2/projects", body, content_type="application/json"), 400, mock.ANY)


def test_400_names_a_few_of_many_unknown_fields(program: Program) -> None:
    response = program.send("post", "/v2/projects", {f"field{number}": 1 for number in range(5000)})
    assert len(response.json()["Errors"]) == 20
    assert len(response.content) < 5000


def test_400_for_a_value_that_is_too_long_repeats_little_of_it(administrator: Program) -> None:
    response = administrator.send("post", "/v2/api-keys", {"name": "x", "permission": "p" * 500_000})
    assert response.status_code == 400
    assert len(response.content) < 2000


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=", "cursor=nonsense"])
def test_400_for_an_invalid_limit_or_cursor(program: Program, query: str) -> None:
    response = program.get(f"/v2/projects?{query}")
    assert response.status_code == 400
    assert query.split("=")[0] in response.json()["Errors"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "API key has expired!"),
        ({"revoked_at": timezone.now()}, "API key has been revoked!"),
        ({"disabled_at": timezone.now()}, "API key is disabled!"),
        ({"disabled_at": timezone.now(), "revoked_at": timezone.now()}, "API key has been revoked!"),
        (
            {"expires_at": timezone.now() - timedelta(days=1), "revoked_at": timezone.now()},
            "API key has been revoked!",
        ),
    ],
)
def test_401_says_why_a_key_no_longer_works(cast: Cast, state: dict[str, Any], message: str) -> None:
    response = Program(factories.make_key(cast.account, **state).secret).get("/v2")
    assert_refused(response, 401, message)
    assert response["WWW-Authenticate"] == 'Bearer realm="atatus", error="invalid_token"'


def test_403_for_an_administrators_item(program: Program) -> None:
    assert_refused(program.get("/v2/api-keys"), 403, "This item is for administrators only.")
    assert_refused(program.send("patch", "/v2/account", {"name": "A"}), 403, "This item is for administrators only.")


def test_403_for_a_missing_permission_has_the_challenge_of_oauth(cast: Cast, program: Program) -> None:
    read = Program(factories.make_key(cast.account, permission=KeyPermission.READ).secret)
    write = Program(factories.make_key(cast.account, permission=KeyPermission.WRITE).secret)
    for refused in (
        read.send("post", "/v2/projects", {"name": "web"}),
        write.get("/v2/projects"),
        program.get("/v2/api-keys"),
    ):
        assert refused.status_code == 403
        assert refused["WWW-Authenticate"] == 'Bearer realm="atatus", error="insufficient_scope"'


def test_403_for_any_other_reason_has_no_challenge(cast: Cast, administrator: Program) -> None:
    elsewhere = Program(factories.make_key(cast.account, allowed_networks=["10.0.0.0/8"]).secret)
    in_query = Program().get("/v2", {"api_key": factories.make_key(cast.account, accepts_query=False).secret})
    limited = Program(factories.make_key(cast.account, administrator=True, rate_limit="9/minute").secret)
    beyond = limited.send("post", "/v2/api-keys", {"name": "x", "permission": "read"})
    plain = administrator.get("/v2", plain_http=True)
    services.suspend_account(actor=system(cast.account.ref))
    for refused in (elsewhere.get("/v2"), in_query, beyond, plain, administrator.get("/v2")):
        assert refused.status_code == 403
        assert "WWW-Authenticate" not in refused


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        ({}, 403, "This account is closed."),
        ({"disabled_at": timezone.now()}, 401, "API key is disabled!"),
        ({"revoked_at": timezone.now()}, 401, "API key has been revoked!"),
    ],
)
def test_403_for_the_keys_of_a_closed_account_unless_they_no_longer_work_themselves(
    cast: Cast, state: dict[str, Any], status: int, message: str, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(2, 60)
    key = Program(factories.make_key(cast.account, **state).secret)
    Account.objects.update(closed_at=timezone.now(), suspended_at=timezone.now())
    assert_refused(key.get("/v2"), status, message)
    Account.objects.update(closed_at=None)
    assert_refused(key.get("/v2"), status, "This account is suspended." if status == 403 else message)


def test_403_from_an_address_outside_the_keys_networks(cast: Cast) -> None:
    key = factories.make_key(cast.account, allowed_networks=["10.0.0.0/8", "2001:db8::/32"]).secret
    assert_refused(Program(key).get("/v2"), 403, "This API key may not be used from this address.")
    assert Program(key).get("/v2", REMOTE_ADDR="10.1.2.3").status_code == 200
    assert Program(key).get("/v2", REMOTE_ADDR="::ffff:10.1.2.3").status_code == 200
    assert Program(key).get("/v2", REMOTE_ADDR="2001:db8::7").status_code == 200


def test_403_for_the_keys_of_a_suspended_account(cast: Cast, program: Program) -> None:
    services.suspend_account(actor=system(cast.account.ref))
    assert_refused(program.get("/v2"), 403, "This account is suspended.")
    services.resume_account(actor=system(cast.account.ref))
    assert program.get("/v2").status_code == 200


def test_403_over_plain_http_is_identical_for_valid_and_invalid_keys(
    program: Program, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        good = program.get("/v2", plain_http=True, headers={"X-Request-ID": "same"})
        bad = Program("nonsense").get("/v2", plain_http=True, headers={"X-Request-ID": "same"})
    assert_refused(good, 403, "HTTPS is required.")
    assert good.content == bad.content
    assert dict(good.headers) == dict(bad.headers)
    assert "RateLimit" not in good


def test_plain_http_is_served_where_the_operator_allows_it(program: Program, settings: Settings) -> None:
    settings.ALLOW_HTTP = True
    assert program.get("/v2", plain_http=True).status_code == 200


@pytest.mark.parametrize("path", ["/v2/nope", "/v2/projects/a/b/c", "/v2//", "/v2/projects//", "/v2/%00", "/v2/é"])
def test_404_for_an_unknown_path_with_any_key(path: str, db: None) -> None:
    assert_refused(Program().get(path), 404, "The item could not be found.")


@pytest.mark.parametrize("project_id", ["prj_0000000000000000", "1", "x" * 64, "-"])
def test_404_for_an_unknown_item(program: Program, project_id: str) -> None:
    assert_refused(program.get(f"/v2/projects/{project_id}"), 404, "The item could not be found.")


def test_a_page_outside_the_api_is_not_json(browser: Browser) -> None:
    assert browser.get("/v2x").headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("method", ["put", "patch", "delete", "trace"])
def test_405_names_the_allowed_methods(program: Program, method: str) -> None:
    response = getattr(program, method)("/v2/projects")
    assert_refused(response, 405, "This item can't be accessed with this method.")
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert "RateLimit" in response


def test_405_names_the_allowed_methods_even_if_no_key_is_needed() -> None:
    response = Program(None).get("/v2/leaked-keys")
    assert_refused(response, 405, "This item can't be accessed with this method.")
    assert response["Allow"] == "POST, OPTIONS"


def test_a_trailing_slash_works_without_a_redirect(program: Program) -> None:
    assert program.get("/v2/").status_code == 200
    assert program.get("/v2/projects/").status_code == 200
    location = program.send("post", "/v2/projects/", {"name": "web"})["Location"]
    assert "//projects" not in location.removeprefix("https://")
    assert program.get(location).status_code == 200


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_400_for_too_many_fields(program: Program, content_type: str) -> None:
    part = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    body = "a=1&" * 1001 if "urlencoded" in content_type else part * 1001 + "--b--\r\n"
    response = program.post("/v2/projects", body, content_type=content_type)
    assert_refused(response, 400, "The request is malformed.")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_413_for_a_body_over_one_mebibyte(program: Program, content_type: str) -> None:
    response = program.post("/v2/projects", b"x" * (1024 * 1024 + 1), content_type=content_type)
    assert_refused(response, 413, "The body is larger than 1 MiB.")


def test_415_for_an_unsupported_media_type(program: Program) -> None:
    response = program.post("/v2/projects", "<name>web</name>", content_type="text/xml")
    assert response.status_code == 415
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/xml;q=1", "nonsense", ""])
def test_accept_is_never_a_reason_to_refuse(program: Program, accept: str) -> None:
    assert program.get("/v2", headers={"Accept": accept}).status_code == 200


def test_429_over_the_keys_limit(cast: Cast) -> None:
    program = Program(factories.make_key(cast.account, rate_limit="5/minute").secret)
    responses = [program.get("/v2") for _ in range(7)]
    assert [response.status_code for response in responses] == [200] * 5 + [429] * 2
    assert_refused(responses[-1], 429, "Too many requests. Please slow down.")
    assert 1 <= int(responses[-1]["Retry-After"]) <= 60
    assert [response["RateLimit"].split(";")[1] for response in responses] == [f"r={n}" for n in (4, 3, 2, 1, 0, 0, 0)]
    assert responses[0]["RateLimit-Policy"] == '"default";q=5;w=60'


@pytest.mark.parametrize("now", [1.0, 26.4, 981.9, 32726.3, 65485.23])
def test_the_time_left_is_never_longer_than_the_window(cast: Cast, now: float) -> None:
    """`(now + 60) - now` is 60.000000007 at times, which rounds up to 61."""
    program = Program(factories.make_key(cast.account, rate_limit="1/minute").secret)
    with mock.patch("apikeys.limits.time.monotonic", return_value=now):
        first, second = program.get("/v2"), program.get("/v2")
    assert first["RateLimit"].endswith(";t=60")
    assert (second.status_code, second["Retry-After"]) == (429, "60")


def test_the_limit_is_counted_before_method_and_permission_are_checked(cast: Cast) -> None:
    program = Program(factories.make_key(cast.account, rate_limit="2/minute").secret)
    assert program.put("/v2").status_code == 405
    assert program.get("/v2/api-keys").status_code == 403
    assert program.put("/v2").status_code == 429


def test_429_after_too_many_failures_from_one_address_but_never_for_a_valid_key(
    cast: Cast, program: Program, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(3, 60)
    statuses = [Program("nonsense").get("/v2").status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    refused = Program(tokens.generate()).get("/v2")
    assert_refused(refused, 429, "Too many attempts. Please slow down.")
    assert int(refused["Retry-After"]) >= 1
    assert program.get("/v2").status_code == 200
    assert Program("nonsense").get("/v2", REMOTE_ADDR="203.0.113.9").status_code == 401


def test_failures_of_one_ipv6_network_count_together(db: None, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(2, 60)
    addresses = [f"2001:db8::{n}" for n in range(1, 4)]
    statuses = [Program("nonsense").get("/v2", REMOTE_ADDR=address).status_code for address in addresses]
    assert statuses == [401, 401, 429]


def test_a_missing_key_is_not_a_failed_attempt(db: None, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    assert [Program().get("/v2").status_code for _ in range(3)] == [401] * 3


def test_500_leaks_nothing_and_logs_the_traceback_under_the_request_id(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_project RENAME TO gone")
    try:
        with caplog.at_level(logging.ERROR):
            response = program.get("/v2/projects", headers={"X-Request-ID": "find-me"})
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("ALTER TABLE gone RENAME TO accounts_project")
    assert_refused(response, 500, "We have a problem with our server. Please try again later.")
    assert response["X-Request-ID"] == "find-me"
    assert "accounts_project" not in response.content.decode()
    assert any(record.exc_info for record in caplog.records)


def test_500_for_a_crash_in_a_view(program: Program) -> None:
    with mock.patch.object(Project.objects, "for_account", side_effect=ZeroDivisionError("secret detail")):
        response = program.get("/v2/projects")
    assert_refused(response, 500, "We have a problem with our server. Please try again later.")
    assert "RateLimit" in response


def test_503_while_the_database_cannot_be_reached(program: Program) -> None:
    with mock.patch("apikeys.lookup._fetch", side_effect=OperationalError("server closed the connection")):
        response = program.get("/v2")
    assert response.status_code == 503
    assert int(response["Retry-After"]) >= 1
    assert "closed" not in response.json()["Message"]


def sqlite_error(statement: str, *, lock: bool = False) -> OperationalError:
    """A real error of SQLite, as Django raises it."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (sqlite3.connect(f"{folder}/db", timeout=0) for _ in range(2))
        try:
            if lock:
                first.execute("BEGIN EXCLUSIVE")
            second.execute(statement)
        except sqlite3.OperationalError as cause:
            error = OperationalError(str(cause))
            error.__cause__ = cause
            return error
        finally:
            first.close()
            second.close()
    raise AssertionError("SQLite executed it")


def test_a_locked_database_is_503_and_a_missing_table_is_500() -> None:
    assert availability.is_outage(sqlite_error("CREATE TABLE t (a)", lock=True))
    assert not availability.is_outage(sqlite_error("SELECT * FROM gone"))
    assert availability.is_outage(OperationalError("server closed the connection"))
    assert not availability.is_outage(ProgrammingError("relation does not exist"))


@pytest.fixture
def offline(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_current", maintenance.current())
    maintenance.switch(on=True, message="Back at noon.", retry_after=120)
    maintenance.refresh()


def test_503_during_maintenance_before_the_path_or_the_key_is_checked(offline: None, program: Program) -> None:
    for client, path in ((program, "/v2"), (program, "/v2/nope"), (Program("nonsense"), "/v2")):
        response = client.get(path)
        assert_refused(response, 503, "Back at noon.")
        assert response["Retry-After"] == "120"


def test_plain_http_is_refused_before_maintenance(offline: None, program: Program) -> None:
    assert program.get("/v2", plain_http=True).status_code == 403


def test_responses_of_the_api_over_https_have_hsts(program: Program) -> None:
    assert program.get("/v2")["Strict-Transport-Security"] == "max-age=31536000"
    assert program.get("/v2")["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" not in program.get("/v2", plain_http=True)


def test_each_key_has_its_own_limit(cast: Cast) -> None:
    one, other = (Program(factories.make_key(cast.account, rate_limit="1/minute").secret) for _ in range(2))
    assert [client.get("/v2").status_code for client in (one, other, one)] == [200, 200, 429]


def test_a_key_is_not_accepted_as_request_id(program: Program) -> None:
    secret = tokens.generate()
    assert secret not in program.get("/v2", headers={"X-Request-ID": secret})["X-Request-ID"]


def test_a_request_id_that_the_client_sent_is_kept_if_it_is_valid(program: Program) -> None:
    assert program.get("/v2", headers={"X-Request-ID": "abc-123"})["X-Request-ID"] == "abc-123"
    for invalid in ("", "a b", "x" * 129, "é"):
        assert program.get("/v2", headers={"X-Request-ID": invalid})["X-Request-ID"] not in ("", invalid)


@pytest.mark.parametrize("accept", ["application/problem+json", "text/html, application/problem+json;q=0.5"])
def test_rfc_9457_for_a_client_that_lists_it(program: Program, accept: str) -> None:
    response = program.send("post", "/v2/projects", {}, headers={"Accept": accept})
    assert response["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "https://testserver/v2/docs/errors#invalid-fields",
        "title": "Fields are invalid",
        "status": 400,
        "detail": "These fields are invalid: name.",
        "instance": f"urn:x-request-id:{response['X-Request-ID']}",
        "errors": {"name": ["This field is required."]},
    }


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", "application/problem+json;q=0"])
def test_the_source_pages_format_for_all_other_clients(program: Program, accept: str) -> None:
    response = program.send("post", "/v2/projects", {}, headers={"Accept": accept})
    assert response["Content-Type"] == "application/json"


def test_revocation_takes_effect_on_the_next_request(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    program = Program(issued.secret)
    assert program.get("/v2").status_code == 200
    key_services.revoke_api_key(actor=system(cast.account.ref), api_key=issued.api_key)
    assert_refused(program.get("/v2"), 401, "API key has been revoked!")


def test_every_answer_to_a_key_is_private(program: Program) -> None:
    for path in ("/v2", "/v2/projects", "/v2/api-keys", "/v2/nope"):
        assert program.get(path)["Cache-Control"] == "private, no-store"


def test_no_answer_sets_a_cookie_or_allows_another_origin(program: Program) -> None:
    response = program.get("/v2", headers={"Origin": "https://elsewhere.example"})
    assert not response.cookies
    assert not any(name.lower().startswith("access-control") for name in response.headers)
