"""Checks of services without a gateway, and dry runs: `POST /v2/verify/{service}`."""

import json
from io import BytesIO
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.policy import KeyPermission
from apikeys import exposure, gate, tokens
from apikeys.gate import Rule
from apikeys.models import APIKey, KeyUsage, Service
from apikeys.services import Issued
from apikeys.usage import counts, problems, questions
from atatus_dash import maintenance
from tests import factories
from tests.answers import Answer
from tests.authorization_requests import CLIENT, send
from tests.conftest import Cast

pytestmark = pytest.mark.django_db

ASKER = "10.0.0.9"
NOT_ASKER = "Ask from one of the service's gateways, or over HTTPS with an administrator key of its account."


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account, gateways=[ASKER])


@pytest.fixture
def key(cast: Cast) -> Issued:
    return factories.make_key(cast.account, permission=KeyPermission.READ)


@pytest.fixture
def root(cast: Cast) -> Issued:
    return factories.make_key(cast.account, name="Root", permission=KeyPermission.WRITE, administrator=True)


def check(
    service: Service | str,
    body: bytes | dict[str, Any] | None = None,
    *,
    peer: str = ASKER,
    asker: str | None = None,
    https: bool = False,
    method: str = "POST",
    **environ: Any,
) -> Answer:
    if not isinstance(body, bytes):
        body = json.dumps({"method": "GET", "path": "/a", **(body or {})}).encode()
    return send(
        method,
        f"/v2/verify/{getattr(service, 'id', service)}",
        {"HTTP_X_API_KEY": asker} if asker else {},
        peer=peer,
        **{
            "wsgi.input": BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/json",
            "wsgi.url_scheme": "https" if https else "http",
            **environ,
        },
    )


def test_a_service_may_check_over_plain_http_and_gets_the_account_of_the_key(service: Service, key: Issued) -> None:
    answer = check(service, {"key": key.secret, "address": CLIENT})
    assert answer.status == 200
    assert answer.json == {
        "allowed": True,
        "account": {"slug": "acme", "name": "Acme"},
        "api_key": {
            "id": key.api_key.id,
            "name": "Deploys",
            "permission": "read",
            "administrator": False,
            "expires_at": None,
        },
        "rate_limit": {"limit": 600, "remaining": 599, "window": 60},
    }
    assert answer.headers["ratelimit-policy"] == '"default";q=600;w=60'
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 401, "API key is required!"),
        ({"key": None}, 401, "API key is required!"),
        ({"key": "nonsense"}, 401, "API key is invalid!"),
        ({"key": "KEY", "method": "POST"}, 403, "This API key does not have the Write permission."),
        ({"key": "KEY", "path": "/a/../b"}, 403, "This API key has no access to this path."),
    ],
)
def test_a_refusal_has_the_same_statuses_and_messages_as_for_a_gateway(
    service: Service, key: Issued, body: dict[str, Any], status: int, message: str
) -> None:
    if body.get("path"):
        access = json.dumps([{"service": service.id, "paths": ["/b"]}])
        APIKey.objects.filter(pk=key.api_key.pk).update(access=access)
        message = "This path is ambiguous."
    body = {name: key.secret if value == "KEY" else value for name, value in body.items()}
    answer = check(service, body)
    assert (answer.status, answer.json["Message"], answer.json["allowed"]) == (status, message, False)
    is_good = "permission" in message
    assert (answer.json["account"] is not None, answer.json["api_key"] is not None) == (is_good, is_good)
    assert ("www-authenticate" in answer.headers) == (status == 401 or is_good)


@pytest.mark.parametrize("interface", ["eth0", "\ud800", "\0", "\n"], ids=ascii)
def test_an_address_is_recorded_without_its_interface_which_databases_refuse(
    service: Service, key: Issued, interface: str
) -> None:
    assert check(service, {"key": key.secret, "address": f"fe80::1%{interface}"}).status == 200
    counts.flush()
    assert APIKey.objects.get(pk=key.api_key.pk).last_used_from == "fe80::1"


def test_without_an_address_a_key_bound_to_networks_is_refused(cast: Cast, service: Service) -> None:
    secret = factories.make_key(cast.account, allowed_networks=["203.0.113.0/24"]).secret
    assert check(service, {"key": secret, "address": CLIENT}).status == 200
    assert check(service, {"key": secret}).message == "This API key may not be used from this address."


def test_maintenance_does_not_stop_a_check(service: Service, key: Issued) -> None:
    try:
        maintenance.switch(on=True, guard=True)
        maintenance.refresh()
        assert check(service, {"key": key.secret}).status == 200
    finally:
        maintenance.switch(on=False)
        maintenance.refresh()


def test_a_check_is_one_query_and_is_counted_at_the_service(service: Service, key: Issued) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert check(service, {"key": key.secret, "address": CLIENT}).status == 200
    assert len(captured) == 1  # the service, the key and its account
    counts.flush()
    questions.flush()
    assert (KeyUsage.objects.get().service, KeyUsage.objects.get().succeeded) == (service.id, 1)
    service.refresh_from_db()
    assert service.last_question_at is not None


def test_over_the_limit_is_429(cast: Cast, service: Service) -> None:
    secret = factories.make_key(cast.account, rate_limit="1/minute").secret
    assert [check(service, {"key": secret}).status for _ in range(2)] == [200, 429]


# Who may ask ------------------------------------------------------------------------------------


def test_an_administrator_key_checks_over_https_with_any_permission_and_access(
    service: Service, key: Issued, root: Issued
) -> None:
    APIKey.objects.filter(pk=root.api_key.pk).update(access="[]", rate_limit="1/minute")
    for _ in range(3):
        answer = check(service, {"key": key.secret}, peer=CLIENT, asker=root.secret, https=True)
        assert (answer.status, answer.json["api_key"]["id"]) == (200, key.api_key.id)
    assert check(service, {}, peer=CLIENT, asker=root.secret, https=True).message == "API key is required!"


def test_all_others_get_401_with_only_a_message(cast: Cast, service: Service, key: Issued, root: Issued) -> None:
    stranger = factories.make_key(cast.elsewhere, administrator=True).secret
    revoked = factories.make_key(cast.account, administrator=True, revoked_at=timezone.now()).secret
    bound = factories.make_key(cast.account, administrator=True, allowed_networks=["192.0.2.1/32"]).secret
    for asked in (service, "svc_nothing"):
        for asker in (None, key.secret, stranger, revoked, bound, "nonsense", f"{root.secret},{root.secret}"):
            answer = check(asked, {"key": key.secret}, peer=CLIENT, asker=asker, https=True)
            assert (answer.status, answer.json) == (401, {"Message": NOT_ASKER})
            assert answer.headers["www-authenticate"].startswith('Bearer realm="atatus"')
    assert check("svc_nothing", {"key": key.secret}, peer=CLIENT, asker=root.secret, https=True).status == 401
    answer = check(service, b"{", peer=CLIENT)
    assert (answer.status, answer.json) == (401, {"Message": NOT_ASKER})


def test_an_administrator_key_over_plain_http_is_401_and_flagged(service: Service, key: Issued, root: Issued) -> None:
    answer = check(service, {"key": key.secret}, peer=CLIENT, asker=root.secret)
    assert (answer.status, answer.json) == (401, {"Message": NOT_ASKER})
    exposure.examine()
    assert APIKey.objects.get(pk=root.api_key.pk).exposed_at is not None


def test_a_service_behind_a_trusted_proxy_is_identified_by_its_own_address(
    service: Service, key: Issued, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = (ip_network("127.0.0.1/32"),)
    through: dict[str, Any] = {"peer": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https"}
    assert check(service, {"key": key.secret}, HTTP_X_FORWARDED_FOR=ASKER, **through).status == 200
    assert check(service, {"key": key.secret}, HTTP_X_FORWARDED_FOR=CLIENT, **through).status == 401
    assert check(service, {"key": key.secret}, HTTP_X_FORWARDED_FOR="nonsense", **through).status == 400


def test_failures_count_against_the_asker_in_dry_runs_too(service: Service, key: Issued, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = settings.FAILED_AUTH_LIMIT._replace(limit=2)
    assert check(service, {"key": tokens.generate(), "address": CLIENT}).status == 401
    assert check(service, {"key": tokens.generate(), "dry_run": True}).json["status"] == 401
    assert check(service, {"key": tokens.generate(), "address": "192.0.2.7"}).status == 429
    assert check(service, {"key": tokens.generate(), "dry_run": True}).json["status"] == 429
    assert check(service, {"key": key.secret}).status == 200


def test_bad_administrator_keys_count_against_their_address(service: Service, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = settings.FAILED_AUTH_LIMIT._replace(limit=2)
    answers = [check(service, {}, peer=CLIENT, asker=tokens.generate(), https=True).status for _ in range(3)]
    assert answers == [401, 401, 429]


def test_an_address_that_is_not_listed_is_shown_on_the_services_page(service: Service, root: Issued) -> None:
    check(service, peer="10.0.0.99", asker=root.secret)
    problems.flush()
    service.refresh_from_db()
    assert not service.problem

    check(service, peer="10.0.0.99")
    problems.flush()
    service.refresh_from_db()
    assert service.problem == problems.unlisted("10.0.0.99")


# Bodies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"method": "GET"}', {}, 400),
        (b'{"method": "GET", "path": "/a", "method": "POST"}', {}, 400),
        (b'{"method": "GET", "path": "/a", "unknown": 1}', {}, 400),
        (b"[" * 60_000, {}, 400),
        (b"method=GET", {"CONTENT_TYPE": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"CONTENT_TYPE": ""}, 415),
        (b"x" * (64 * 1024 + 1), {}, 413),
        (b"{}", {"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
    ],
)
def test_a_malformed_body_of_a_listed_asker_is_refused(
    service: Service, body: bytes, environ: dict[str, Any], status: int
) -> None:
    answer = check(service, body, **environ)
    assert answer.status == status
    assert answer.message


def test_invalid_fields_are_named_as_in_the_rest_of_the_api(service: Service) -> None:
    answer = check(service, b'{"method": "G T", "path": "/a", "unknown": 1}')
    assert answer.message == "These fields are invalid: unknown, method."
    assert [*answer.json["Errors"]] == ["unknown", "method"]


def test_other_methods_are_405(service: Service) -> None:
    answer = check(service, {}, method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


# Dry runs ---------------------------------------------------------------------------------------


def test_a_dry_run_returns_every_rule_in_order_and_counts_nothing(service: Service, key: Issued) -> None:
    APIKey.objects.filter(pk=key.api_key.pk).update(disabled_at=timezone.now())
    answer = check(service, {"key": key.secret, "method": "POST", "dry_run": True})
    assert answer.status == 200
    found = answer.json
    assert (found["allowed"], found["status"], found["message"]) == (False, 401, "API key is disabled!")
    assert [rule["rule"] for rule in found["rules"]] == list(Rule)
    failed = {rule["rule"]: rule["message"] for rule in found["rules"] if rule["passed"] is False}
    assert failed == {
        "disabled": "API key is disabled!",
        "permission": "This API key does not have the Write permission.",
    }
    counts.flush()
    assert KeyUsage.objects.count() == 0


def test_a_dry_run_leaves_the_limit_alone(cast: Cast, service: Service) -> None:
    secret = factories.make_key(cast.account, rate_limit="1/minute").secret
    assert {check(service, {"key": secret, "dry_run": True}).json["status"] for _ in range(3)} == {200}
    assert check(service, {"key": secret}).status == 200
    assert check(service, {"key": secret, "dry_run": True}).json["status"] == 429


def about_api(body: dict[str, Any], asker: str | None, **arguments: Any) -> Answer:
    return check("api", {"dry_run": True, **body}, peer=CLIENT, asker=asker, https=True, **arguments)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v2", 200, ""),
        ("POST", "/v2", 200, ""),
        ("GET", "/v2/projects?limit=5", 200, ""),
        ("POST", "/v2/projects", 403, "This API key does not have the Write permission."),
        ("GET", "/v2/members", 403, "This item is for administrators only."),
        ("DELETE", "/v2/projects", 405, "This item can't be accessed with this method."),
        ("GET", "/v2/nothing", 404, "The item could not be found."),
        ("GET", "/auth/login/", 404, "The item could not be found."),
        ("GET", "/v2/projects/", 200, ""),
        ("get", "/v2/projects", 200, ""),
        ("POST", "/v2/leaked-keys", 200, ""),
        ("GET", "/v2/leaked-keys", 405, "This item can't be accessed with this method."),
    ],
)
def test_a_dry_run_about_the_api_agrees_with_the_api(
    key: Issued, root: Issued, method: str, path: str, status: int, message: str
) -> None:
    found = about_api({"key": key.secret, "method": method, "path": path}, root.secret).json
    assert (found["status"], found["message"]) == (status, message)
    if path.startswith("/v2"):
        real = Client().generic(method, path, HTTP_X_API_KEY=key.secret, secure=True)
        assert (real.status_code if real.status_code != 400 else 200) == status


@pytest.mark.parametrize("secret", [None, "nonsense", "revoked"])
def test_a_dry_run_checks_no_key_at_a_path_that_needs_none(key: Issued, root: Issued, secret: str | None) -> None:
    if secret == "revoked":
        APIKey.objects.filter(pk=key.api_key.pk).update(revoked_at=timezone.now())
        secret = key.secret
    found = about_api({"key": secret, "method": "POST", "path": "/v2/leaked-keys"}, root.secret).json
    assert (found["allowed"], found["status"]) == (True, 200)
    judged = {rule["rule"] for rule in found["rules"] if rule["passed"] is not None}
    assert judged == {"https", "maintenance", "path", "method"}
    assert len(found["rules"]) == len(gate.RULES)


def test_a_dry_run_about_the_api_is_for_administrator_keys_and_keys_of_their_account(
    cast: Cast, service: Service, key: Issued, root: Issued
) -> None:
    stranger = factories.make_key(cast.elsewhere).secret
    assert about_api({"key": stranger, "path": "/v2"}, root.secret).json["message"] == "API key is invalid!"
    assert about_api({"key": key.secret}, key.secret).json == {"Message": NOT_ASKER}
    assert check("api", {"key": key.secret, "dry_run": True}).status == 401
    answer = about_api({"key": key.secret, "dry_run": False}, root.secret)
    assert (answer.status, list(answer.json["Errors"])) == (400, ["dry_run"])
    APIKey.objects.filter(pk=key.api_key.pk).update(access="[]")
    found = about_api({"key": key.secret, "path": "/v2/projects"}, root.secret).json
    assert found["message"] == "This API key has no access to this API."
    assert about_api({"key": key.secret, "path": "/v2"}, root.secret).json["allowed"]
