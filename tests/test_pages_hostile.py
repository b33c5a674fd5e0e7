"""What strangers put into addresses, queries and forms never makes a page fall over."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django import forms
from django.core.cache import cache

from tests.accounts.test_sessions import visits
from tests.conftest import Browser, Cast

#: What pages read by themselves, without a form.
READ = {"page", "days", "guide", "next", "id", "sort", "q", "login", "password", "code", "credential"}

#: NUL, which PostgreSQL stores nowhere; half a character; a year and a number that are none; what isn't UTF-8.
ODD = ["a\x00b", "\ud800", "99999-01-01", "9" * 400, "\udcff"]

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
    """The name of each field of each form there is."""

    def below(form: type[forms.BaseForm]) -> Iterator[type[forms.BaseForm]]:
        for one in form.__subclasses__():
            yield one
            yield from below(one)

    return READ | {name for form in below(forms.BaseForm) for name in getattr(form, "base_fields", {})}


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("signed_in", [True, False])
def test_no_page_falls_over_odd_text(signed_in: bool, value: str, cast: Cast) -> None:
    text = quote(value.encode("utf-8", "surrogatepass"), safe="")
    sent = "&".join(f"{name}={text}" for name in sorted(every_field()))
    browser = Browser(raise_request_exception=False)
    fell = []
    for method, address in visits(cast):
        cache.clear()
        if signed_in:
            browser.force_login(cast.owner)
        body = {"data": sent, "content_type": "application/x-www-form-urlencoded"} if method == "post" else {}
        if getattr(browser, method)(f"{address}?{sent}", **body).status_code >= 500:
            fell.append((method, address))

    assert not fell


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_makes_a_page_fall_over(address: str, cast: Cast, browser: Browser) -> None:
    for person in (None, cast.owner):
        if person:
            browser.as_(person)
        for ask in (browser.get, browser.post):
            assert ask(address).status_code < 500
