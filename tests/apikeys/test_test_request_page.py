"""*Test a request*: the result of a described request."""

import json
import random
import re
import shlex
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.policy import KeyPermission
from apikeys.models import APIKey, KeyUsage, Service
from apikeys.services import Issued
from apikeys.usage import counts
from tests import factories
from tests.authorization_requests import ask
from tests.conftest import Browser, Cast

from .pages import HTMX, page, read, words


@pytest.fixture
def key(cast: Cast) -> Issued:
    return factories.make_key(cast.account, permission=KeyPermission.READ, rate_limit="100/minute")


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account, gateways=["10.0.0.0/24"])


def address(cast: Cast, key: Issued, **described: str) -> str:
    asked = {"method": "GET", "path": "/reports", "service": "api", "address": "", **described}
    return f"{reverse('test_request', args=[cast.account.slug, key.api_key.id])}?{urlencode(asked)}"


def test_the_keys_page_has_the_form_and_the_result_has_a_page_of_its_own(
    cast: Cast, owner: Browser, key: Issued, service: Service
) -> None:
    text = read(owner, page(cast, "key", key.api_key.id))
    assert "Test a request" in text
    assert "Reports API" in text
    assert "This API (/v2)" in text
    assert "Allowed: 200 OK" in read(owner, address(cast, key, service=service.id))


def test_a_refusal_says_which_rule_decided_and_what_the_others_say(
    cast: Cast, owner: Browser, key: Issued, service: Service
) -> None:
    access = json.dumps([{"service": service.id, "paths": ["/exports"]}])
    APIKey.objects.filter(pk=key.api_key.pk).update(access=access)
    text = read(owner, address(cast, key, method="POST", service=service.id))
    assert "Refused: 403 Forbidden" in text
    assert "Access This API key has no access to this path. Decided here" in text
    assert "Network The key may be used from this address." in text
    assert "Rate limit The key has requests left. Not reached" in text
    assert "Permission This API key does not have the Write permission. Not reached" in text
    assert "Method " not in text.partition("Rules in order")[2]


def answer_in(text: str) -> str:
    return (
        text.partition("Response to the client ")[2].partition(" Requests that would pass")[0].partition(" From a")[0]
    )


def test_a_refusal_shows_the_answer_that_the_client_would_get(
    cast: Cast, owner: Browser, key: Issued, service: Service
) -> None:
    text = read(owner, address(cast, key, method="POST", service=service.id))
    assert answer_in(text) == (
        "HTTP/1.1 403 Forbidden Content-Type: application/json "
        'WWW-Authenticate: Bearer realm="atatus", error="insufficient_scope" '
        '{"Message": "This API key does not have the Write permission."}'
    )
    assert "Change its permission" in text
    for _ in range(100):
        ask(service, "GET", "/", key.secret)
    text = read(owner, address(cast, key, service=service.id))
    assert "HTTP/1.1 429 Too Many Requests Content-Type: application/json Retry-After: 60" in answer_in(text)
    APIKey.objects.update(revoked_at=timezone.now())
    text = read(owner, address(cast, key, service=service.id))
    assert '{"Message": "API key has been revoked!"}' in answer_in(text)
    assert "Change its" not in text
    assert "would pass" not in text


def test_a_refusal_for_lack_of_administrator_access_offers_it(cast: Cast, owner: Browser, key: Issued) -> None:
    text = read(owner, address(cast, key, path="/v2/members"))
    assert "Permission This item is for administrators only. Decided here" in text
    assert "Change its administrator access" in text
    assert "Change its permission" not in text


def test_a_request_that_passes_shows_what_the_service_would_get(
    cast: Cast, owner: Browser, key: Issued, service: Service
) -> None:
    text = read(owner, address(cast, key, service=service.id))
    real = ask(service, "GET", "/reports", key.secret)
    told = text.partition("Headers for the service ")[2].partition(" Other requests")[0].partition(" From")[0].split()
    assert dict(zip(told[::2], told[1::2], strict=True)) == {
        f"{name}:": real.headers[name.lower()]
        for name in ("X-Account", "X-Api-Key-Id", "X-Api-Key-Name", "X-Api-Key-Permission")
    }
    assert "Response to the client" not in text
    assert "Headers for the service" not in read(owner, address(cast, key, path="/v2/projects"))


@pytest.mark.parametrize(
    ("access", "described", "passing"),
    [
        (None, {"method": "DELETE", "path": "/a"}, ["GET /a"]),
        ([{"paths": ["/x y/*", "/b"]}], {"path": "/a"}, ["GET /x%20y", "GET /b"]),
        ([{"paths": ["/b"]}], {"service": "api", "path": "/v2/projects"}, ["GET /b at Reports API", "GET /v2"]),
        ([], {"path": "/a"}, ["GET /v2 at This API (/v2)"]),
        (None, {"path": "/a"}, []),
    ],
)
def test_a_refused_request_links_to_requests_that_would_pass(
    access: list[dict[str, Any]] | None,
    described: dict[str, str],
    passing: list[str],
    cast: Cast,
    owner: Browser,
    key: Issued,
    service: Service,
) -> None:
    entries = None if access is None else json.dumps([{"service": service.id, **entry} for entry in access])
    APIKey.objects.update(access=entries)
    html = owner.get(address(cast, key, **{"service": service.id, **described})).content.decode()
    told = re.findall(r"<li><a id=\"would-\d\" href=\"([^\"]+)\".*?</li>", html)
    assert [words(found[0]).strip() for found in re.finditer(r"<li><a id=\"would.*?</li>", html)] == passing
    for link in told:
        assert "Allowed: 200 OK" in read(owner, link.replace("&amp;", "&"))


def test_a_key_bound_to_networks_would_pass_from_inside_them(
    cast: Cast, owner: Browser, key: Issued, service: Service
) -> None:
    APIKey.objects.update(allowed_networks=["10.1.0.0/24"])
    text = read(owner, address(cast, key, service=service.id, address="203.0.113.7"))
    assert "Requests that would pass GET /reports from 10.1.0.1" in text
    assert "Change its networks" in text


def test_the_call_from_a_program_gets_the_same_verdict(
    cast: Cast, owner: Browser, key: Issued, service: Service
) -> None:
    administrator = factories.make_key(cast.account, administrator=True)
    for asked in ({"service": service.id, "path": "/it's"}, {"service": "api", "path": "/v2/members"}):
        html = owner.get(address(cast, key, **asked)).content.decode()
        call = unescape(re.findall(r'id="dry-run">([^<]+)', html)[0])
        _, url, *options = shlex.split(call.replace("\\\n", " "))
        body = json.loads(options[-1]) | {"key": key.secret}
        response = Client().post(
            urlsplit(url).path, body, "application/json", secure=True, HTTP_X_API_KEY=administrator.secret
        )
        assert f": {response.json()['status']} " in words(html)


def test_htmx_gets_only_the_result_and_an_invalid_form_is_422(cast: Cast, owner: Browser, key: Issued) -> None:
    response = owner.get(address(cast, key, path="/v2/projects"), headers=HTMX)
    assert response.status_code == 200
    assert "<html" not in response.content.decode()
    assert "Allowed: 200 OK" in words(response.content.decode())
    for wrong in (
        {"path": ""},
        {"service": "svc_nothing"},
        {"address": "nowhere"},
        {"method": "BREW"},
        {"path": key.secret},
    ):
        assert owner.get(address(cast, key, **wrong)).status_code == 422


def test_another_accounts_key_and_service_are_not_found(cast: Cast, owner: Browser, key: Issued) -> None:
    elsewhere = factories.make_service(cast.elsewhere)
    assert owner.get(address(cast, factories.make_key(cast.elsewhere))).status_code == 404
    assert owner.get(address(cast, key, service=elsewhere.id)).status_code == 422


def test_nothing_is_counted(cast: Cast, owner: Browser, key: Issued, service: Service) -> None:
    for _ in range(3):
        assert "99 more requests would pass in this rate limit window." in read(
            owner, address(cast, key, service=service.id)
        )
    counts.flush()
    assert KeyUsage.objects.count() == 0


def test_the_page_agrees_with_the_gateways_answer_and_the_api(
    cast: Cast, owner: Browser, service: Service, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = settings.FAILED_AUTH_LIMIT._replace(limit=1000)
    chance = random.Random(13)

    def one_of(*choices: Any) -> Any:
        return chance.choice(choices)

    Service.objects.update(reading_paths=["/search/*"])
    key = factories.make_key(cast.account)
    never = dict.fromkeys(("revoked_at", "disabled_at", "expires_at"))
    for _ in range(150):
        now = timezone.now()
        state = one_of({}, {}, {}, {"revoked_at": now}, {"disabled_at": now}, {"expires_at": now - timedelta(days=1)})
        entry = {"service": service.id, "paths": ["/reports/*"]}
        access = one_of(None, "[]", json.dumps([entry]), json.dumps([{"service": service.id}, {"service": "api"}]))
        APIKey.objects.filter(pk=key.api_key.pk).update(
            permission=one_of(*KeyPermission),
            allowed_networks=one_of([], [], ["203.0.113.0/24"]),
            access=access,
            **{**never, **state},
        )
        client = one_of("203.0.113.7", "198.51.100.1")
        if one_of(True, False):
            asked = {"method": one_of("GET", "POST"), "path": one_of("/reports/a", "/search/a", "/x", "/a/../b")}
            answer = ask(service, asked["method"], asked["path"], key.secret, client=client)
            status, message = answer.status, answer.message if answer.body else ""
            url = address(cast, key, service=service.id, address=client, **asked)
        else:
            asked = {"method": one_of("GET", "PATCH"), "path": one_of("/v2", "/v2/account", "/v2/members", "/v2/x")}
            real = Client().generic(
                asked["method"],
                asked["path"],
                "{}",
                "application/json",
                secure=True,
                HTTP_X_API_KEY=key.secret,
                REMOTE_ADDR=client,
            )
            status, message = real.status_code, "" if real.status_code == 200 else real.json()["Message"]
            url = address(cast, key, address=client, **asked)
        text = words(owner.get(url, headers=HTMX).content.decode())
        assert f": {status} " in text, (status, message, text)
        assert message in text
