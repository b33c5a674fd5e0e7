"""Malformed URLs, queries and forms never cause a server error."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django import forms
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.cache import cache
from django.db import transaction
from django.urls import reverse
from pytest_django import Settings

from tests import factories
from tests.accounts.test_sessions import visits
from tests.conftest import Browser, Cast

URLENCODED = "application/x-www-form-urlencoded"

#: Query parameters that pages read without a form.
READ = {"page", "days", "step", "seen", "gateway", "next", "id", "sort", "q", "login", "password", "code", "credential"}

#: NUL, which PostgreSQL can't store; half a character, whose bytes aren't UTF-8; an invalid year and number.
ODD = ["a\x00b", "\ud800", "99999-01-01", "9" * 400]

ADDRESSES = [
    "/%00",
    "/accounts/%00/",
    "/accounts/acme%00/settings/",
    "/accounts/acme/projects/prj_%00/",
    "/accounts/acme/settings/api-keys/key_%00/",
    "/accounts/acme/settings/members/mem_%00/remove/",
    "/invitations/%00/",
    "/invitations/%ED%A0%80/",
    "/invitations/%FF/",
    "/auth/confirm-email/%00/",
    "/auth/confirm-email/%ED%A0%80/",
    "/auth/password/reset/key/%00-%00/",
    "/auth/password/reset/key/1-%ED%A0%80/",
    f"/auth/password/reset/key/{'z' * 40}-x/",
    "/static/%00",
]


def every_field() -> set[str]:
    """The names of all fields of all forms."""

    def below(form: type[forms.BaseForm]) -> Iterator[type[forms.BaseForm]]:
        for one in form.__subclasses__():
            yield one
            yield from below(one)

    return READ | {name for form in below(forms.BaseForm) for name in getattr(form, "base_fields", {})}


def _that_crash(browser: Browser, requests: Iterable[tuple[str, str]], value: str) -> list[tuple[str, str]]:
    text = quote(value.encode("utf-8", "surrogatepass"), safe="")
    sent = "&".join(f"{name}={text}" for name in sorted(every_field()))
    fell = []
    for method, address in requests:
        cache.clear()
        body = {"data": sent, "content_type": URLENCODED} if method == "post" else {}
        with transaction.atomic():
            if getattr(browser, method)(f"{address}?{sent}", **body).status_code >= 500:
                fell.append((method, address))
            transaction.set_rollback(True)  # the next page finds everything as it was
    return fell


@pytest.mark.parametrize("value", ODD)
def test_unusual_text_crashes_no_page(value: str, cast: Cast) -> None:
    browser = Browser(raise_request_exception=False).as_(cast.owner)

    assert not _that_crash(browser, visits(cast), value)
    assert SESSION_KEY in browser.session


@pytest.mark.parametrize("value", ODD)
def test_unusual_text_of_a_visitor_crashes_no_page(value: str, cast: Cast) -> None:
    """One page of an account is enough: the decorator of all redirects a visitor before it reads anything else."""
    account = reverse("overview", args=[cast.account.slug])
    requests = [
        (method, address)
        for method, address in visits(cast)
        if address == account or not address.startswith(f"/accounts/{cast.account.slug}/")
    ]

    assert len(requests) > 20
    assert not _that_crash(Browser(raise_request_exception=False), requests, value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_crashes_a_page(address: str, cast: Cast, browser: Browser) -> None:
    for person in (None, cast.owner):
        if person:
            browser.as_(person)
        for ask in (browser.get, browser.post):
            assert ask(address).status_code < 500


MULTIPART_WITHOUT_BOUNDARY = "multipart/form-data"
MULTIPART = "multipart/form-data; boundary=B"
OTHER_HOST = {"HTTP_HOST": "elsewhere.example"}


@pytest.mark.parametrize("charset", ["latin1", "UTF8", "shift_jis", "euc-kr", "gb18030"])
@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART, "application/json"])
@pytest.mark.parametrize("address", ["/", "/auth/login/", "/admin/accounts/project/", "/nowhere/"])
def test_no_charset_that_a_client_names_crashes_a_page(
    content_type: str, charset: str, address: str, cast: Cast
) -> None:
    browser = Browser(raise_request_exception=False).as_(factories.make_operator())
    browser.cookies[settings.CSRF_COOKIE_NAME] = "a" * 32
    response = browser.generic(
        "POST", f"{address}?q=%ED%A0%80", b"a=b", content_type=f"{content_type}; charset={charset}"
    )
    assert response.status_code < 500


@pytest.mark.parametrize("content_type", [MULTIPART_WITHOUT_BOUNDARY, MULTIPART, f"{URLENCODED}; charset=latin1"])
@pytest.mark.parametrize(
    ("address", "headers"), [("/auth/login/", OTHER_HOST), ("/nowhere/", {}), ("/auth/login/", {})]
)
def test_a_malformed_form_turns_no_refusal_into_a_server_error(
    content_type: str, address: str, headers: dict[str, Any], db: None, settings: Settings
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://testserver"]
    browser = Browser(raise_request_exception=False, enforce_csrf_checks=True)
    browser.cookies[settings.CSRF_COOKIE_NAME] = "a" * 32
    headers = {**headers, "HTTP_ORIGIN": "https://testserver"}
    response = browser.generic("POST", address, b"abc", content_type=content_type, **headers)
    assert 400 <= response.status_code < 500


def test_a_form_that_was_cut_off_changes_nothing(cast: Cast, browser: Browser) -> None:
    project = factories.make_project(cast.account, "web")
    body = '--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nWebs'
    address = f"/accounts/acme/projects/{project.id}/edit/"
    answers = [
        browser.as_(cast.owner).generic("POST", address, body + end, content_type=MULTIPART).status_code
        for end in ("", "ite\r\n--B--\r\n")
    ]
    assert answers == [400, 302]
    project.refresh_from_db()
    assert project.name == "Website"


@pytest.mark.parametrize("back", ["%zz", "nowhere", "a:b", "http://["])
def test_sign_in_of_admin_redirects_to_no_malformed_url(back: str, db: None) -> None:
    operator = Browser(raise_request_exception=False).as_(factories.make_operator())
    assert operator.get("/admin/login/", {"next": back}).status_code < 500


@pytest.mark.parametrize("value", ["a", "-1", "9" * 23, "1.5", "x" * 300])
@pytest.mark.parametrize(
    ("address", "field"),
    [("project", "account"), ("membership", "account"), ("membership", "user"), ("account", "owner")],
)
def test_a_choice_that_was_not_offered_does_not_crash_admin(address: str, field: str, value: str, db: None) -> None:
    operator = Browser(raise_request_exception=False).as_(factories.make_operator())
    assert operator.post(f"/admin/accounts/{address}/add/", {field: value, "name": "x"}).status_code < 500
    assert operator.get(f"/admin/accounts/{address}/add/", {field: value}).status_code < 500


@pytest.mark.parametrize("address", ["/auth/login/", "/auth/signup/", "/auth/logout/", "/auth/reauthenticate/"])
@pytest.mark.parametrize("back", ["http://[", "//[", "https://[::1/x", "%zz"])
def test_a_malformed_next_url_crashes_no_sign_in_page(address: str, back: str, cast: Cast) -> None:
    for browser in (Browser(raise_request_exception=False), Browser(raise_request_exception=False).as_(cast.owner)):
        for ask in (browser.get, browser.post):
            assert ask(f"{address}?next={quote(back)}").status_code < 500
            assert ask(address, {"next": back, "password": factories.PASSWORD}).status_code < 500
