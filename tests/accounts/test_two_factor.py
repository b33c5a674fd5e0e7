"""Two-factor authentication, accounts that require it, and sessions."""

import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.urls import reverse
from pytest_django import Settings

from accounts.middleware import SEEN
from accounts.models import Account, User
from accounts.templatetags.security import device
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.mail import delivered

ACTIVATE = reverse("mfa_activate_totp")
PAGES = [
    "mfa_index",
    "mfa_activate_totp",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "usersessions_list",
]
PAGES_WITH_AN_APP = [
    "mfa_index",
    "mfa_deactivate_totp",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_reauthenticate",
]


@pytest.fixture(autouse=True)
def _clear_limits() -> None:
    cache.clear()


def code(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def page(cast: Cast, name: str = "two_factor") -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug])


def sign_in(browser: Browser, user: User) -> Any:
    return browser.post(reverse("account_login"), {"login": user.email, "password": PASSWORD})


def set_up(browser: Browser) -> str:
    """Set up an authenticator app on the pages; return its secret."""
    shown = browser.get(ACTIVATE).content.decode()
    found = re.search(r'<code id="secret">(\w+)</code>', shown)
    assert found
    assert browser.post(ACTIVATE, {"code": code(found[1])}).headers["Location"] == reverse("mfa_view_recovery_codes")
    cache.clear()
    return found[1]


# Setting up and signing in ----------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_one_heading_a_title_and_no_inline_code(name: str, cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.owner).get(reverse(name))
    check(response)


@pytest.mark.parametrize("name", PAGES_WITH_AN_APP)
def test_every_page_with_an_app_has_one_heading_a_title_and_no_inline_code(
    name: str, cast: Cast, browser: Browser
) -> None:
    set_up(browser.as_(cast.owner))
    check(browser.get(reverse(name)))


def check(response: Any) -> None:
    shown = response.content.decode()
    assert response.status_code == 200
    assert shown.count("<h1>") == 1
    assert not re.search(r"<h1>\s*</h1>|<title>\s*·", shown)
    assert not re.search(r"<style|<script(?![^>]*(?:src=|application/json))| style=| on[a-z]+=", shown)
    assert "no-store" in response.headers["Cache-Control"]


def test_an_app_is_set_up_and_required_at_the_next_sign_in(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    secret = set_up(browser)
    codes = browser.get(reverse("mfa_view_recovery_codes")).content.decode()

    again = Browser()
    first = sign_in(again, cast.owner)
    wrong = again.post(reverse("mfa_authenticate"), {"code": "000000"})
    still_out = again.get(reverse("accounts:profile")).status_code
    again.post(reverse("mfa_authenticate"), {"code": code(secret)})

    assert len(re.findall(r"\b\d{8}\b", codes)) == 10
    assert first.headers["Location"] == reverse("mfa_authenticate")
    assert "This code is incorrect or has expired. Enter a new one." in wrong.content.decode()
    assert still_out == 302
    assert again.get(reverse("accounts:profile")).status_code == 200


def test_a_recovery_code_signs_in_once(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    set_up(browser)
    download = browser.get(reverse("mfa_download_recovery_codes"))
    recovery = download.content.decode().split()[0]

    def try_it() -> int:
        other = Browser()
        sign_in(other, cast.owner)
        return int(other.post(reverse("mfa_authenticate"), {"code": recovery}).status_code)

    assert "attachment" in download.headers["Content-Disposition"]
    assert "no-store" in download.headers["Cache-Control"]
    assert [try_it(), try_it()] == [302, 200]


@pytest.mark.django_db(transaction=True)
def test_changes_are_mailed_without_any_secret(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    delivered().clear()
    secret = set_up(browser)
    recovery = browser.get(reverse("mfa_download_recovery_codes")).content.decode().split()
    browser.post(reverse("mfa_generate_recovery_codes"))
    browser.post(reverse("mfa_deactivate_totp"))
    said = "\n".join(f"{message.subject}\n{message.body}" for message in delivered())

    assert [message.subject for message in delivered()] == [
        "An authenticator app was added",
        "New recovery codes were generated",
        "Your authenticator app was removed",
    ]
    assert "reset your password now" in said
    assert not any(hidden in said for hidden in [secret, *recovery])


def test_an_old_sign_in_needs_the_password_again(cast: Cast, browser: Browser, settings: Settings) -> None:
    sign_in(browser, cast.owner)
    fresh = browser.get(ACTIVATE).status_code
    settings.SUDO_MINUTES = 0
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0

    assert fresh == 200
    for name in ("mfa_activate_totp", "mfa_add_webauthn"):
        assert browser.get(reverse(name)).headers["Location"].startswith(reverse("account_reauthenticate"))
    added = browser.post(reverse("account_email"), {"email": "work@example.com", "action_add": ""})
    assert added.headers["Location"].startswith(reverse("account_reauthenticate"))


def test_the_profile_links_to_all_of_it(cast: Cast, browser: Browser) -> None:
    shown = browser.as_(cast.user).get(reverse("accounts:profile")).content.decode()

    for name in ("account_email", "account_change_password", "mfa_index", "usersessions_list"):
        assert f'href="{reverse(name)}"' in shown


# Passkeys ---------------------------------------------------------------------------------------


def test_the_sign_in_page_offers_passkeys_to_browsers_that_support_them(cast: Cast, browser: Browser) -> None:
    shown = browser.get(reverse("account_login")).content.decode()

    assert re.search(r"<form[^>]*data-passkey[^>]* hidden>", shown)
    assert "Use a passkey" in shown


def test_passkey_options_do_not_reveal_who_has_one(cast: Cast, browser: Browser) -> None:
    options = browser.get(reverse("mfa_login_webauthn"), headers={"Accept": "application/json"}).json()

    assert not options["request_options"]["publicKey"].get("allowCredentials")


UNPARSABLE = ["9" * 5000, "[" * 5000 + "]" * 5000]  # by Python's JSON


@pytest.mark.parametrize("credential", ["", "nonsense", "{}", '{"rawId": "AAAA", "response": {}}', *UNPARSABLE])
def test_a_malformed_passkey_signs_nobody_in(credential: str, cast: Cast, browser: Browser) -> None:
    browser.get(reverse("mfa_login_webauthn"), headers={"Accept": "application/json"})
    answer = browser.post(reverse("mfa_login_webauthn"), {"credential": credential})

    assert answer.headers["Location"] == reverse("account_login")
    assert browser.get(reverse("accounts:profile")).status_code == 302


@pytest.mark.parametrize("credential", ["0", "false", "nonsense", '{"id": "a"}', *UNPARSABLE])
def test_a_malformed_passkey_is_not_added(credential: str, cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    browser.get(reverse("mfa_add_webauthn"))
    answer = browser.post(reverse("mfa_add_webauthn"), {"name": "Key", "credential": credential})

    assert answer.status_code == 200
    assert not Authenticator.objects.exists()


# An account that requires it --------------------------------------------------------------------


def require(cast: Cast) -> None:
    Account.objects.filter(pk=cast.account.pk).update(requires_two_factor=True)


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_owner_and_admin_must_set_up_required_two_factor(who: str, cast: Cast, browser: Browser) -> None:
    require(cast)
    browser.as_(getattr(cast, who))
    led = browser.get(page(cast, "members"), follow=True)
    in_part = browser.get(page(cast, "invite"), headers={"HX-Request": "true"})
    acted = browser.post(page(cast, "general"), {"name": "Mine"})

    assert led.redirect_chain[0][0].startswith(reverse("mfa_index"))
    assert "Acme requires two-factor authentication for Owner and Admins" in led.content.decode()
    assert in_part.headers["HX-Redirect"].startswith(reverse("mfa_index"))
    assert acted.headers["Location"].startswith(reverse("mfa_index"))
    assert Account.objects.get(pk=cast.account.pk).name == "Acme"

    set_up(browser)
    assert browser.get(page(cast, "members")).status_code == 200


def test_a_user_needs_no_two_factor(cast: Cast, browser: Browser) -> None:
    require(cast)

    assert browser.as_(cast.user).get(page(cast, "members")).status_code == 200


def test_two_factor_is_required_with_a_warning_and_made_optional_again(cast: Cast, browser: Browser) -> None:
    asked = browser.as_(cast.admin).get(page(cast)).content.decode()
    set_up(browser)
    once_more = browser.get(page(cast)).content.decode()
    told = browser.post(page(cast), {"requires_two_factor": "1"}, follow=True)
    required = Account.objects.get(pk=cast.account.pk).requires_two_factor
    browser.post(page(cast), {})

    assert "You don't have a second factor yet" in asked
    assert "You don't have a second factor yet" not in once_more
    assert asked.count("admin@example.com</span>") > once_more.count("admin@example.com</span>")
    assert "Two-factor authentication required" in told.content.decode()
    assert required
    assert not Account.objects.get(pk=cast.account.pk).requires_two_factor


def test_owner_and_admin_see_who_has_two_factor(cast: Cast, browser: Browser) -> None:
    TOTP.activate(cast.user, generate_totp_secret())
    rows = re.findall(r"<tr>.*?</tr>", browser.as_(cast.owner).get(page(cast, "members")).content.decode(), re.DOTALL)

    assert [">On<" in row for row in rows if "@example.com" in row] == [False, False, True]
    assert "Two-factor" not in Browser().as_(cast.user).get(page(cast, "members")).content.decode()


# Sessions ---------------------------------------------------------------------------------------


def test_a_user_signs_out_all_other_sessions(cast: Cast, browser: Browser) -> None:
    lost = Browser(headers={"User-Agent": "Mozilla/5.0 (iPhone) Safari/604"})
    sign_in(lost, cast.owner)
    sign_in(browser, cast.owner)
    listed = browser.get(reverse("usersessions_list")).content.decode()
    told = browser.post(reverse("usersessions_list"), follow=True)

    assert listed.count("Current session") == 1
    assert "Safari on iPhone" in listed
    assert "Other sessions signed out" in told.content.decode()
    assert lost.get(reverse("accounts:profile")).status_code == 302
    assert browser.get(reverse("accounts:profile")).status_code == 200


def test_a_user_sees_no_sessions_of_others(cast: Cast, browser: Browser) -> None:
    sign_in(Browser(headers={"User-Agent": "Mozilla/5.0 (iPhone) Safari/604"}), cast.admin)
    sign_in(browser, cast.owner)

    assert "iPhone" not in browser.get(reverse("usersessions_list")).content.decode()


def test_the_last_activity_is_recorded_every_few_minutes(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner).get(reverse("accounts:profile"))
    first = UserSession.objects.get().last_seen_at
    browser.get(reverse("accounts:profile"))
    soon = UserSession.objects.get().last_seen_at
    session = browser.session
    session[SEEN] -= 301
    session.save()
    browser.get(reverse("accounts:profile"))

    assert first == soon < UserSession.objects.get().last_seen_at


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
            "Chrome on Linux",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on macOS"),
        ("something (Android 15)", "A browser on Android"),
        ("curl/8.5.0", "curl"),
        ("", "Unknown device"),
    ],
)
def test_a_user_agent_is_shown_in_words(agent: str, name: str) -> None:
    assert device(agent) == name


def test_removing_the_last_factor_removes_the_recovery_codes(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    set_up(browser)
    browser.post(reverse("mfa_deactivate_totp"))

    assert not Authenticator.objects.filter(user=cast.owner).exists()
