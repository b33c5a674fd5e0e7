"""A service's page before its first request: the gateway's configuration, two calls, and the connection status."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone
from pytest_django import Settings

from apikeys.guard.configurations import GATEWAYS
from apikeys.models import Service
from apikeys.usage import problems, questions
from tests import factories
from tests.conftest import Browser, Cast
from tests.html_forms import filled

from .pages import page, read, words

MISSING = "The authorization request has no X-Original-URI. The gateway has to set it to the target."


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account, gateways=["10.0.0.5"], upstream="http://10.0.0.8:3000")


@pytest.fixture(autouse=True)
def _guard_url(settings: Settings) -> None:
    settings.GUARD_URL = "http://10.0.0.2:8000"


def shown(browser: Browser, url: str) -> dict[str, str]:
    """The files on the page, as the buttons copy them."""
    html = browser.get(url).content.decode()
    found = re.findall(r'<pre class="file" id="([^"]+)" role="region"[^>]*>(.*?)</pre>', html, re.DOTALL)
    return {name: unescape(re.sub(r"<[^>]+>", "", text)) for name, text in found}


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
def test_the_page_shows_the_configuration_that_is_downloaded(
    gateway: Any, cast: Cast, owner: Browser, service: Service
) -> None:
    here = page(cast, "service", service.id)
    files = shown(owner, f"{here}?gateway={gateway.name}&host=api.acme.test")
    assert list(files) == list(gateway.files)
    assert service.id in "".join(files.values())
    assert "10.0.0.8" in "".join(files.values())
    assert "10.0.0.2" in "".join(files.values())
    for name, text in files.items():
        url = page(cast, "configuration_file", service.id, gateway.name, name)
        response = owner.get(url, {"host": "api.acme.test"})
        assert response.content.decode() == text
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    first = owner.get(page(cast, "configuration", service.id, gateway.name), {"host": "api.acme.test"})
    assert first.content.decode() == files[next(iter(gateway.files))]


def test_an_unknown_gateway_or_file_is_not_found(cast: Cast, owner: Browser, service: Service) -> None:
    assert owner.get(page(cast, "configuration", service.id, "apache")).status_code == 404
    assert owner.get(page(cast, "configuration_file", service.id, "nginx", "Caddyfile")).status_code == 404
    assert list(shown(owner, f"{page(cast, 'service', service.id)}?gateway=apache")) == ["nginx.conf"]


def test_what_has_to_be_replaced_is_marked_until_it_is_filled_in(cast: Cast, owner: Browser, service: Service) -> None:
    here = page(cast, "service", service.id)
    assert "<mark>api.example.com</mark>" in owner.get(here).content.decode()
    assert 'curl -i https://api.example.com/ -H "X-API-KEY: $KEY"' in read(owner, here)

    html = owner.get(f"{here}?host=api.acme.test").content.decode()
    assert "api.example.com</mark>" not in html
    assert 'curl -i https://api.acme.test/ -H "X-API-KEY: $KEY"' in words(html)


def test_nothing_is_marked_if_a_configuration_has_nothing_to_replace(
    cast: Cast, owner: Browser, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apikeys.guard.configurations.examples", lambda *_, **__: [])
    html = owner.get(page(cast, "service", service.id), {"host": "api.acme.test"}).content.decode()
    assert html.count("<mark>") == 1  # in the sentence that explains them


@pytest.mark.parametrize("host", ["a;b", "a b", "-a", "a{", '"', "a\nb"])
def test_an_invalid_host_name_is_not_filled_in(host: str, cast: Cast, owner: Browser, service: Service) -> None:
    """It would be inserted into a configuration."""
    text = read(owner, f"{page(cast, 'service', service.id)}?{urlencode({'host': host})}")
    assert "Enter a host name, such as api.example.com." in text

    file = owner.get(page(cast, "configuration", service.id, "nginx"), {"host": host}).content.decode()
    assert "server_name api.example.com;" in file


def test_only_its_own_account_sees_the_configuration_of_a_shared_service(cast: Cast, browser: Browser) -> None:
    service = factories.make_service(cast.elsewhere, "Weather API", shared=True, upstream="http://10.9.0.8")
    browser.as_(cast.owner)
    assert "Configuration" not in read(browser, page(cast, "service", service.id))
    for name, more in [
        ("configuration", ["nginx"]),
        ("configuration_file", ["nginx", "nginx.conf"]),
        ("connection", []),
    ]:
        assert browser.get(page(cast, name, service.id, *more)).status_code == 404


# The first authorization request ------------------------------------------------------------------


def test_the_page_waits_for_the_first_authorization_request(cast: Cast, owner: Browser, service: Service) -> None:
    html = owner.get(page(cast, "service", service.id)).content.decode()

    assert "Waiting for the first authorization request" in words(html)
    assert f'hx-get="{page(cast, "connection", service.id)}?seen="' in html
    assert owner.get(page(cast, "connection", service.id), {"seen": ""}).status_code == 204


def test_while_it_waits_it_names_the_proxy_that_may_refuse_the_gateway(
    cast: Cast, owner: Browser, service: Service, settings: Settings
) -> None:
    url = page(cast, "service", service.id)
    assert "the proxy in front of this server" not in words(owner.get(url).content.decode())
    settings.GUARD_URL = "https://keys.example.com"
    assert "the proxy in front of this server refuses your gateway" in words(owner.get(url).content.decode())


def test_the_status_changes_and_polling_stops_on_the_first_request(
    cast: Cast, owner: Browser, service: Service
) -> None:
    questions.record(service.id)
    questions.flush()
    html = owner.get(page(cast, "connection", service.id), {"seen": ""}).content.decode()

    assert "Connected The last authorization request arrived" in words(html)
    assert "hx-get" not in html
    assert 'id="service-state" hx-swap-oob="innerHTML"' in html
    assert 'hx-swap-oob="innerHTML:#last-question"' in html
    loaded = owner.get(page(cast, "service", service.id)).content.decode()
    assert "Connected The last authorization request arrived" in words(loaded)
    assert "hx-swap-oob" not in loaded
    assert 'id="last-question"' in loaded


def test_it_says_which_address_asked_and_offers_to_add_it(cast: Cast, owner: Browser, service: Service) -> None:
    problems.record(service.id, "10.0.0.9", problems.unlisted("10.0.0.9"))
    problems.flush()
    html = owner.get(page(cast, "connection", service.id), {"seen": ""}).content.decode()

    assert "A request came from 10.0.0.9, which is not among this service's gateways" in words(html)
    edit = f"{page(cast, 'edit_service', service.id)}?gateway=10.0.0.9"
    assert f'href="{edit}"' in html
    seen = problems.unlisted("10.0.0.9")
    assert owner.get(page(cast, "connection", service.id), {"seen": seen}).status_code == 204

    form = owner.get(edit)
    service.refresh_from_db()
    assert service.gateways == ["10.0.0.5/32"]
    owner.post(page(cast, "edit_service", service.id), filled(form, "name"))
    service.refresh_from_db()
    assert service.gateways == ["10.0.0.5/32", "10.0.0.9/32"]
    assert (service.upstream, service.preflight) == ("http://10.0.0.8:3000", False)
    assert "Waiting for the first authorization request" in read(owner, page(cast, "service", service.id))


@pytest.mark.parametrize("address", ["10.0.0.9", "2001:db8::9"])
def test_an_address_is_read_from_its_message(address: str) -> None:
    assert problems.unlisted_in(problems.unlisted(address)) == address
    assert problems.unlisted_in(MISSING) == ""


def test_it_says_what_a_gateways_configuration_lacks(cast: Cast, owner: Browser, service: Service) -> None:
    """Even such a gateway did send a request, so the page can say what is missing."""
    questions.record(service.id)
    problems.record(service.id, "10.0.0.5", MISSING)
    problems.flush()
    questions.flush()
    text = read(owner, page(cast, "service", service.id))

    assert f"The last authorization request was refused {MISSING}" in text
    assert "The last authorization request arrived" not in text


def test_a_valid_request_after_a_problem_shows_connected(cast: Cast, owner: Browser, service: Service) -> None:
    now = timezone.now()
    Service.objects.update(problem=MISSING, problem_at=now - timedelta(seconds=9), last_question_at=now)

    text = read(owner, page(cast, "service", service.id))
    assert "Connected The last authorization request arrived" in text
    assert MISSING not in text


def test_a_user_sees_who_may_change_the_service(cast: Cast, browser: Browser, service: Service) -> None:
    browser.as_(cast.user)
    Service.objects.update(problem=problems.unlisted("10.0.0.9"), problem_at=timezone.now())
    html = browser.get(page(cast, "service", service.id)).content.decode()

    assert "An Owner or Admin can fix this." in words(html)
    assert "?gateway=10.0.0.9" not in html


def test_the_page_shows_the_gateway_and_host_again_that_were_chosen_before(
    cast: Cast, owner: Browser, service: Service
) -> None:
    url = page(cast, "service", service.id)
    owner.get(f"{url}?gateway=caddy&host=api.acme.test")
    assert shown(owner, url) == shown(owner, f"{url}?gateway=caddy&host=api.acme.test")
    assert [*shown(owner, f"{url}?host=other.acme.test")] == ["Caddyfile"]
    assert "https://other.acme.test {" in shown(owner, url)["Caddyfile"]
    assert "https://api.example.com {" in shown(owner, f"{url}?host=")["Caddyfile"]
    other = factories.make_service(cast.account, "Other")
    assert [*shown(owner, page(cast, "service", other.id))] == ["nginx.conf"]
