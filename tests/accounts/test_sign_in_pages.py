"""Signing in and up, passwords and e-mail addresses, under /auth/."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from accounts.models import Account, Membership, User
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.mail import delivered

LOGIN = reverse("account_login")
RESET = reverse("account_reset_password")
SIGNUP = reverse("account_signup")
ANOTHER = "a fresh horse on a new battery"


@pytest.fixture(autouse=True)
def _clear_limits() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def sign_in(browser: Browser, email: str, password: str = PASSWORD, **data: str) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password, **data})


def link_in(message: Any) -> str:
    found = re.search(r"https://testserver(/\S+)", str(message.body))
    assert found
    return found[1]


def test_e_mail_and_password_are_on_one_page(browser: Browser) -> None:
    page = browser.get(LOGIN).content.decode()

    assert page.count("<h1>") == 1
    assert re.search(r'<label for="id_login">E-mail</label>', page)
    assert re.search(r'<label for="id_password">Password</label>', page)


def test_signing_in_leads_to_the_overview(cast: Cast, browser: Browser) -> None:
    response = browser.post(LOGIN, {"login": "Owner@Example.com", "password": PASSWORD}, follow=True)

    assert response.redirect_chain[-1][0] == reverse("overview", args=[cast.account.slug])


def test_signing_in_leads_back_to_the_requested_page(cast: Cast, browser: Browser) -> None:
    wanted = reverse("apikeys:keys", args=[cast.account.slug])

    assert sign_in(browser, "owner@example.com", next=wanted).headers["Location"] == wanted


def test_signing_in_never_leads_to_another_site(cast: Cast, browser: Browser) -> None:
    response = sign_in(browser, "owner@example.com", next="https://evil.example/")

    assert response.headers["Location"] == reverse("home")


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(cast: Cast, browser: Browser) -> None:
    wrong = sign_in(browser, "owner@example.com", "wrong")
    unknown = sign_in(browser, "nobody@example.com", "wrong")

    def told(response: Any, email: str) -> str:
        page = response.content.decode().replace(email, "")
        return re.sub(r'value="[^"]{64}"', "", page)

    assert wrong.status_code == unknown.status_code == 200
    assert "The e-mail address or password is incorrect." in wrong.content.decode()
    assert told(wrong, "owner@example.com") == told(unknown, "nobody@example.com")


def test_guessing_is_limited(cast: Cast, browser: Browser) -> None:
    for _ in range(6):
        response = sign_in(browser, "owner@example.com", "wrong")

    assert "Too many failed login attempts" in response.content.decode()


def test_signing_out_is_a_post(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    asked = browser.get(reverse("account_logout"))
    still_in = browser.get(reverse("accounts:profile")).status_code
    browser.post(reverse("account_logout"))

    assert asked.status_code == 200
    assert still_in == 200
    assert browser.get(reverse("accounts:profile")).status_code == 302


def test_a_forgotten_password_is_reset_by_mail(cast: Cast, browser: Browser) -> None:
    browser.post(RESET, {"email": "owner@example.com"})
    form = browser.get(link_in(delivered()[0]), follow=True)
    changed = browser.post(form.request["PATH_INFO"], {"password1": ANOTHER, "password2": ANOTHER}, follow=True)

    assert delivered()[0].subject == "Reset your password"
    assert link_in(delivered()[0]) in delivered()[0].alternatives[0].content
    assert "Password saved" in changed.content.decode()
    assert sign_in(browser, "owner@example.com", ANOTHER).status_code == 302


def test_a_reset_link_works_once(cast: Cast, browser: Browser) -> None:
    browser.post(RESET, {"email": "owner@example.com"})
    link = link_in(delivered()[0])
    form = browser.get(link, follow=True)
    browser.post(form.request["PATH_INFO"], {"password1": ANOTHER, "password2": ANOTHER})

    assert "This link doesn't work" in Browser().get(link, follow=True).content.decode()


def test_a_weak_new_password_is_refused_at_its_field(cast: Cast, browser: Browser) -> None:
    browser.post(RESET, {"email": "owner@example.com"})
    form = browser.get(link_in(delivered()[0]), follow=True)
    page = browser.post(form.request["PATH_INFO"], {"password1": "short", "password2": "short"}).content.decode()

    assert 'aria-invalid="true"' in page
    assert "at least 10 characters" in page


def test_a_reset_for_an_undeliverable_address_is_refused(db: None, browser: Browser) -> None:
    response = browser.post(RESET, {"email": f"a@{'ä' * 60}.com"})

    assert "Enter a valid email address." in response.content.decode()
    assert not delivered()


def test_requesting_a_reset_does_not_reveal_who_is_registered(cast: Cast, browser: Browser) -> None:
    known = browser.post(RESET, {"email": "owner@example.com"}, follow=True)
    unknown = browser.post(RESET, {"email": "nobody@example.com"}, follow=True)

    assert known.redirect_chain == unknown.redirect_chain
    assert known.content == unknown.content
    assert [message.to for message in delivered()] == [["owner@example.com"], ["nobody@example.com"]]
    assert "reset/key" not in delivered()[1].body


def test_changing_the_password_needs_the_old_one(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    change = reverse("account_change_password")
    refused = browser.post(change, {"oldpassword": "wrong", "password1": ANOTHER, "password2": ANOTHER})
    browser.post(change, {"oldpassword": PASSWORD, "password1": ANOTHER, "password2": ANOTHER})

    assert "aria-invalid" in refused.content.decode()
    assert User.objects.get(pk=cast.owner.pk).check_password(ANOTHER)
    assert [(message.to, message.subject) for message in delivered()] == [
        (["owner@example.com"], "Your password was changed")
    ]
    assert "IP address: 127.0.0.1" in delivered()[0].body
    assert "testserver" in delivered()[0].body


def test_signing_up_is_closed_unless_opened(db: None, browser: Browser) -> None:
    page = browser.get(SIGNUP)
    browser.post(SIGNUP, {"email": "new@example.com", "password1": PASSWORD, "password2": PASSWORD})

    assert "Sign-up is closed" in page.content.decode()
    assert SIGNUP not in browser.get(LOGIN).content.decode()
    assert not User.objects.exists()


def test_signing_up_creates_an_account_with_its_owner(db: None, browser: Browser, settings: Settings) -> None:
    settings.SIGNUP_OPEN = True
    form = {"email": "new@example.com", "password1": PASSWORD, "password2": PASSWORD, "account_name": "New & Co"}
    told = browser.post(SIGNUP, form, follow=True)
    before = sign_in(browser, "new@example.com")
    link = link_in(delivered()[0])
    browser.get(link)
    browser.post(link)

    account = Account.objects.get()
    owner = Membership.objects.get(account=account)
    assert "Check your e-mail" in told.content.decode()
    assert before.headers["Location"] == reverse("account_email_verification_sent")
    assert (account.name, owner.role, owner.user.email) == ("New & Co", "owner", "new@example.com")
    assert sign_in(Browser(), "new@example.com").headers["Location"] == reverse("home")


def test_signing_up_with_a_registered_address_looks_the_same_and_creates_nothing(
    cast: Cast, browser: Browser, settings: Settings
) -> None:
    settings.SIGNUP_OPEN = True
    before = Account.objects.count()
    form = {"email": "owner@example.com", "password1": PASSWORD, "password2": PASSWORD, "account_name": "Copy"}
    told = browser.post(SIGNUP, form, follow=True)

    assert "Check your e-mail" in told.content.decode()
    assert delivered()[0].subject == "You are already registered"
    assert Account.objects.count() == before


def test_signing_up_with_a_registered_address_does_the_same_work(
    cast: Cast, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both cases, the slow parts are one hash and the same rows, which may be rolled back."""
    settings.SIGNUP_OPEN = True
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

    def cost(email: str) -> tuple[list[str], Counter[str], int]:
        form = {"email": email, "password1": PASSWORD, "password2": PASSWORD, "account_name": "Copy"}
        hashed.clear()
        delivered().clear()
        with CaptureQueriesContext(connection) as queries:
            Browser().post(SIGNUP, form)
        written = (re.match(r'INSERT INTO "(\w+)"', query["sql"]) for query in queries)
        return [*hashed], Counter(found[1] for found in written if found), len(delivered())

    taken, new = cost("owner@example.com"), cost("new@example.com")

    assert taken == new
    assert taken[0] == [PASSWORD]
    assert {"accounts_user", "accounts_account", "accounts_membership"} <= set(taken[1])
    assert not Account.objects.filter(name="Copy").exclude(memberships__user__email="new@example.com").exists()
    assert not User.objects.filter(email__endswith="@invalid").exists()


def test_a_second_address_is_confirmed_and_made_primary(cast: Cast, browser: Browser) -> None:
    page = reverse("account_email")
    browser.as_(cast.owner).post(page, {"email": "work@example.com", "action_add": ""})
    browser.post(link_in(delivered()[0]))
    browser.post(page, {"email": "work@example.com", "action_primary": ""})

    assert User.objects.get(pk=cast.owner.pk).email == "work@example.com"


@pytest.mark.parametrize(
    "name",
    [
        "account_login",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key_done",
        "account_signup",
        "account_email_verification_sent",
        "account_inactive",
    ],
)
def test_every_anonymous_page_has_one_heading_a_title_and_no_inline_code(name: str, db: None, browser: Browser) -> None:
    page = browser.get(reverse(name)).content.decode()

    assert page.count("<h1>") == 1
    assert not re.search(r"<h1>\s*</h1>|<title>\s*·", page)
    assert not re.search(r"<style|<script(?![^>]*(?:src=|application/json))| style=| on[a-z]+=", page)


@pytest.mark.parametrize(
    "name", ["account_logout", "account_email", "account_change_password", "account_reauthenticate"]
)
def test_every_signed_in_page_has_one_heading_a_title_and_no_inline_code(
    name: str, cast: Cast, browser: Browser
) -> None:
    page = browser.as_(cast.owner).get(reverse(name)).content.decode()

    assert page.count("<h1>") == 1
    assert not re.search(r"<h1>\s*</h1>|<title>\s*·", page)
    assert not re.search(r"<style|<script(?![^>]*(?:src=|application/json))| style=| on[a-z]+=", page)
