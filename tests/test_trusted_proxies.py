"""Headers about address and scheme are used only from trusted proxies."""

from ipaddress import ip_network
from typing import Any

import pytest
from pytest_django import Settings

from apikeys.models import APIKey
from apikeys.usage import counts
from tests import factories
from tests.conftest import Browser, Cast, Program

pytestmark = pytest.mark.django_db


@pytest.fixture
def behind_a_proxy(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))


def address_seen(key: str, **meta: Any) -> str | None:
    Program(key).get("/v2", **meta)
    counts.flush()
    return APIKey.objects.get().last_used_from


@pytest.mark.parametrize(
    ("forwarded_for", "seen"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
        ("2001:db8::5", "2001:db8::5"),
        ("10.0.0.9, 10.0.0.1", "10.0.0.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("nonsense, 203.0.113.7", "203.0.113.7"),
        (", 203.0.113.7, 10.0.0.1", "203.0.113.7"),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_trusted_proxy(
    cast: Cast, behind_a_proxy: None, forwarded_for: str, seen: str
) -> None:
    key = factories.make_key(cast.account).secret
    headers = {"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": "https"}
    assert address_seen(key, headers=headers) == seen


@pytest.mark.parametrize(
    "forwarded_for",
    [
        "",
        " ",
        ",",
        "nonsense",
        "nonsense, 10.0.0.1",
        "203.0.113.7,",
        "203.0.113.7, , 10.0.0.1",
        "203.0.113.7:4711",
        "[2001:db8::5]:4711",
        "[2001:db8::5]",
        "for=203.0.113.7",
        "203.0.113.007",
        "10.0.0.0/8",
        "203.0.113.7 10.0.0.1",
        "%eth0",
        "unknown",
    ],
)
def test_a_malformed_client_address_is_never_replaced_by_the_proxys_own(
    cast: Cast, behind_a_proxy: None, forwarded_for: str
) -> None:
    key = factories.make_key(cast.account, allowed_networks=["127.0.0.0/8", "10.0.0.0/8"]).secret
    headers = {"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": "https"}
    response = Program(key).get("/v2", headers=headers)

    assert response.status_code == 400
    assert response.json() == {"Message": "The proxy in front of this server sent a malformed X-Forwarded-For."}
    assert response["X-Request-ID"]
    counts.flush()
    assert APIKey.objects.get().last_used_at is None


def test_a_page_is_refused_as_well_and_the_log_names_the_proxy(
    db: None, browser: Browser, behind_a_proxy: None, caplog: pytest.LogCaptureFixture
) -> None:
    response = browser.get("/auth/login/", headers={"X-Forwarded-For": "nonsense", "X-Forwarded-Proto": "https"})

    assert response.status_code == 400
    assert "text/html" in response["Content-Type"]
    assert caplog.messages == ["The proxy at 127.0.0.1 sent a malformed X-Forwarded-For: the request was refused."]


def test_a_request_by_the_proxy_itself_has_the_proxys_address(db: None, browser: Browser, behind_a_proxy: None) -> None:
    assert browser.get("/healthz", plain_http=True).status_code == 200


def test_headers_of_an_untrusted_address_are_ignored(cast: Cast, behind_a_proxy: None) -> None:
    key = factories.make_key(cast.account).secret
    meta: dict[str, Any] = {"REMOTE_ADDR": "203.0.113.7", "headers": {"X-Forwarded-For": "nonsense"}}
    assert Program(key).get("/v2", **meta).status_code == 200


def test_no_proxy_is_trusted_by_default(cast: Cast) -> None:
    key = factories.make_key(cast.account).secret
    assert address_seen(key, headers={"X-Forwarded-For": "203.0.113.7"}) == "127.0.0.1"


def test_a_client_can_not_forge_an_address_in_a_keys_networks(cast: Cast, behind_a_proxy: None) -> None:
    key = factories.make_key(cast.account, allowed_networks=["192.0.2.0/24"]).secret
    forged = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    assert Program(key).get("/v2", REMOTE_ADDR="203.0.113.7", headers=forged).status_code == 403
    appended = {**forged, "X-Forwarded-For": "192.0.2.1, 203.0.113.7"}
    assert Program(key).get("/v2", headers=appended).status_code == 403
    assert Program(key).get("/v2", headers=forged).status_code == 200


@pytest.mark.parametrize(
    ("peer", "proto", "status"),
    [
        ("127.0.0.1", "https", 200),
        ("127.0.0.1", "http", 403),
        ("127.0.0.1", "", 403),
        ("127.0.0.1", "https, http", 403),
        ("127.0.0.1", "https,https", 200),
        ("203.0.113.7", "https", 403),
    ],
)
def test_a_trusted_proxy_decides_whether_it_was_https(
    program: Program, behind_a_proxy: None, peer: str, proto: str, status: int
) -> None:
    response = program.get("/v2", plain_http=True, REMOTE_ADDR=peer, headers={"X-Forwarded-Proto": proto})
    assert response.status_code == status


def test_pages_over_plain_http_lead_to_https_and_the_api_never_does(browser: Browser, program: Program) -> None:
    assert browser.get("/auth/login/", plain_http=True)["Location"] == "https://testserver/auth/login/"
    assert program.get("/v2", plain_http=True).status_code == 403
