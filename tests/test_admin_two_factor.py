"""Only operators with a second factor can open Django admin. They can reset the second factors of others."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib import admin
from django.core.management import call_command
from django.urls import reverse

from accounts.audit import Event
from accounts.models import AuditEvent, User

from . import factories
from .accounts.test_two_factor import code, set_up
from .admin_pages import act, admin_url, told
from .conftest import Browser, Cast


@pytest.fixture
def newcomer(db: None, browser: Browser) -> Browser:
    """The browser of an operator who has no second factor."""
    return browser.as_(User.objects.create_superuser("first@example.com", factories.PASSWORD))


def test_the_first_operator_is_redirected_to_set_up_two_factor_and_back(
    db: None, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", factories.PASSWORD)
    call_command("createsuperuser", email="first@example.com", interactive=False, verbosity=0)
    people = admin_url(User, "changelist")
    led = browser.get(people, follow=True).redirect_chain[-1][0]
    assert led.startswith(reverse("account_login"))
    signed_in = browser.post(led, {"login": "first@example.com", "password": factories.PASSWORD, "next": people})
    assert signed_in.headers["Location"] == people
    told = browser.get(people, follow=True)
    assert told.redirect_chain[-1][0].startswith(reverse("mfa_index"))
    assert "Django admin requires two-factor authentication" in told.content.decode()
    assert "Go to Django admin" not in told.content.decode()

    set_up(browser)
    assert f'href="{reverse("admin:login")}">Go to Django admin' in browser.get(reverse("mfa_index")).content.decode()
    back = browser.get(reverse("admin:login"), follow=True)
    assert back.status_code == 200
    assert back.redirect_chain == [(people, 302)]


def _routes(patterns: Any, prefix: str = "/admin/") -> Iterator[str]:
    for entry in patterns:
        route = prefix + str(entry.pattern).lstrip("^")
        yield from _routes(entry.url_patterns, route) if hasattr(entry, "url_patterns") else [route]


def test_no_page_of_admin_opens_without_a_second_factor(newcomer: Browser) -> None:
    urls = {re.sub(r"<[^>]*>|\(\?P.*", "1", route) for route in _routes(admin.site.get_urls())}
    assert urls > {admin_url(model, page) for model in admin.site._registry for page in ("changelist", "add")}
    assert reverse("admin:accounts_account_delete", args=["1"]) in urls
    sign_in_steps = tuple(reverse(name) for name in ("admin:login", "admin:index", "mfa_index"))
    for url in urls:
        for method in (newcomer.get, newcomer.post):
            answer = method(url, {"q": "a"})
            assert answer.status_code == 302, url
            assert answer.headers["Location"].startswith(sign_in_steps), url


def test_recovery_codes_alone_are_not_a_second_factor(newcomer: Browser) -> None:
    RecoveryCodes.activate(User.objects.get())
    assert newcomer.get("/admin/").status_code == 302


def test_a_passkey_opens_admin(newcomer: Browser) -> None:
    operator = User.objects.get()
    Authenticator.objects.create(user=operator, type="webauthn", data={"name": "Key", "credential": {}})
    assert newcomer.get("/admin/login/").headers["Location"].startswith(reverse("mfa_reauthenticate_webauthn"))
    assert newcomer.as_(operator).get("/admin/").status_code == 200


def test_a_session_older_than_the_factor_has_to_enter_it(db: None, browser: Browser) -> None:
    operator = User.objects.create_superuser("first@example.com", factories.PASSWORD)
    stolen = Browser()
    for session in (browser, stolen):
        session.post(reverse("account_login"), {"login": operator.email, "password": factories.PASSWORD})
    secret = set_up(browser)
    assert browser.get("/admin/").status_code == 200
    assert stolen.get("/admin/").status_code == 302
    people = admin_url(User, "changelist")
    asked = stolen.get(people, follow=True)
    assert asked.redirect_chain[-1][0].startswith(reverse("mfa_reauthenticate"))
    asked = stolen.post(asked.redirect_chain[-1][0], {"code": code(secret), "next": people}, follow=True)
    assert asked.redirect_chain[-1][0] == people
    assert asked.status_code == 200


def test_admins_own_sign_in_form_is_not_used(browser: Browser, operator: User, cast: Cast) -> None:
    for person in (operator, cast.owner):
        form = {"username": person.email, "password": factories.PASSWORD, "next": "/admin/"}
        assert browser.post("/admin/login/", form).headers["Location"].startswith(reverse("account_login"))
        assert browser.get("/admin/").status_code == 302
    browser.as_(cast.owner)
    assert browser.post("/admin/login/", form).status_code == 403


def test_admin_redirects_to_no_other_host(desk: Browser) -> None:
    assert desk.get("/admin/login/?next=https://evil.example/").headers["Location"] == "/admin/"


def test_no_page_of_admin_shows_second_factors(desk: Browser, operator: User) -> None:
    secret = Authenticator.objects.get(user=operator).data["secret"]
    assert Authenticator not in admin.site._registry
    for page in ("/admin/", "/admin/mfa/", admin_url(operator, "change"), admin_url(operator, "delete")):
        assert secret not in desk.get(page).content.decode()
    assert desk.get("/admin/mfa/authenticator/").status_code == 404


def test_an_operators_reset_of_two_factor_is_recorded(desk: Browser, cast: Cast) -> None:
    factories.give_second_factor(cast.user)
    theirs = Browser()
    theirs.as_(cast.user).get(reverse("accounts:profile"))
    assert told(act(desk, "reset_two_factor", cast.user, cast.admin)) == [
        "admin@example.com has no two-factor authentication.",
        "1 reset.",
    ]
    assert not Authenticator.objects.filter(user=cast.user).exists()
    assert theirs.get(reverse("accounts:profile")).status_code == 302
    event = AuditEvent.objects.get(event=Event.MEMBER_TWO_FACTOR_RESET)
    assert (event.account, event.actor_label, event.target_label) == (
        cast.account,
        "operator@example.com",
        "user@example.com",
    )
