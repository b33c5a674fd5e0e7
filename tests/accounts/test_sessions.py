"""How long a session lasts, what counts as authentication in it, and the cookies that pages set."""

import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.conf import settings as installed
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.decorators import is_recently_authenticated
from accounts.models import User
from tests import factories
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.mail import delivered
from tests.servers import ROOT, Installation
from tests.test_pages_access import GIVEN_BESIDE, OPEN_TO_ALL, PAGES_OF_A_PERSON, PAGES_OF_AN_ACCOUNT, ROUTES

PROFILE = reverse("accounts:profile")
LOGIN = reverse("account_login")
DAY = 24 * 3600


@pytest.fixture(autouse=True)
def _clear_limits() -> None:
    cache.clear()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the clock forward by this many seconds."""
    moment, clock, now = [0.0], time.time, timezone.now
    monkeypatch.setattr("time.time", lambda: clock() + moment[0])
    monkeypatch.setattr("django.utils.timezone.now", lambda: now() + timedelta(seconds=moment[0]))

    def pass_by(seconds: float) -> None:
        moment[0] += seconds

    return pass_by


# Ways of signing in ------------------------------------------------------------------------------


def by_password(cast: Cast, browser: Browser) -> None:
    browser.post(LOGIN, {"login": "owner@example.com", "password": PASSWORD, "remember": "on"})


def by_second_factor(cast: Cast, browser: Browser) -> None:
    TOTP.activate(cast.owner, generate_totp_secret())
    code = RecoveryCodes.activate(cast.owner).get_unused_codes()[0]
    by_password(cast, browser)
    browser.post(reverse("mfa_authenticate"), {"code": code})


def by_invitation(cast: Cast, browser: Browser) -> None:
    sent = factories.make_invitation(cast.account, "new@example.com")
    browser.post(reverse("accounts:invitation", args=[sent.token]), {"name": "", "password": PASSWORD})


def by_signing_up(cast: Cast, browser: Browser) -> None:
    form = {"email": "new@example.com", "password1": PASSWORD, "password2": PASSWORD, "account_name": "New"}
    browser.post(reverse("account_signup"), form)
    found = re.search(r"https://testserver(/\S+)", str(delivered()[-1].body))
    assert found
    browser.post(found[1])
    browser.post(LOGIN, {"login": "new@example.com", "password": PASSWORD})


def by_admin(cast: Cast, browser: Browser) -> None:
    User.objects.filter(pk=cast.owner.pk).update(is_staff=True, is_superuser=True)
    asked = browser.get(reverse("admin:login"), follow=True)
    browser.post(asked.request["PATH_INFO"], {"login": "owner@example.com", "password": PASSWORD})


WAYS = [by_password, by_second_factor, by_invitation, by_signing_up, by_admin]


@pytest.mark.parametrize("sign_in", WAYS)
def test_a_session_ends_session_days_after_the_sign_in_even_if_used(
    sign_in: Any, cast: Cast, browser: Browser, settings: Settings, later: Any
) -> None:
    settings.SIGNUP_OPEN, settings.SESSION_DAYS = True, 3
    sign_in(cast, browser)
    used = []
    for _ in range(5):
        used.append(browser.get(PROFILE).status_code)
        later(14 * 3600)  # the last of them 56 hours after the sign-in
    used.append(browser.get(PROFILE).status_code)  # 70
    later(2 * 3600 + 60)

    assert used == [200] * 6
    assert browser.get(PROFILE).status_code == 302


@pytest.mark.parametrize("sign_in", WAYS)
def test_using_a_session_does_not_extend_it(
    sign_in: Any, cast: Cast, browser: Browser, settings: Settings, later: Any
) -> None:
    settings.SIGNUP_OPEN, settings.SESSION_DAYS = True, 3
    sign_in(cast, browser)
    end = timezone.now() + timedelta(days=3)
    later(2 * DAY)
    browser.get(PROFILE)

    row = Session.objects.get(pk=browser.session.session_key)
    assert row.expire_date <= end
    assert int(browser.cookies[installed.SESSION_COOKIE_NAME]["max-age"]) <= DAY


def test_fewer_session_days_apply_to_existing_sessions(
    cast: Cast, browser: Browser, settings: Settings, later: Any
) -> None:
    by_password(cast, browser)
    later(2 * DAY)
    before = browser.get(PROFILE).status_code
    settings.SESSION_DAYS = 1

    assert (before, browser.get(PROFILE).status_code) == (200, 302)


def test_a_session_without_a_sign_in_time_has_ended(cast: Cast, browser: Browser) -> None:
    by_password(cast, browser)
    session = browser.session
    del session["signed_in_at"]
    session.save()

    assert browser.get(PROFILE).status_code == 302


def test_an_unused_session_ends_after_at_most_two_weeks(cast: Cast, browser: Browser, later: Any) -> None:
    by_password(cast, browser)
    later(14 * DAY + 1)

    assert browser.get(PROFILE).status_code == 302


# Recent authentication ---------------------------------------------------------------------------


def test_a_sign_in_elsewhere_does_not_count_in_this_session(cast: Cast, browser: Browser, later: Any) -> None:
    browser.as_(cast.owner)
    new_key = reverse("apikeys:new_key", args=[cast.account.slug])
    fresh = browser.get(new_key).status_code
    later(31 * 60)
    by_password(cast, Browser())

    assert (fresh, browser.get(new_key).status_code) == (200, 302)


def test_signing_in_to_admin_counts(cast: Cast, browser: Browser) -> None:
    by_admin(cast, browser)

    assert browser.get(reverse("apikeys:new_key", args=[cast.account.slug])).status_code == 200


def test_a_session_without_records_is_not_recently_authenticated(cast: Cast, browser: Browser, rf: Any) -> None:
    request = rf.get("/")
    request.user, request.session = cast.owner, {}
    cast.owner.last_login = timezone.now()

    assert not is_recently_authenticated(request)


# Cookies -----------------------------------------------------------------------------------------


def visits(cast: Cast) -> list[tuple[str, str]]:
    """Every page by GET and by POST, with allauth's and admin's."""
    ids = {
        "api-keys/": factories.make_key(cast.account).api_key.id,
        "projects/": factories.make_project(cast.account).id,
        "services/": factories.make_service(cast.account).id,
        "members/": "mem_0",
    }
    addresses = [LOGIN, reverse("account_reset_password"), reverse("account_signup"), reverse("admin:login")]
    for name in {*PAGES_OF_AN_ACCOUNT, *PAGES_OF_A_PERSON, *OPEN_TO_ALL}:
        given = {"slug": cast.account.slug} if name in PAGES_OF_AN_ACCOUNT else {}
        before, takes_id, _ = ROUTES[name][0].partition("<id:id>")
        if takes_id:
            given["id"] = next((id for end, id in ids.items() if before.endswith(end)), "inv_0")
        if name == "accounts:invitation":
            given = {"token": "none"}
        given |= GIVEN_BESIDE.get(name, {})
        addresses.append(reverse(name, kwargs=given))
    return [(method, address) for address in addresses for method in ("get", "post")]


def test_every_cookie_is_only_for_this_host_and_tls(cast: Cast) -> None:
    signed_out, member = Browser(), Browser()
    by_password(cast, member)
    seen = {name: morsel for browser in (signed_out, member) for name, morsel in browser.cookies.items()}
    for browser in (signed_out, member):
        for method, address in visits(cast):
            answer = getattr(browser, method)(address, {"theme": "dark"} if method == "post" else {})
            seen |= answer.cookies

    assert {f"__Host-{name}" for name in ("sessionid", "csrftoken", "device", "theme", "shortcuts")} == set(seen)
    for name, morsel in seen.items():
        assert name.startswith("__Host-")
        assert morsel["secure"], name
        assert morsel["path"] == "/", name
        assert not morsel["domain"], name
        assert morsel["samesite"] == "Lax", name


def test_the_script_gets_the_name_of_its_cookie(browser: Browser, db: None) -> None:
    assert 'data-time-zone-cookie="__Host-time_zone"' in browser.get(LOGIN).content.decode()


def test_without_tls_cookies_have_plain_names(tmp_path: Path) -> None:
    """A browser refuses `__Host-` cookies over plain HTTP."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from atatus_dash import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME)",
        ],
        cwd=ROOT,
        env=Installation(tmp_path).environ(ALLOW_HTTP="1"),
        capture_output=True,
        text=True,
    )

    assert told.stdout.split() == ["sessionid", "csrftoken"]


#: Malformed cookies: NUL, control characters, quotes, octal escapes, an empty text, and a very long one.
ODD = [
    r'"aaaaaaaaaaaa\000b"',
    r'"\000\000\000\000\000\000\000\000"',
    r'"a\001\002\377\355\240\200aaaaaaaa"',
    "aaaa\x00aaaaaaaaaaaa",
    "a" * 31 + "\x00",
    "a" * 32 + "\n",
    "\ud800" * 32,
    "'; DROP TABLE django_session; --",
    "%00%00%00%00%00%00%00%00",
    "é" * 32,
    "a" * 6000,
    "A" * 32,
    "",
]


OTHER_COOKIES = ["csrftoken", "device", "theme", "shortcuts", "time_zone", "messages"]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("names", [["sessionid"], OTHER_COOKIES], ids=["session", "others"])
def test_malformed_cookies_are_ignored(names: list[str], value: str, cast: Cast) -> None:
    def ask(method: str, address: str, signed_in: bool) -> int:
        browser = Browser()
        if signed_in:
            by_password(cast, browser)
        kept = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
        sent = "; ".join(f"{name}={value}; __Host-{name}={value}" for name in names)
        browser.cookies.clear()
        # As in WSGI: each byte of the header is one character.
        header = f"{kept}; {sent}".encode("utf-8", "surrogatepass").decode("latin-1")
        status: int = getattr(browser, method)(address, HTTP_COOKIE=header, REMOTE_ADDR="127.0.0.1").status_code
        return status

    cache.clear()
    assert ask("get", LOGIN, False) == 200
    assert ask("get", PROFILE, False) == 302
    assert ask("get", PROFILE, True) == (302 if "sessionid" in names else 200)
    assert ask("post", LOGIN, False) == 200
    assert ask("get", reverse("admin:index"), False) == 302
