"""Which gateways may send authorization requests, and what operators learn of the others."""

import logging
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from apikeys.models import KeyUsage, Service
from apikeys.services import Issued
from apikeys.usage import problems, questions
from atatus_dash import guard
from atatus_dash.guard import gateways
from tests import factories
from tests.authorization_requests import CLIENT, PROXY, ask, caddy, envoy, nginx, send
from tests.conftest import Cast

from .test_guard import key, service

__all__ = ["key", "service"]


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
