"""Answers to authorization requests of gateways."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.policy import KeyPermission
from apikeys import exposure, lookup, tokens
from apikeys.gate import Maintenance
from apikeys.lookup import ServiceRecord
from apikeys.models import APIKey, KeyUsage, Service
from apikeys.services import Issued
from apikeys.usage import counts, problems, questions
from atatus_dash import guard, maintenance
from atatus_dash.guard import gateways
from tests import factories
from tests.authorization_requests import CLIENT, GATEWAYS, PROXY, ask, caddy, envoy, forged, nginx, send
from tests.conftest import Cast

pytestmark = pytest.mark.django_db

IDENTITY = ["x-account", "x-api-key-id", "x-api-key-name", "x-api-key-permission", "x-request-id"]


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account, gateways=["10.0.0.0/24"])


@pytest.fixture
def key(cast: Cast) -> Issued:
    return factories.make_key(cast.account, name="Nightly – reports", permission=KeyPermission.READ_WRITE)


def change(service: Service, **fields: Any) -> None:
    Service.objects.filter(pk=service.pk).update(**fields)


# Allowed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_allowed_request_gets_200_without_a_body_and_the_account_of_the_key(
    service: Service, key: Issued, gateway: Callable[..., Any]
) -> None:
    answer = ask(service, key=key.secret, gateway=gateway)
    assert (answer.status, answer.body) == (200, b"")
    assert [answer.headers[name] for name in IDENTITY[:4]] == [
        "acme",
        key.api_key.id,
        "Nightly%20%E2%80%93%20reports",
        "read_write",
    ]
    assert answer.headers["x-request-id"]
    assert answer.headers["ratelimit-policy"] == '"default";q=600;w=60'
    assert answer.headers["ratelimit"].startswith('"default";r=599;t=')
    assert answer.headers["content-length"] == "0"
    assert answer.headers["cache-control"] == "private, no-store"


def test_the_name_of_a_question_is_kept_and_a_key_in_it_is_not(service: Service, key: Issued) -> None:
    assert ask(service, key=key.secret, headers=[("X-Request-ID", "abc-1")]).headers["x-request-id"] == "abc-1"
    assert ask(service, headers=[("X-Request-ID", key.secret)]).headers["x-request-id"] != key.secret


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PROPFIND", "DELETE"])
def test_any_method_may_ask(service: Service, key: Issued, method: str) -> None:
    headers = {
        "HTTP_X_FORWARDED_METHOD": "GET",
        "HTTP_X_FORWARDED_URI": "/a",
        "HTTP_X_FORWARDED_FOR": CLIENT,
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_API_KEY": key.secret,
    }
    assert send(method, f"/v2/verify/{service.id}/forward-auth", headers).status == 200


def test_the_authorization_requests_own_host_ranges_and_conditions_are_ignored(service: Service, key: Issued) -> None:
    headers = [("Host", "nobody.example"), ("Range", "bytes=0-1"), ("If-None-Match", "*"), ("If-Match", '"x"')]
    answer = ask(service, key=key.secret, headers=headers, gateway=caddy)
    assert answer.status == 200
    environ = {"HTTP_X_FORWARDED_METHOD": "GET", "HTTP_X_FORWARDED_URI": "/a", "HTTP_X_FORWARDED_FOR": CLIENT}
    environ["HTTP_X_FORWARDED_PROTO"] = "https"
    path = f"/v2/verify/{service.id}/forward-auth?api_key={key.secret}"
    assert send("GET", path, environ, QUERY_STRING=f"api_key={key.secret}").message == "API key is required!"


@pytest.mark.parametrize(
    ("permission", "method", "target", "message"),
    [
        ("read", "GET", "/a", None),
        ("read", "OPTIONS", "/a", None),
        ("read", "POST", "/a", "This API key does not have the Write permission."),
        ("read", "get", "/a", "This API key does not have the Write permission."),
        ("read", "PROPFIND", "/a", "This API key does not have the Write permission."),
        ("read", "POST", "/graphql", None),
        ("read", "POST", "/graphql/x", "This API key does not have the Write permission."),
        ("write", "POST", "/a", None),
        ("write", "GET", "/a", "This API key does not have the Read permission."),
        ("write", "POST", "/graphql?a=b", "This API key does not have the Read permission."),
        ("read_write", "DELETE", "/a", None),
        ("read_write", "GET", "/a/../b", "This path is ambiguous."),
    ],
)
@pytest.mark.parametrize("gateway", [nginx, caddy, envoy])
def test_methods_and_paths_of_the_service_decide_what_needs_read(
    cast: Cast, gateway: Callable[..., Any], permission: str, method: str, target: str, message: str | None
) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.0/24"], reading_paths=["/graphql"])
    secret = factories.make_key(cast.account, permission=KeyPermission(permission)).secret
    answer = ask(service, method, target, secret, gateway=gateway)
    assert (answer.status, answer.body and answer.message) == ((403, message) if message else (200, b""))


# Whose key --------------------------------------------------------------------------------------


def test_a_key_of_another_account_is_invalid_at_a_service(cast: Cast, service: Service) -> None:
    stranger = factories.make_key(cast.elsewhere).secret
    answer = ask(service, key=stranger)
    assert (answer.status, answer.message) == (401, "API key is invalid!")


def test_a_shared_service_accepts_keys_of_every_account_and_gets_its_slug(
    cast: Cast, service: Service, key: Issued
) -> None:
    change(service, shared=True)
    stranger = factories.make_key(cast.elsewhere).secret
    assert ask(service, key=stranger).headers["x-account"] == "elsewhere"
    assert ask(service, key=key.secret).headers["x-account"] == "acme"


def test_a_keys_access_decides(cast: Cast, service: Service) -> None:
    other = factories.make_service(cast.account, name="Other", gateways=["10.0.0.0/24"])
    key = factories.make_key(cast.account)

    def answers(access: str | None) -> list[str | None]:
        APIKey.objects.filter(pk=key.api_key.pk).update(access=access)
        found = [
            ask(at, target=target, key=key.secret) for at, target in [(service, "/a/b"), (service, "/c"), (other, "/a")]
        ]
        return [answer.message if answer.body else None for answer in found]

    no_service, no_path = "This API key has no access to this service.", "This API key has no access to this path."
    assert answers(None) == [None, None, None]
    assert answers("[]") == [no_service] * 3
    assert answers('[{"service":"api"}]') == [no_service] * 3
    assert answers(json.dumps([{"service": service.id}])) == [None, None, no_service]
    assert answers(json.dumps([{"service": service.id, "paths": ["/a/*"]}])) == [None, no_path, no_service]


ODD = [
    *("/reports/../admin", "/reports/..%2fadmin", "/reports/%2e%2e/admin", "/reports/..;/admin", "//admin"),
    *("/reports/%2e%2e%2fadmin", "/reports/.%2e/admin", "/reports/\\..\\admin", "/reports/..%5cadmin", "/./admin"),
    *("/reports/%252e%252e/admin", "/reports/%252fadmin", "/reports/..%00/admin", "/reports/..%c0%afadmin"),
    *("/reports/%u002e%u002e/admin", "/reports/..%zz/admin", "/reports#/../admin", "/reports%23/../../admin"),
    *(
        "http://x/admin",
        "*",
        "admin",
        "/reports/..%ef%bc%8fadmin",
        "/reports/\xff",
        "/reports/%ff",
        "/reports//../admin",
    ),
]


@pytest.mark.parametrize("gateway", [nginx, envoy])
@pytest.mark.parametrize("target", ODD)
def test_no_encoding_of_a_path_escapes_a_keys_paths(
    cast: Cast, service: Service, gateway: Callable[..., Any], target: str
) -> None:
    key = factories.make_key(cast.account)
    access = json.dumps([{"service": service.id, "paths": ["/reports/*"]}])
    APIKey.objects.filter(pk=key.api_key.pk).update(access=access)
    assert ask(service, target="/reports/a%20b", key=key.secret, gateway=gateway).status == 200
    assert ask(service, target=target, key=key.secret, gateway=gateway).status == 403


# Refused ----------------------------------------------------------------------------------------


def states(key: Issued) -> dict[str, dict[str, datetime]]:
    now = timezone.now()
    return {
        "API key has been revoked!": {"revoked_at": now},
        "API key has expired!": {"expires_at": now - timedelta(days=1)},
        "API key is disabled!": {"disabled_at": now},
    }


def test_a_key_that_no_longer_works_is_401_and_says_why(service: Service, key: Issued) -> None:
    for message, fields in states(key).items():
        APIKey.objects.filter(pk=key.api_key.pk).update(revoked_at=None, expires_at=None, disabled_at=None)
        APIKey.objects.filter(pk=key.api_key.pk).update(**fields)
        answer = ask(service, key=key.secret)
        assert (answer.status, answer.json) == (401, {"Message": message})
        assert answer.headers["www-authenticate"] == 'Bearer realm="atatus", error="invalid_token"'
        assert answer.headers["x-guard-message"] == message


def test_a_revoked_key_is_refused_immediately(cast: Cast, service: Service, key: Issued) -> None:
    assert ask(service, key=key.secret).status == 200
    APIKey.objects.filter(pk=key.api_key.pk).update(revoked_at=timezone.now())
    assert ask(service, key=key.secret).message == "API key has been revoked!"


@pytest.mark.parametrize(
    ("secret", "message"),
    [(None, "API key is required!"), ("nonsense", "API key is invalid!"), (tokens.generate(), "API key is invalid!")],
    ids=["none", "malformed", "unknown"],  # a random one would differ between pytest's workers
)
def test_no_key_and_an_unknown_one_are_401(service: Service, secret: str | None, message: str) -> None:
    answer = ask(service, key=secret)
    assert (answer.status, answer.json) == (401, {"Message": message})
    assert not set(IDENTITY[:4]) & answer.headers.keys()
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    "headers",
    [
        [("X-API-Key", "one"), ("X-API-Key", "two")],
        [("X-API-Key", "one"), ("Authorization", "Bearer two")],
        [("Authorization", "a-key-that-was-imported,with-commas")],
    ],
)
def test_an_ambiguous_key_is_403(service: Service, headers: list[tuple[str, str]]) -> None:
    answer = ask(service, headers=headers)
    assert (answer.status, answer.message) == (403, "Send the API key once, and in one place only.")


def test_a_key_in_the_query_is_read_where_the_service_takes_it(service: Service, key: Issued) -> None:
    target = f"/a?api_key={key.secret}"
    assert ask(service, target=target).message == "API key is required!"
    assert ask(service, target=target, key=key.secret).status == 200
    change(service, query_keys=True)
    assert ask(service, target=target).status == 200
    assert ask(service, target=f"/a?%61pi_key={key.secret}", gateway=envoy).status == 200
    assert ask(service, target=target, key=key.secret).status == 403
    APIKey.objects.filter(pk=key.api_key.pk).update(accepts_query=False)
    assert ask(service, target=target).message == "This API key may not be sent in the query string."


def test_a_request_that_may_have_its_key_in_the_body_gets_a_hint(service: Service) -> None:
    for media_type in ("application/json", "multipart/form-data; boundary=x"):
        answer = ask(service, "POST", CONTENT_TYPE=media_type)
        assert answer.json == {
            "Message": "API key is required!",
            "Errors": {"api_key": ["Send the key in a header. The guard does not see request bodies."]},
        }
        assert answer.headers["x-guard-message"] == "API key is required!"
    assert "Errors" not in ask(service, "POST", CONTENT_TYPE="image/png").json


def test_a_client_that_asks_for_problem_details_gets_them(service: Service) -> None:
    answer = ask(service, headers=[("Accept", "application/problem+json")])
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == "/v2/docs/errors#key-required"
    assert (answer.json["status"], answer.json["detail"]) == (401, "API key is required!")


def test_the_sentence_in_the_header_is_ascii_and_fits_between_quotes(
    db: None, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_at_guard", Maintenance('Back at “noon”, say "we".\\', 60))
    answer = ask(service)
    assert json.loads(f'"{answer.headers["x-guard-message"]}"') == answer.message == 'Back at “noon”, say "we".\\'


def test_plain_http_is_403_with_any_key_and_a_valid_key_is_flagged(service: Service, key: Issued) -> None:
    answers = [ask(service, key=secret, scheme="http") for secret in (key.secret, tokens.generate(), None)]
    assert {(answer.status, answer.message) for answer in answers} == {(403, "HTTPS is required.")}
    exposure.examine()
    assert APIKey.objects.get(pk=key.api_key.pk).exposed_at is not None


def test_a_key_sent_over_plain_http_is_not_looked_up(service: Service, key: Issued) -> None:
    with mock.patch.object(lookup, "at_service", wraps=lookup.at_service) as asked:
        ask(service, key=key.secret, scheme="http")
    asked.assert_called_once_with(service.id, "")


def test_networks_are_compared_with_the_clients_address(cast: Cast, service: Service) -> None:
    secret = factories.make_key(cast.account, allowed_networks=["203.0.113.0/24"]).secret
    assert ask(service, key=secret, client="203.0.113.9").status == 200
    answer = ask(service, key=secret, client="198.51.100.1")
    assert (answer.status, answer.message) == (403, "This API key may not be used from this address.")


def test_a_suspended_account_is_403(cast: Cast, service: Service, key: Issued) -> None:
    type(cast.account).objects.filter(pk=cast.account.pk).update(suspended_at=timezone.now())
    assert ask(service, key=key.secret).message == "This account is suspended."


def test_maintenance_stops_gateways_only_when_it_is_switched_on_for_them(service: Service, key: Issued) -> None:
    try:
        maintenance.switch(on=True, message="Back at noon.", retry_after=60)
        maintenance.refresh()
        assert ask(service, key=key.secret).status == 200
        maintenance.switch(on=True, guard=True, message="Back at noon.", retry_after=60)
        maintenance.refresh()
        answer = ask(service, key=key.secret)
        assert (answer.status, answer.message, answer.headers["retry-after"]) == (503, "Back at noon.", "60")
    finally:
        maintenance.switch(on=False)
        maintenance.refresh()


def test_a_preflight_passes_without_a_key_where_the_service_lets_it(
    service: Service, key: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")]
    assert ask(service, "OPTIONS", headers=headers).status == 401
    change(service, preflight=True)
    answer = ask(service, "OPTIONS", key=key.secret, headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    assert [answer.headers[name] for name in IDENTITY[:4]] == ["-"] * 4
    assert ask(service, "OPTIONS").status == 401
    assert ask(service, "GET", headers=headers).status == 401
    assert ask(service, "OPTIONS", headers=headers, scheme="http").status == 403
    monkeypatch.setattr(maintenance, "_at_guard", Maintenance("Back at noon.", 60))
    assert ask(service, "OPTIONS", headers=headers).status == 503


# Limits -----------------------------------------------------------------------------------------


def test_a_key_over_its_limit_is_429_and_its_limit_is_one_for_v2_and_services(cast: Cast, service: Service) -> None:
    secret = factories.make_key(cast.account, rate_limit="3/minute").secret
    assert [ask(service, key=secret).status for _ in range(2)] == [200, 200]
    assert Client().get("/v2", HTTP_X_API_KEY=secret, secure=True).status_code == 200
    answer = ask(service, key=secret)
    assert (answer.status, answer.message) == (429, "Too many requests. Please slow down.")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["ratelimit"].startswith('"default";r=0')


def test_failed_keys_count_against_the_client_and_not_the_gateway(
    service: Service, key: Issued, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = settings.FAILED_AUTH_LIMIT._replace(limit=2)
    assert [ask(service, key=tokens.generate()).status for _ in range(3)] == [401, 401, 429]
    assert ask(service, key=key.secret).status == 200
    assert ask(service, key=tokens.generate(), client="203.0.113.8").status == 401


@pytest.mark.django_db(transaction=True)
def test_limits_are_exact_over_threads(cast: Cast, service: Service) -> None:
    secret = factories.make_key(cast.account, rate_limit="50/minute").secret
    statuses: list[int] = []

    def many() -> None:
        try:
            statuses.extend(ask(service, key=secret).status for _ in range(20))
        finally:
            connection.close()

    threads = [threading.Thread(target=many) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(429)) == (50, 70)


# Who may ask ------------------------------------------------------------------------------------


def test_an_unknown_service_and_an_unlisted_gateway_are_answered_alike(service: Service, key: Issued) -> None:
    answers = [ask("svc_nothing", key=key.secret), ask(service, key=key.secret, peer="192.0.2.1")]
    assert {(answer.status, answer.message) for answer in answers} == {
        (403, "This gateway may not ask about this service.")
    }
    assert answers[0].headers.keys() == answers[1].headers.keys()


def test_the_three_contracts_have_no_service_called_api(key: Issued, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/24"),)
    for gateway in (nginx, caddy, envoy):
        assert ask("api", key=key.secret, gateway=gateway).status == 403


def test_a_gateway_may_ask_only_about_its_own_services_and_a_trusted_proxy_about_any(
    cast: Cast, service: Service, key: Issued, settings: Settings
) -> None:
    other = factories.make_service(cast.account, name="Other", gateways=["192.0.2.1"])
    assert ask(other, key=key.secret).status == 403
    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/24"),)
    assert ask(other, key=key.secret).status == 200


def test_a_service_without_gateways_accepts_no_authorization_requests(cast: Cast, key: Issued) -> None:
    service = factories.make_service(cast.account)
    assert ask(service, key=key.secret).status == 403
    assert ask(service, key=key.secret, peer="").status == 403


def test_an_unlisted_gateway_is_logged_and_shown_on_the_service(
    service: Service, key: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        ask(service, key=key.secret, peer="192.0.2.1")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "192.0.2.1" in said[0]
    assert service.id in said[0]
    problems.flush()
    questions.flush()
    service.refresh_from_db()
    assert service.problem == "A request came from 192.0.2.1, which is not among this service's gateways: add it."
    assert service.problem_at is not None
    assert service.last_question_at is None
    assert KeyUsage.objects.count() == 0


def test_a_query_may_have_more_fields_than_our_own(service: Service, key: Issued) -> None:
    target = f"/a?{'&' * 1001}%20"
    assert ask(service, "GET", target, key.secret).status == 200
    assert ask(service, "GET", target).message == "API key is required!"


def test_unlisted_addresses_of_one_network_are_logged_once(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        ask(service, peer=f"2001:db8::{number}")
        ask("svc_unknown", peer=f"2001:db8::{number}")
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2


def test_only_so_many_gateways_are_remembered_for_the_log(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "MAX_LOGGED", 2)
    for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.3", "192.0.2.1"):
        ask(service, peer=peer)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [sentence.split()[4] for sentence in said] == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"]


def test_a_misconfigured_gateway_gets_the_reason(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"HTTP_X_ORIGINAL_METHOD": "GET", "HTTP_X_ORIGINAL_URI": "/a", "HTTP_X_FORWARDED_PROTO": "https"}
    answer = send("GET", f"/v2/verify/{service.id}/auth-request", headers)
    sentence = (
        "The authorization request has no X-Forwarded-For. The gateway has to set it to the address of the client."
    )
    assert (answer.status, answer.message, answer.headers["x-guard-message"]) == (403, sentence, sentence)
    assert sentence in caplog.text
    problems.flush()
    questions.flush()
    service.refresh_from_db()
    assert service.problem == sentence
    assert service.last_question_at is not None
    unlisted = send("GET", f"/v2/verify/{service.id}/auth-request", headers, peer="192.0.2.1")
    assert sentence not in f"{unlisted.body!r}{unlisted.headers}"


@pytest.mark.parametrize("gateway", [nginx, caddy])
@pytest.mark.parametrize(
    ("method", "target", "message"),
    [
        ("GET", "/" + "a" * 8192, "The URL of the request is longer than 8,192 characters."),
        ("A" * 33, "/a", "The method of the request is longer than 32 characters."),
    ],
    ids=["url", "method"],
)
def test_a_clients_own_headers_are_not_recorded_as_a_gateway_problem(
    service: Service,
    key: Issued,
    gateway: Callable[..., Any],
    method: str,
    target: str,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = ask(service, method, target, key.secret, gateway=gateway)
    assert (answer.status, answer.message) == (403, message)
    unlisted = ask(service, method, target, key.secret, gateway=gateway, peer="192.0.2.1")
    assert unlisted.message == gateways.UNKNOWN_GATEWAY
    assert "192.0.2.1" in caplog.text
    assert message not in caplog.text
    problems.discard()
    ask(service, method, target, key.secret, gateway=gateway)
    problems.flush()
    questions.flush()
    service.refresh_from_db()
    assert service.problem == ""
    assert service.last_question_at is not None


def test_a_client_that_asks_envoy_for_a_tunnel_is_not_recorded_as_a_gateway_problem(
    service: Service, key: Issued
) -> None:
    headers = {"HTTP_X_API_KEY": key.secret, "HTTP_X_FORWARDED_FOR": CLIENT, "HTTP_X_FORWARDED_PROTO": "https"}
    answer = send("CONNECT", f"/v2/verify/{service.id}/ext-authz", headers)
    assert (answer.status, answer.message) == (403, "CONNECT names no path, so it can't be authorized.")
    problems.flush()
    service.refresh_from_db()
    assert service.problem == ""


def test_ext_authz_without_a_path_is_misconfigured(service: Service, key: Issued) -> None:
    headers = {"HTTP_X_API_KEY": key.secret, "HTTP_X_FORWARDED_FOR": CLIENT, "HTTP_X_FORWARDED_PROTO": "https"}
    for end in ("", "?a=b"):
        answer = send("GET", f"/v2/verify/{service.id}/ext-authz{end}", headers)
        assert (answer.status, answer.message[:40]) == (403, "The authorization request ends where the"[:40])
    assert send("GET", f"/v2/verify/{service.id}/ext-authz/", headers).status == 200


def test_the_target_is_rebuilt_with_its_query_if_the_server_does_not_pass_it_on(cast: Cast, key: Issued) -> None:
    service = factories.make_service(cast.account, gateways=[f"{PROXY}/32"], query_keys=True)
    headers = {"HTTP_X_FORWARDED_FOR": CLIENT, "HTTP_X_FORWARDED_PROTO": "https"}
    path = f"/v2/verify/{service.id}/ext-authz/a b"
    for query, status in ((f"api_key={key.secret}", 200), ("", 401)):
        assert send("GET", path, headers, REQUEST_URI=None, QUERY_STRING=query).status == status


@pytest.mark.parametrize(
    "path", ["/v2/verify", "/v2/verify/", "/v2/verify/svc_1/auth", "/v2/verify/svc_1/auth-request/x"]
)
def test_other_paths_are_left_to_the_api(path: str) -> None:
    assert guard.answer({"REQUEST_METHOD": "GET", "REQUEST_URI": path, "PATH_INFO": path}) is None
    assert Client().get(path, secure=True).status_code == 404


# Writes -----------------------------------------------------------------------------------------


def test_use_is_counted_by_key_and_service_and_the_request_time_is_recorded(service: Service, key: Issued) -> None:
    ask(service, key=key.secret, headers=[("User-Agent", f"curl {key.secret}")])
    ask(service, "POST", key=factories.make_key(key.api_key.account, permission=KeyPermission.READ).secret)
    ask(service, key=tokens.generate())
    counts.flush()
    questions.flush()
    used = KeyUsage.objects.get(api_key=key.api_key)
    assert (used.service, used.requests, used.succeeded, used.in_header) == (service.id, 1, 1, 1)
    refused = KeyUsage.objects.exclude(api_key=key.api_key).get()
    assert (refused.service, refused.client_errors) == (service.id, 1)
    stored = APIKey.objects.get(pk=key.api_key.pk)
    assert stored.last_used_from == CLIENT
    assert key.secret not in stored.last_used_agent
    service.refresh_from_db()
    assert service.last_question_at is not None


def test_a_question_is_one_query_and_it_reads(service: Service, key: Issued) -> None:
    change(service, reading_paths=["/a"], query_keys=True)
    with CaptureQueriesContext(connection) as captured:
        assert ask(service, key=key.secret).status == 200
        assert ask(service, key="nonsense").status == 401
        assert ask("svc_nothing", key=key.secret).status == 403
    # one query for each: the service, the key and its account
    assert len(captured) == 3
    assert all(query["sql"].startswith("SELECT") for query in captured)


def test_the_statement_knows_every_column_of_its_records(cast: Cast, service: Service, key: Issued) -> None:
    change(service, reading_paths=["/a"], preflight=True, shared=False)
    found, record = lookup.at_service(service.id, tokens.digest(key.secret))
    assert record == lookup.by_digest(tokens.digest(key.secret))
    assert found is not None
    assert set(ServiceRecord._fields) <= {field.column for field in Service._meta.concrete_fields}
    service.refresh_from_db()
    for field in ServiceRecord._fields:
        value, stored = getattr(found, field), getattr(service, field)
        assert (json.loads(value) if isinstance(stored, list) else value) == stored
    assert lookup.at_service(service.id, "") == (found, None)
    assert lookup.at_service("svc_nothing", tokens.digest(key.secret)) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_a_dead_connection_is_replaced_once(service: Service, key: Issued) -> None:
    fetch, calls = lookup._fetch, []

    def die_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return fetch(*arguments)

    with mock.patch("apikeys.lookup._fetch", side_effect=die_once), mock.patch.object(connection, "close") as close:
        assert ask(service, key=key.secret).status == 200
    assert len(calls) == 2
    close.assert_called_once()


def test_an_unreachable_database_is_503(service: Service, key: Issued) -> None:
    with mock.patch("apikeys.lookup._fetch", side_effect=OperationalError("gone")):
        answer = ask(service, key=key.secret)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.message == "The database is unavailable. Please try again later."


def test_our_own_error_is_503_and_logged(service: Service, key: Issued, caplog: pytest.LogCaptureFixture) -> None:
    with mock.patch("apikeys.gate.decide", side_effect=ZeroDivisionError):
        answer = ask(service, key=key.secret)
    assert (answer.status, answer.message) == (503, "We have a problem with our server. Please try again later.")
    assert "ZeroDivisionError" in caplog.text


# Properties -------------------------------------------------------------------------------------

in_a_transaction = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@pytest.mark.parametrize("gateway", GATEWAYS)
@given(
    forged, st.sampled_from(["GET", "POST", "get"]), st.sampled_from(["/admin", "/reports/a", "/reports/..%2f", "*"])
)
@in_a_transaction
def test_no_header_that_a_client_adds_changes_a_verdict(
    cast: Cast, service: Service, gateway: Callable[..., Any], headers: Any, method: str, target: str
) -> None:
    access = json.dumps([{"service": service.id, "paths": ["/reports/*"]}])
    key = APIKey.objects.filter(name="Bound").first()
    if key is None:
        key = factories.make_key(
            cast.account, name="Bound", allowed_networks=[CLIENT], rate_limit="1000000/hour"
        ).api_key
    secret = "a-key-that-was-imported"
    APIKey.objects.filter(pk=key.pk).update(access=access, permission="read", digest=tokens.digest(secret))
    plain = ask(service, method, target, secret, gateway=gateway)
    forged_ = ask(service, method, target, secret, headers, gateway=gateway)
    assert (forged_.status, forged_.headers.get("x-guard-message")) == (
        plain.status,
        plain.headers.get("x-guard-message"),
    )
    if plain.status == 200:
        assert [forged_.headers[name] for name in IDENTITY[:4]] == [plain.headers[name] for name in IDENTITY[:4]]


names = st.sampled_from(
    [
        *("HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URI", "HTTP_X_FORWARDED_METHOD", "HTTP_X_FORWARDED_URI"),
        *("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_API_KEY", "HTTP_AUTHORIZATION", "HTTP_ACCEPT"),
        *("CONTENT_TYPE", "HTTP_X_REQUEST_ID", "HTTP_USER_AGENT", "HTTP_ORIGIN", "HTTP_TRANSFER_ENCODING"),
    ]
)
latin = st.text(st.characters(max_codepoint=255), max_size=60)
values = latin | st.sampled_from(
    ["GET", "/a", "/?" + "&" * 3000 + "api_key=x", CLIENT, "https", "http", "a-key-that-was-imported", "x,y", "/a?%"]
)


@given(
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "TRACE", "x"]),
    st.sampled_from(["auth-request", "forward-auth", "ext-authz", "ext-authz/", "auth-request/"]),
    latin,
    st.dictionaries(names, values),
    st.sampled_from([PROXY, "192.0.2.1", "", "nonsense"]),
    st.booleans(),
)
@in_a_transaction
def test_every_authorization_request_gets_one_of_five_statuses(
    service: Service, method: str, contract: str, tail: str, headers: Any, peer: str, is_known: bool
) -> None:
    change(service, query_keys=True, reading_paths=["/a"])
    tail = tail if contract == "ext-authz/" else tail and f"?{tail}"
    path = f"/v2/verify/{service.id if is_known else 'svc_nothing'}/{contract}{tail}"
    answer = send(method, path, headers, peer=peer)
    assert answer.status in (200, 401, 403, 429, 503)
    assert answer.status != 503, answer.message
    if answer.status == 200:
        assert not answer.body
        assert all(answer.headers[name] for name in IDENTITY)
    else:
        assert json.loads(f'"{answer.headers["x-guard-message"]}"')
