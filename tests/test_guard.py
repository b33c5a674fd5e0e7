"""Answers to authorization requests of gateways."""

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.policy import KeyPermission
from apikeys import exposure, lookup, tokens
from apikeys.gate import Maintenance
from apikeys.models import APIKey, Service
from apikeys.services import Issued
from atatus_dash import maintenance
from tests import factories
from tests.authorization_requests import CLIENT, GATEWAYS, ask, caddy, envoy, nginx, send
from tests.conftest import Cast

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
