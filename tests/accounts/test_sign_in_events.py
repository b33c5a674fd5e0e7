"""What is logged and recorded about sign-ins, sign-outs, failures and lock-outs."""

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.webauthn.internal import auth as webauthn
from django.core.cache import cache
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from fido2.utils import websafe_encode
from pytest_django import Settings

from accounts import audit
from accounts.audit import Event
from accounts.models import AuditEvent, User
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.factories import PASSWORD
from tests.mail import delivered

LOGIN = reverse("account_login")
ANOTHER = "a fresh horse on a new battery"
SOMEWHERE: dict[str, Any] = {"REMOTE_ADDR": "203.0.113.7"}


@pytest.fixture(autouse=True)
def _clear_limits() -> None:
    cache.clear()


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="accounts.sign_in")
    return caplog


def sign_in(browser: Browser, email: str, password: str = PASSWORD, **extra: Any) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password}, **{**SOMEWHERE, **extra})


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "accounts.sign_in"]


def recorded(cast: Cast) -> list[tuple[str, str, str, str | None]]:
    events = AuditEvent.objects.for_account(cast.account).filter(event__startswith="member.").order_by("at", "id")
    return [
        (event.event, event.actor_label, event.target_label, event.address)
        for event in events
        if event.event not in ("member.added", "member.joined")
    ]


def code_of(secret: str, back: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 - back))


def add_authenticator_app(user: User) -> str:
    secret = str(generate_totp_secret())
    TOTP.activate(user, secret)
    return secret


# Signing in and out -----------------------------------------------------------------------------


def test_a_sign_in_is_logged_and_recorded_in_each_of_the_users_accounts(
    cast: Cast, browser: Browser, lines: Any
) -> None:
    other = factories.make_account("Second", cast.owner)
    sign_in(browser, "owner@example.com")

    assert logged(lines) == [("INFO", "member.signed_in: owner@example.com from 203.0.113.7 (password)")]
    assert recorded(cast) == [("member.signed_in", "owner@example.com", "owner@example.com", "203.0.113.7")]
    found = AuditEvent.objects.filter(event="member.signed_in")
    assert {event.account_id for event in found} == {cast.account.pk, other.pk}
    assert all(event.request_id for event in found)


def test_signing_out_is_recorded(cast: Cast, browser: Browser, lines: Any) -> None:
    sign_in(browser, "owner@example.com")
    browser.post(reverse("account_logout"), **SOMEWHERE)

    assert logged(lines)[1:] == [("INFO", "member.signed_out: owner@example.com from 203.0.113.7")]
    assert recorded(cast)[1:] == [("member.signed_out", "owner@example.com", "owner@example.com", "203.0.113.7")]


def test_signing_out_of_admin_is_recorded(cast: Cast, browser: Browser) -> None:
    User.objects.filter(pk=cast.owner.pk).update(is_staff=True, is_superuser=True)
    add_authenticator_app(cast.owner)  # admin requires a second factor
    browser.as_(cast.owner).post(reverse("admin:logout"), **SOMEWHERE)

    assert [event for event, *_ in recorded(cast)] == ["member.two_factor_enabled", "member.signed_out"]


def test_a_sign_in_with_two_factors_names_both(cast: Cast, browser: Browser, lines: Any) -> None:
    secret = add_authenticator_app(cast.owner)
    sign_in(browser, "owner@example.com")
    before = [line for _, line in logged(lines)]
    browser.post(reverse("mfa_authenticate"), {"code": code_of(secret)}, **SOMEWHERE)

    assert not any("signed_in" in line for line in before)
    assert logged(lines)[-1][1] == "member.signed_in: owner@example.com from 203.0.113.7 (password, authenticator app)"


def test_a_new_user_who_joins_by_invitation_is_recorded(cast: Cast, browser: Browser, lines: Any) -> None:
    sent = factories.make_invitation(cast.account)
    browser.post(reverse("accounts:invitation", args=[sent.token]), {"name": "New", "password": PASSWORD}, **SOMEWHERE)

    assert logged(lines) == [("INFO", "member.signed_in: new@example.com from 203.0.113.7 (link)")]


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_that_cannot_be_recorded_does_not_happen(
    cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**fields: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(audit, "record", fail)
    browser.raise_request_exception = False

    assert sign_in(browser, "owner@example.com").status_code == 500
    assert browser.get(reverse("accounts:profile")).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_a_password_change_that_cannot_be_recorded_does_not_happen(
    cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**fields: Any) -> None:
        raise RuntimeError

    browser.as_(cast.owner).raise_request_exception = False
    monkeypatch.setattr(audit, "record", fail)
    change = {"oldpassword": PASSWORD, "password1": ANOTHER, "password2": ANOTHER}

    assert browser.post(reverse("account_change_password"), change).status_code == 500
    assert User.objects.get(pk=cast.owner.pk).check_password(PASSWORD)


# Failures ---------------------------------------------------------------------------------------


def test_a_wrong_password_is_a_warning_and_an_event(cast: Cast, browser: Browser, lines: Any) -> None:
    sign_in(browser, "owner@example.com", "wrong")

    assert logged(lines) == [("WARNING", "member.sign_in_failed: owner@example.com from 203.0.113.7 (password)")]
    assert recorded(cast) == [("member.sign_in_failed", "Someone", "owner@example.com", "203.0.113.7")]


def test_an_unknown_address_is_logged_without_its_text(cast: Cast, browser: Browser, lines: Any) -> None:
    sign_in(browser, "my-Secret-passw0rd@example.com", "wrong")

    assert logged(lines) == [("WARNING", "member.sign_in_failed: an unknown address from 203.0.113.7 (password)")]
    assert not recorded(cast)


def test_no_password_is_in_the_log_or_in_an_event(cast: Cast, browser: Browser, lines: Any) -> None:
    sign_in(browser, "owner@example.com", "canary-4711")
    sign_in(browser, "owner@example.com")
    sign_in(browser, "canary-4712@example.com", "canary-4711")
    browser.post(reverse("account_reauthenticate"), {"password": "canary-4711"})

    assert "canary" not in lines.text
    assert "canary" not in str(list(AuditEvent.objects.values()))


def test_a_lock_out_is_recorded_once(cast: Cast, browser: Browser, lines: Any) -> None:
    for _ in range(8):
        sign_in(browser, "owner@example.com", "wrong")

    kinds = [line.partition(":")[0] for _, line in logged(lines)]
    assert kinds == ["member.sign_in_failed"] * 5 + ["member.locked_out"] * 3
    assert [event for event, *_ in recorded(cast)] == ["member.sign_in_failed"] * 5 + ["member.locked_out"]


def test_failures_do_not_flood_the_audit_log(cast: Cast, browser: Browser, lines: Any, settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "guess": None, "sign_in": None}
    for _ in range(30):
        sign_in(browser, "owner@example.com", "wrong")

    assert len(logged(lines)) == 30
    assert [event for event, *_ in recorded(cast)] == ["member.sign_in_failed"] * 10


def test_a_failure_that_cannot_be_recorded_is_logged_and_breaks_no_response(
    cast: Cast, browser: Browser, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**fields: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(audit, "record", fail)

    assert sign_in(browser, "owner@example.com", "wrong").status_code == 200
    assert [level for level, _ in logged(lines)] == ["WARNING", "ERROR"]


def test_a_wrong_code_has_its_own_event_because_the_password_was_right(
    cast: Cast, browser: Browser, lines: Any
) -> None:
    add_authenticator_app(cast.owner)
    sign_in(browser, "owner@example.com")
    for _ in range(6):
        browser.post(reverse("mfa_authenticate"), {"code": "000000"}, **SOMEWHERE)

    assert logged(lines)[-1] == ("WARNING", "member.locked_out: owner@example.com from 203.0.113.7 (code)")
    assert logged(lines)[-2] == ("WARNING", "member.two_factor_failed: owner@example.com from 203.0.113.7 (code)")
    assert recorded(cast)[-1] == ("member.locked_out", "Someone", "owner@example.com", "203.0.113.7")
    assert [event for event, *_ in recorded(cast)].count("member.two_factor_failed") == 5


@pytest.mark.parametrize("handle", ["", "owner"])
def test_a_wrong_passkey_is_recorded(handle: str, cast: Cast, browser: Browser, lines: Any) -> None:
    claimed = websafe_encode(user_pk_to_url_str(cast.owner).encode()) if handle else ""
    credential = {
        "id": "AAAA",
        "rawId": "AAAA",
        "type": "public-key",
        "response": {
            "clientDataJSON": websafe_encode(
                b'{"type":"webauthn.get","challenge":"AAAA","origin":"https://testserver"}'
            ),
            "authenticatorData": websafe_encode(bytes(37)),
            "signature": "AAAA",
            "userHandle": claimed,
        },
    }
    browser.post(reverse("mfa_login_webauthn"), {"credential": json.dumps(credential)}, **SOMEWHERE)

    who = "owner@example.com" if handle else "an unknown address"
    assert logged(lines) == [("WARNING", f"member.sign_in_failed: {who} from 203.0.113.7 (passkey)")]
    assert len(recorded(cast)) == (1 if handle else 0)


@pytest.mark.parametrize(
    ("page", "data"),
    [
        ("account_reauthenticate", {"password": "wrong"}),
        ("account_change_password", {"oldpassword": "wrong", "password1": ANOTHER, "password2": ANOTHER}),
    ],
)
def test_a_wrong_password_of_a_signed_in_user_is_recorded(
    page: str, data: dict[str, str], cast: Cast, browser: Browser, lines: Any
) -> None:
    browser.as_(cast.owner).post(reverse(page), data, **SOMEWHERE)

    assert logged(lines) == [
        ("WARNING", "member.reauthentication_failed: owner@example.com from 203.0.113.7 (password)")
    ]
    assert recorded(cast) == [
        ("member.reauthentication_failed", "owner@example.com", "owner@example.com", "203.0.113.7")
    ]


def test_a_sign_in_of_a_deactivated_user_is_recorded(cast: Cast, browser: Browser, lines: Any) -> None:
    User.objects.filter(pk=cast.user.pk).update(is_active=False)
    sign_in(browser, "user@example.com")

    assert logged(lines) == [("WARNING", "member.sign_in_failed: user@example.com from 203.0.113.7 (deactivated)")]


# Passwords, second factors, addresses -----------------------------------------------------------


def test_a_reset_is_recorded_when_requested_and_when_done(cast: Cast, browser: Browser, lines: Any) -> None:
    browser.post(reverse("account_reset_password"), {"email": "owner@example.com"}, **SOMEWHERE)
    link = re.search(r"https://testserver(/\S+)", str(delivered()[0].body))
    assert link
    form = browser.get(link[1], follow=True)
    browser.post(form.request["PATH_INFO"], {"password1": ANOTHER, "password2": ANOTHER}, **SOMEWHERE)

    assert logged(lines) == [
        ("INFO", "member.password_reset_requested: owner@example.com from 203.0.113.7"),
        ("INFO", "member.password_reset: owner@example.com from 203.0.113.7"),
    ]
    assert [event[:2] for event in recorded(cast)] == [
        ("member.password_reset_requested", "Someone"),
        ("member.password_reset", "owner@example.com"),
    ]


def test_a_reset_of_an_unknown_address_is_logged_without_its_text(cast: Cast, browser: Browser, lines: Any) -> None:
    browser.post(reverse("account_reset_password"), {"email": "nobody@example.com"}, **SOMEWHERE)

    assert logged(lines) == [("INFO", "member.password_reset_requested: an unknown address from 203.0.113.7")]
    assert not recorded(cast)


def test_a_changed_password_is_recorded(cast: Cast, browser: Browser) -> None:
    change = {"oldpassword": PASSWORD, "password1": ANOTHER, "password2": ANOTHER}
    browser.as_(cast.owner).post(reverse("account_change_password"), change, **SOMEWHERE)

    assert recorded(cast) == [("member.password_changed", "owner@example.com", "owner@example.com", "203.0.113.7")]


def test_an_app_and_recovery_codes_are_recorded(cast: Cast, browser: Browser, lines: Any) -> None:
    sign_in(browser, "owner@example.com")
    shown = browser.get(reverse("mfa_activate_totp")).content.decode()
    secret = re.search(r'<code id="secret">(\w+)</code>', shown)
    assert secret
    browser.post(reverse("mfa_activate_totp"), {"code": code_of(secret[1])}, **SOMEWHERE)
    browser.post(reverse("mfa_generate_recovery_codes"), **SOMEWHERE)
    browser.post(reverse("mfa_deactivate_totp"), **SOMEWHERE)

    expected = [
        "member.signed_in",
        "member.two_factor_enabled",
        "member.recovery_codes_generated",
        "member.recovery_codes_generated",
        "member.two_factor_disabled",
    ]
    assert [event for event, *_ in recorded(cast)] == expected
    assert [line.partition(":")[0] for _, line in logged(lines)] == expected
    assert {event[1:] for event in recorded(cast)} == {("owner@example.com", "owner@example.com", "203.0.113.7")}


def test_adding_and_removing_a_passkey_is_recorded(cast: Cast, browser: Browser) -> None:
    sign_in(browser, "owner@example.com")
    passkey = webauthn.WebAuthn.add(cast.owner, "Laptop", {}).instance
    browser.post(reverse("mfa_remove_webauthn", args=[passkey.pk]), **SOMEWHERE)

    assert [event for event, *_ in recorded(cast)][1:] == ["member.passkey_added", "member.passkey_removed"]
    assert not Authenticator.objects.exists()


def test_an_operators_change_of_a_second_factor_is_recorded_as_theirs(cast: Cast) -> None:
    add_authenticator_app(cast.owner)
    Authenticator.objects.filter(user=cast.owner).delete()

    assert [event[:3] for event in recorded(cast)] == [
        ("member.two_factor_enabled", "System", "owner@example.com"),
        ("member.two_factor_disabled", "System", "owner@example.com"),
    ]


def test_loading_a_second_factor_from_a_fixture_records_no_event(cast: Cast, lines: Any, tmp_path: Path) -> None:
    add_authenticator_app(cast.owner)
    moved = tmp_path / "move.json"
    call_command("dumpdata", "mfa", output=str(moved))
    Authenticator.objects.filter(user=cast.owner).delete()
    before = recorded(cast)
    lines.clear()

    call_command("loaddata", str(moved), verbosity=0)

    assert Authenticator.objects.filter(user=cast.owner).exists()
    assert recorded(cast) == before
    assert not logged(lines)


def test_an_operators_change_of_password_and_address_is_recorded_as_theirs(
    cast: Cast, browser: Browser, lines: Any
) -> None:
    operator = User.objects.create_superuser("operator@example.com", PASSWORD)
    add_authenticator_app(operator)  # admin requires a second factor
    browser.as_(operator)
    lines.clear()
    password = reverse("admin:auth_user_password_change", args=[cast.user.pk])
    browser.post(password, {"password1": ANOTHER, "password2": ANOTHER, "usable_password": "true"}, **SOMEWHERE)
    person = reverse("admin:accounts_user_change", args=[cast.user.pk])
    browser.post(person, {"email": "renamed@example.com", "name": "", "is_active": "on"}, **SOMEWHERE)

    assert [event[:2] for event in recorded(cast)] == [
        ("member.password_changed", "operator@example.com"),
        ("member.email_changed", "operator@example.com"),
    ]
    assert logged(lines)[0][1] == (
        "member.password_changed: user@example.com from 203.0.113.7 (by operator@example.com)"
    )


def test_addresses_are_recorded_and_only_the_primary_one_is_named(cast: Cast, browser: Browser) -> None:
    page = reverse("account_email")
    sign_in(browser, "owner@example.com")
    browser.post(page, {"email": "work@example.com", "action_add": ""}, **SOMEWHERE)
    added = AuditEvent.objects.get(event="member.email_added")
    link = re.search(r"https://testserver(/\S+)", str(delivered()[-1].body))
    assert link
    browser.post(link[1])
    browser.post(page, {"email": "work@example.com", "action_primary": ""}, **SOMEWHERE)
    browser.post(page, {"email": "owner@example.com", "action_remove": ""}, **SOMEWHERE)

    changed = AuditEvent.objects.get(event="member.email_changed")
    assert "work@" not in f"{added.target_label} {added.changes}"
    assert changed.changes == {"email": ["owner@example.com", "work@example.com"]}
    assert AuditEvent.objects.filter(event="member.email_removed").exists()


# Reading the events -----------------------------------------------------------------------------


def test_the_owner_reads_and_filters_the_events_and_a_user_does_not(cast: Cast, browser: Browser) -> None:
    sign_in(Browser(), "admin@example.com", "wrong")
    log = reverse("accounts:audit_log", args=[cast.account.slug])
    page = browser.as_(cast.owner).get(log, {"event": "member.sign_in_failed"})

    assert [event.event for event in page.context["page"]] == ["member.sign_in_failed"]
    assert "failed to sign in as" in page.content.decode()
    assert browser.as_(cast.user).get(log).status_code == 403


@pytest.mark.parametrize("event", [event for event in Event if event.startswith("member.")])
def test_every_event_of_members_can_be_filtered_by_api(event: Event, cast: Cast, administrator: Program) -> None:
    assert administrator.get(f"/v2/audit-events?event={event}").status_code == 200


def test_sign_ins_do_not_hide_changes_on_the_overview(cast: Cast, browser: Browser) -> None:
    for _ in range(6):
        sign_in(Browser(), "user@example.com")
    page = browser.as_(cast.owner).get(reverse("overview", args=[cast.account.slug]))

    assert {event.event for event in page.context["latest_events"]} == {"account.created", "member.added"}


def test_nothing_is_recorded_in_a_closed_account(cast: Cast, browser: Browser) -> None:
    type(cast.account).objects.filter(pk=cast.account.pk).update(closed_at=timezone.now())
    sign_in(browser, "owner@example.com")

    assert not recorded(cast)
