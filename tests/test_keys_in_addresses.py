"""A key in the URL of a page: the answer doesn't repeat it."""

import re
from urllib.parse import quote

import pytest

from .conftest import Browser, Cast, SecureClient

KEY = "k-of-another-system-0123456789"


@pytest.mark.parametrize("plain_http", [False, True])
@pytest.mark.parametrize(
    "address",
    [
        f"/?api_key={KEY}",
        f"/?a=1&api_key={KEY}&b=%ff",
        f"/?%61pi_key={KEY}",
        f"/accounts?api_key={KEY}",
        f"/accounts/acme/?api_key={KEY}&days=7",
        f"/admin/?api_key={KEY}",
        f"/admin/accounts?api_key={KEY}",
        f"/auth/login/?api_key={KEY}&next=/accounts/",
        f"/auth/login/?next={quote(f'/?api_key={KEY}')}",
        f"/auth/login/?next={quote(quote(f'/accounts/?days=7&api_key={KEY}'))}",
        f"/nowhere?api_key={KEY}",
    ],
)
def test_no_answer_repeats_the_key(db: None, address: str, plain_http: bool) -> None:
    answer = SecureClient().get(address, plain_http=plain_http)
    assert answer.status_code in (200, 301, 302, 404)
    assert KEY not in str(answer.headers)
    assert KEY not in answer.content.decode()


def test_the_rest_of_the_query_is_kept(db: None) -> None:
    answer = SecureClient().get(f"/accounts?a=1&api_key={KEY}&b=%ff+x&event=api_key.created", plain_http=True)
    assert answer.headers["location"] == "https://testserver/accounts?a=1&b=%FF+x&event=api_key.created"


def test_a_query_without_a_key_is_passed_on_unchanged(db: None) -> None:
    answer = SecureClient().get("/accounts?a=1&&b=%e9%zz+x%20;c&api_keys=2", plain_http=True)
    assert answer.headers["location"] == "https://testserver/accounts?a=1&&b=%e9%zz+x%20;c&api_keys=2"


def test_links_of_a_fragment_of_a_page_that_was_opened_with_a_key_have_no_key(db: None) -> None:
    page = f"https://testserver/accounts/acme/?days=7&api_key={KEY}"
    answer = SecureClient().get("/accounts/acme/", headers={"HX-Request": "true", "HX-Current-URL": page})
    assert answer.headers["HX-Redirect"] == f"/auth/login/?next={quote('/accounts/acme/?days=7', safe='')}"


def test_no_form_of_a_page_is_sent_to_a_url_with_the_key(cast: Cast) -> None:
    browser = Browser()
    browser.force_login(cast.owner)
    page = browser.get(f"/accounts/acme/settings/api-keys/?api_key={KEY}&q=x").content.decode()
    assert re.search("<form", page)
    assert KEY not in page
