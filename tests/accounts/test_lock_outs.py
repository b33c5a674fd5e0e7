"""Strangers who guess passwords or request resets can't lock users out of devices that they have used before."""

import re
import time
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from accounts import cookies, devices
from accounts import sign_in as sign_in_module
from accounts.models import User
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.mail import delivered

LOGIN = reverse("account_login")
RESET = reverse("account_reset_password")
OWNER = "owner@example.com"
LOCKED = "Too many failed login attempts"
HOME: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture(autouse=True)
def _clear_limits() -> None:
    cache.clear()


def sign_in(browser: Browser, password: str = PASSWORD, email: str = OWNER, **extra: Any) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password}, **{**HOME, **extra})


def is_locked(response: Any) -> bool:
    return LOCKED in response.content.decode()


def strangers_guess(email: str = OWNER, times: int = 6, **extra: Any) -> None:
    """As often as locks the address out, or more often."""
    for number in range(times):
        last = sign_in(Browser(), "wrong", email, **{"REMOTE_ADDR": f"198.51.100.{number}", **extra})
    assert is_locked(last)


def known_device(email: str = OWNER) -> Browser:
    """A browser from which the user has signed in and out."""
    browser = Browser()
    assert sign_in(browser, email=email).status_code == 302
    browser.post(reverse("account_logout"))
    return browser


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def add_authenticator_app(user: User) -> str:
    secret = str(generate_totp_secret())
    TOTP.activate(user, secret)
    return secret


# Passwords --------------------------------------------------------------------------------------


def test_a_known_device_signs_in_while_strangers_guess(cast: Cast) -> None:
    browser = known_device()
    strangers_guess()

    assert is_locked(sign_in(Browser()))
    assert sign_in(browser).status_code == 302


def test_a_known_device_signs_in_while_strangers_guess_from_its_own_address(cast: Cast) -> None:
    browser = known_device()
    strangers_guess(times=40, **HOME)  # over all limits of an address

    assert is_locked(sign_in(Browser()))
    assert sign_in(browser).status_code == 302


def test_a_known_device_has_its_own_limit_that_locks_out_nobody_else(cast: Cast) -> None:
    browser, other = known_device(), known_device()
    for _ in range(6):
        last = sign_in(browser, "wrong")

    assert is_locked(last)
    assert is_locked(sign_in(browser))
    assert sign_in(other).status_code == 302
    assert sign_in(Browser()).status_code == 302


def test_a_known_device_is_known_only_for_its_users(cast: Cast) -> None:
    browser = known_device("stranger@example.com")
    strangers_guess()

    assert is_locked(sign_in(browser))


def test_signing_in_as_another_user_resets_no_limit(cast: Cast) -> None:
    browser = known_device()
    for _ in range(6):
        sign_in(browser, "wrong")
    sign_in(browser, email="stranger@example.com")
    browser.post(reverse("account_logout"))

    assert is_locked(sign_in(browser, "wrong"))


@pytest.mark.parametrize("change", ["truncated", "person swapped", "unsigned"])
def test_a_forged_device_cookie_is_ignored(change: str, cast: Cast) -> None:
    browser = known_device("stranger@example.com")
    value = browser.cookies[cookies.name(devices.COOKIE)].value
    forged = {
        "truncated": value[:-1],
        "person swapped": value.replace(f":{cast.stranger.pk}:", f":{cast.owner.pk}:", 1),
        "unsigned": f"{'0' * 32}:{cast.owner.pk}",
    }[change]
    browser.cookies[cookies.name(devices.COOKIE)] = forged
    strangers_guess()

    assert is_locked(sign_in(browser))


@pytest.mark.parametrize("host", ["testserver:{}", "localhost:{}"])
def test_a_port_in_the_host_header_resets_no_limit(host: str, cast: Cast) -> None:
    for number in range(6):
        last = sign_in(Browser(), "wrong", HTTP_HOST=host.format(8000 + number), REMOTE_ADDR=f"198.51.100.{number}")

    assert is_locked(last)


def test_a_lock_out_does_not_reveal_whether_an_address_is_registered(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers_guess()
    strangers_guess("nobody@example.com")
    monkeypatch.setattr(sign_in_module, "_run_after_response", lambda task: None)  # runs after the response
    pages, queries = set(), set()
    for email in (OWNER, "nobody@example.com"):
        browser = known_device("stranger@example.com")
        with CaptureQueriesContext(connection) as asked:
            response = sign_in(browser, email=email)
        assert is_locked(response)
        pages.add(re.sub(r'value="[^"]{64}"', "", response.content.decode().replace(email, "")))
        queries.add(len(asked))

    assert len(pages) == len(queries) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_a_password_reset_ends_the_lock_out(is_known: bool, cast: Cast) -> None:
    browser = known_device() if is_known else Browser()
    for _ in range(6):
        sign_in(browser, "wrong")
    strangers_guess()
    delivered().clear()
    browser.post(RESET, {"email": OWNER}, **HOME)
    link = re.search(r"https://testserver(/\S+)", str(delivered()[0].body))
    assert link
    form = browser.get(link[1], follow=True)
    new = "a fresh horse on a new battery"
    browser.post(form.request["PATH_INFO"], {"password1": new, "password2": new}, **HOME)

    assert sign_in(browser, new).status_code == 302


def test_attempts_at_many_addresses_reset_no_limit(cast: Cast, settings: Settings) -> None:
    strangers_guess()
    for number in range(2000):
        cache.set(f"allauth:rl:allauth.account:guess:5/300.0/key:{number}", [1.0], 300)
        cache.set(f"allauth:rl:allauth.account:guess:10/60.0/ip:ip:10.0.{number // 256}.{number % 256}", [1.0], 60)

    assert is_locked(sign_in(Browser()))


# Second factors and reauthentication ------------------------------------------------------------


def test_an_attacker_with_the_password_has_few_tries_and_locks_out_no_known_device(cast: Cast) -> None:
    browser = known_device()
    secret = add_authenticator_app(cast.owner)
    for number in range(7):
        thief = Browser()
        sign_in(thief, REMOTE_ADDR=f"198.51.100.{number}")
        last = thief.post(reverse("mfa_authenticate"), {"code": "000000"}, REMOTE_ADDR=f"198.51.100.{number}")
    sign_in(browser)
    entered = browser.post(reverse("mfa_authenticate"), {"code": code_of(secret)}, **HOME)

    assert is_locked(last)
    assert entered.status_code == 302
    assert browser.get(reverse("accounts:profile")).status_code == 200


def test_a_known_device_has_few_tries_at_a_code(cast: Cast) -> None:
    browser = known_device()
    add_authenticator_app(cast.owner)
    sign_in(browser)
    for _ in range(6):
        last = browser.post(reverse("mfa_authenticate"), {"code": "000000"}, **HOME)

    assert is_locked(last)


def test_a_signed_in_user_reauthenticates_while_strangers_guess(cast: Cast, browser: Browser) -> None:
    sign_in(browser)
    strangers_guess()

    assert browser.post(reverse("account_reauthenticate"), {"password": PASSWORD}, **HOME).status_code == 302


# Resets -----------------------------------------------------------------------------------------


def strangers_request_resets(times: int = 8) -> None:
    for number in range(times):
        Browser().post(RESET, {"email": OWNER}, REMOTE_ADDR=f"198.51.100.{number}")


def test_a_known_device_gets_a_reset_while_strangers_request_others(cast: Cast) -> None:
    browser = known_device()
    delivered().clear()
    strangers_request_resets()
    before = len(delivered())
    browser.post(RESET, {"email": OWNER}, **HOME)

    assert before == 5
    assert len(delivered()) == before + 1


def test_a_new_device_is_not_refused_and_earlier_links_still_work(cast: Cast, browser: Browser) -> None:
    strangers_request_resets()
    asked = browser.post(RESET, {"email": OWNER}, **HOME)
    link = re.search(r"https://testserver(/\S+)", str(delivered()[-1].body))

    assert asked.headers["Location"] == reverse("account_reset_password_done")
    assert link
    assert b"password1" in browser.get(link[1], follow=True).content


def test_a_network_that_requests_too_many_resets_is_refused(cast: Cast) -> None:
    for number in range(21):
        last = Browser().post(RESET, {"email": f"person{number}@example.com"}, **HOME)

    assert "Too many requests from your network" in last.content.decode()
    assert len(delivered()) == 20


def test_a_known_device_is_not_bound_by_the_limit_of_its_network(cast: Cast) -> None:
    browser = known_device()
    for number in range(21):
        Browser().post(RESET, {"email": f"person{number}@example.com"}, **HOME)
    delivered().clear()
    browser.post(RESET, {"email": OWNER}, **HOME)

    assert [message.to for message in delivered()] == [[OWNER]]


def test_a_user_has_a_limit_for_each_browser(cast: Cast, rf: Any) -> None:
    first, second = known_device(), known_device()
    buckets = set()
    for browser in (first, second):
        request = rf.get("/")
        request.COOKIES[cookies.name(devices.COOKIE)] = browser.cookies[cookies.name(devices.COOKIE)].value
        buckets.add(devices.bucket(request, cast.owner))
        assert devices.bucket(request, cast.stranger) is None

    assert len(buckets) == 2
