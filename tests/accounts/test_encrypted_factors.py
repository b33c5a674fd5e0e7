"""Second factors at rest: encrypted in every row, readable with every configured key, otherwise an error message."""

import html
import json
import re
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from pytest_django import Settings

from accounts import encryption, factors
from accounts.audit import Event
from accounts.encryption import Unreadable
from accounts.models import AuditEvent, User
from tests import factories
from tests.conftest import Browser, Cast
from tests.mail import delivered

from .test_two_factor import ACTIVATE, code, set_up, sign_in

OLD, NEW = "an old key of forty characters or so, yes", "a new key of forty characters or so, too"
APP = "This server can no longer read your authenticator app's secret."
BOTH = "This server can no longer read your authenticator app's secret or your recovery codes."
OPERATOR = "Ask the operator to reset your two-factor authentication."


@pytest.fixture(autouse=True)
def _clear_limits() -> None:
    cache.clear()


def everything_stored() -> str:
    """Every row of every table that allauth and sessions write to, with sessions decoded."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM mfa_authenticator")
        stored = [str(row) for row in cursor.fetchall()]
    sessions = import_module("django.contrib.sessions.models").Session.objects.all()
    return " ".join([*stored, *(json.dumps(session.get_decoded()) for session in sessions)])


def give_factors(user: User) -> str:
    """Create an app and recovery codes; return the app's secret."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret


def recovery_code(user: User) -> str:
    return str(RecoveryCodes(Authenticator.objects.get(user=user, type="recovery_codes")).get_unused_codes()[0])


def shown(response: Any) -> str:
    return html.unescape(response.content.decode())


def remove_encryption_keys(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [NEW]
    settings.SECRET_KEY = "another secret key altogether, of many characters"


# At rest ----------------------------------------------------------------------------------------


def test_neither_the_secret_nor_the_seed_is_stored_unencrypted(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    secret = set_up(browser)
    codes = browser.get(reverse("mfa_download_recovery_codes")).content.decode().split()
    seed = factors.read(Authenticator.objects.get(type="recovery_codes").data["seed"])
    stored = everything_stored()
    assert len(codes) == 10
    assert not [hidden for hidden in (secret, seed, *codes) if hidden in stored]


def test_the_session_has_no_unencrypted_secret_during_set_up(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    found = re.search(r'<code id="secret">(\w+)</code>', browser.get(ACTIVATE).content.decode())
    assert found
    wrong = browser.post(ACTIVATE, {"code": "000000"})
    assert found[1] in shown(wrong)
    assert found[1] not in everything_stored()
    assert browser.post(ACTIVATE, {"code": code(found[1])}).status_code == 302


def test_a_set_up_starts_again_if_its_encryption_key_is_removed(
    cast: Cast, browser: Browser, settings: Settings
) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    sign_in(browser, cast.owner)
    browser.get(ACTIVATE)
    settings.ENCRYPTION_KEYS = [NEW]
    again = browser.post(ACTIVATE, {"code": "000000"})
    assert again.status_code == 200
    found = re.search(r'<code id="secret">(\w+)</code>', shown(again))
    assert found
    assert browser.post(ACTIVATE, {"code": code(found[1])}).status_code == 302


# Keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ENCRYPTION_KEYS": []}, {"ENCRYPTION_KEYS": [NEW]}),
        ({"ENCRYPTION_KEYS": [OLD]}, {"ENCRYPTION_KEYS": [NEW, OLD]}),
        ({"SECRET_KEY": OLD}, {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": [OLD]}),
        ({"SECRET_KEY": OLD}, {"SECRET_KEY": "third", "SECRET_KEY_FALLBACKS": [NEW, OLD], "ENCRYPTION_KEYS": [NEW]}),
        ({"ENCRYPTION_KEYS": [Fernet.generate_key().decode(), OLD]}, {"ENCRYPTION_KEYS": [OLD]}),
    ],
)
def test_encrypted_text_can_be_read_after_the_keys_change(settings: Settings, before: Any, after: Any) -> None:
    set_all(settings, before)
    stored, by_the_second = encryption.encrypt("JBSWY3DPEHPK3PXP"), None
    if len(settings.ENCRYPTION_KEYS) > 1:  # written before the newest key was added
        settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[1:]
        stored = by_the_second = encryption.encrypt("JBSWY3DPEHPK3PXP")
    set_all(settings, after)
    assert encryption.decrypt(stored) == "JBSWY3DPEHPK3PXP"
    assert encryption.is_current(stored) is (by_the_second is not None)


def set_all(settings: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)


def test_the_same_secret_is_encrypted_differently_each_time() -> None:
    assert encryption.encrypt("JBSWY3DPEHPK3PXP") != encryption.encrypt("JBSWY3DPEHPK3PXP")


@pytest.mark.parametrize("plain", ["JBSWY3DPEHPK3PXP", "RPN6CJKM3RAYR2MMS4MZN3FIC3LZ2YLL", "0f" * 40])
def test_unencrypted_secrets_of_an_older_version_are_readable(plain: str) -> None:
    assert factors.read(plain) == plain


@pytest.mark.parametrize(
    "garbage",
    ["", "?", "fernet-1:", "fernet-1:gAAAAA", "fernet-1:\x00é", "fernet-2:JBSWY3DPEHPK3PXP", "JBSW", "0f" * 39, "ключ"],
)
def test_invalid_text_is_neither_encrypted_nor_an_old_secret(garbage: str) -> None:
    with pytest.raises(Unreadable):
        factors.read(garbage)


def test_modified_encrypted_text_is_refused() -> None:
    stored = encryption.encrypt("JBSWY3DPEHPK3PXP")
    for place in (12, 40, len(stored) - 5):
        with pytest.raises(Unreadable):
            factors.read(stored[:place] + ("A" if stored[place] != "A" else "B") + stored[place + 1 :])


# Unreadable factors -----------------------------------------------------------------------------


def test_signing_in_with_an_unreadable_factor_says_what_to_do(cast: Cast, browser: Browser, settings: Settings) -> None:
    secret = give_factors(cast.owner)
    remove_encryption_keys(settings)
    sign_in(browser, cast.owner)
    page = browser.get(reverse("mfa_authenticate"))
    refused = browser.post(reverse("mfa_authenticate"), {"code": code(secret)})
    assert (page.status_code, refused.status_code) == (200, 200)
    assert f"{BOTH} {OPERATOR}" in shown(refused)
    assert "This code is incorrect or has expired. Enter a new one." not in shown(refused)
    assert browser.get(reverse("accounts:profile")).status_code == 302


@pytest.mark.parametrize("data", [[], {}, {"secret": None}, {"secret": 7}, {"secret": "garbage"}])
def test_signing_in_with_an_invalid_stored_factor_says_what_to_do(cast: Cast, browser: Browser, data: Any) -> None:
    TOTP.activate(cast.owner, generate_totp_secret())
    Authenticator.objects.update(data=data)
    sign_in(browser, cast.owner)
    refused = browser.post(reverse("mfa_authenticate"), {"code": "123456"})
    assert refused.status_code == 200
    assert f"{APP} {OPERATOR}" in shown(refused)


def test_a_readable_factor_works_beside_an_unreadable_one(cast: Cast, browser: Browser, settings: Settings) -> None:
    TOTP.activate(cast.owner, generate_totp_secret())
    remove_encryption_keys(settings)
    RecoveryCodes.activate(cast.owner)
    sign_in(browser, cast.owner)
    wrong = browser.post(reverse("mfa_authenticate"), {"code": "123456"})
    assert "This code is incorrect or has expired. Enter a new one." in shown(wrong)
    assert APP in shown(wrong)
    assert browser.post(reverse("mfa_authenticate"), {"code": recovery_code(cast.owner)}).status_code == 302
    assert browser.get(reverse("accounts:profile")).status_code == 200


PAGES = [
    "mfa_index",
    "mfa_activate_totp",
    "mfa_deactivate_totp",
    "mfa_view_recovery_codes",
    "mfa_download_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_reauthenticate",
    "account_reauthenticate",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "accounts:profile",
]


@pytest.mark.parametrize("name", PAGES)
def test_pages_work_for_a_user_with_unreadable_factors(
    cast: Cast, browser: Browser, settings: Settings, name: str
) -> None:
    sign_in(browser, cast.owner)
    give_factors(cast.owner)
    settings.ENCRYPTION_KEYS = [NEW]
    Authenticator.objects.filter(type="totp").update(data={"secret": "fernet-1:lost"})
    Authenticator.objects.filter(type="recovery_codes").update(data={"seed": "fernet-1:lost", "used_mask": 0})
    answer = browser.get(reverse(name))
    assert answer.status_code in (200, 302, 400)
    if answer.status_code == 400:
        assert OPERATOR in shown(answer)


def test_the_two_factor_page_names_unreadable_factors(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    give_factors(cast.owner)
    assert OPERATOR not in shown(browser.get(reverse("mfa_index")))
    Authenticator.objects.filter(type="totp").update(data={"secret": "fernet-1:lost"})
    assert f"{APP} {OPERATOR}" in shown(browser.get(reverse("mfa_index")))


def test_a_signed_in_user_replaces_unreadable_codes_and_apps_themselves(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    give_factors(cast.owner)
    Authenticator.objects.filter(type="totp").update(data={"secret": "fernet-1:lost"})
    Authenticator.objects.filter(type="recovery_codes").update(data={"seed": "fernet-1:lost", "used_mask": 0})
    assert "Generate new codes" in shown(browser.get(reverse("mfa_generate_recovery_codes")))
    browser.post(reverse("mfa_generate_recovery_codes"))
    assert len(browser.get(reverse("mfa_download_recovery_codes")).content.decode().split()) == 10
    browser.post(reverse("mfa_deactivate_totp"))
    set_up(browser)
    assert OPERATOR not in shown(browser.get(reverse("mfa_index")))


def test_reauthentication_by_code_names_unreadable_factors(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    give_factors(cast.owner)
    Authenticator.objects.filter(type="totp").update(data={"secret": "fernet-1:lost"})
    wrong = browser.post(reverse("mfa_reauthenticate"), {"code": "123456"})
    assert wrong.status_code == 200
    assert APP in shown(wrong)


# Reset ------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


@pytest.mark.django_db(transaction=True)
def test_the_operator_resets_two_factor_and_the_user_sets_it_up_again(cast: Cast, browser: Browser) -> None:
    sign_in(browser, cast.owner)
    give_factors(cast.owner)
    other = give_factors(cast.admin)
    sign_in(Browser(), cast.user)
    delivered().clear()
    run("reset_two_factor", "OWNER@example.com")

    assert browser.get(reverse("accounts:profile")).status_code == 302
    assert [session.user for session in UserSession.objects.all()] == [cast.user]
    event = AuditEvent.objects.get(event=Event.MEMBER_TWO_FACTOR_RESET)
    assert (event.account, event.actor_label, event.target_label) == (cast.account, "Command line", "owner@example.com")
    assert [(message.to, message.subject) for message in delivered()] == [
        (["owner@example.com"], "Your two-factor authentication was reset")
    ]
    assert sign_in(browser, cast.owner).headers["Location"] == "/"
    set_up(browser)
    assert factors.read(Authenticator.objects.get(user=cast.admin, type="totp").data["secret"]) == other


def test_a_reset_is_recorded_in_every_account_of_the_user_and_in_the_log(
    cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    factories.make_account("Second", cast.user)
    give_factors(cast.user)
    run("reset_two_factor", cast.user.email)
    recorded = AuditEvent.objects.filter(event=Event.MEMBER_TWO_FACTOR_RESET).values_list("account__slug", flat=True)
    assert sorted(recorded) == ["acme", "second"]
    assert "The two-factor authentication of user@example.com was reset by Command line." in caplog.messages


@pytest.mark.parametrize(
    ("email", "sentence"),
    [
        ("nobody@example.com", "No user signs in with the address nobody@example.com."),
        ("user@example.com", "user@example.com has no two-factor authentication."),
    ],
)
def test_a_reset_without_factors_is_an_error(cast: Cast, email: str, sentence: str) -> None:
    with pytest.raises(CommandError) as refusal:
        run("reset_two_factor", email)
    assert str(refusal.value) == sentence


# reencrypt --------------------------------------------------------------------------------------


def test_reencrypt_encrypts_everything_with_the_newest_key_once(cast: Cast, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    secret = give_factors(cast.owner)
    Authenticator.objects.create(user=cast.admin, type="totp", data={"secret": "JBSWY3DPEHPK3PXP"})
    passkey = Authenticator.objects.create(user=cast.admin, type="webauthn", data={"name": "Key", "credential": {}})
    settings.ENCRYPTION_KEYS = [NEW, OLD]

    assert run("reencrypt").startswith("Encrypted with the newest key: 3.")
    stored = everything_stored()
    assert run("reencrypt").startswith("Encrypted with the newest key: 0.")
    assert everything_stored() == stored
    settings.ENCRYPTION_KEYS, settings.SECRET_KEY = [NEW], "another secret key altogether"
    assert factors.read(Authenticator.objects.get(user=cast.owner, type="totp").data["secret"]) == secret
    assert factors.read(Authenticator.objects.get(user=cast.admin, type="totp").data["secret"]) == "JBSWY3DPEHPK3PXP"
    passkey.refresh_from_db()
    assert passkey.data == {"name": "Key", "credential": {}}


def test_reencrypt_names_unreadable_factors_encrypts_the_others_and_fails(cast: Cast, settings: Settings) -> None:
    TOTP.activate(cast.owner, generate_totp_secret())
    remove_encryption_keys(settings)
    Authenticator.objects.create(user=cast.admin, type="totp", data={"secret": "JBSWY3DPEHPK3PXP"})
    output = StringIO()
    with pytest.raises(CommandError, match=r"^1 can't be read"):
        call_command("reencrypt", stdout=output)
    assert output.getvalue().splitlines() == [
        "Encrypted with the newest key: 1. The rest already were.",
        "Can't be read: owner@example.com, TOTP Authenticator",
    ]


def test_a_recovery_code_used_before_stays_used(cast: Cast, settings: Settings) -> None:
    give_factors(cast.owner)
    used = recovery_code(cast.owner)
    codes = RecoveryCodes(Authenticator.objects.get(user=cast.owner, type="recovery_codes"))
    assert codes.validate_code(used)
    settings.ENCRYPTION_KEYS = [NEW]
    run("reencrypt")
    codes = RecoveryCodes(Authenticator.objects.get(user=cast.owner, type="recovery_codes"))
    assert not codes.validate_code(used)
    assert len(codes.get_unused_codes()) == 9


# The migration ----------------------------------------------------------------------------------


class _Editor:
    connection = connection


migration = import_module("accounts.migrations.0007_encrypt_second_factors")


def test_the_migration_encrypts_existing_secrets_and_is_reversible(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "BATCH", 3)
    plain: dict[int, Any] = {}
    for _ in range(4):
        user = factories.make_user()
        for kind, data in (
            ("totp", {"secret": generate_totp_secret()}),
            ("recovery_codes", {"seed": "0123456789abcdef" * 5, "used_mask": 5}),
            ("webauthn", {"name": "Key", "credential": {"id": "x"}}),
        ):
            plain[Authenticator.objects.create(user=user, type=kind, data=data).pk] = data
    broken = Authenticator.objects.create(user=cast.owner, type="totp", data={"secret": "garbage"})
    plain[broken.pk] = broken.data

    migration.encrypt(apps, _Editor)
    stored = dict(Authenticator.objects.values_list("pk", "data"))
    hidden = [data for data in plain.values() if data.keys() & {"secret", "seed"} and data != broken.data]
    assert not [data for data in hidden if str(data.get("secret") or data["seed"]) in everything_stored()]
    assert stored[broken.pk] == broken.data
    migration.encrypt(apps, _Editor)
    assert dict(Authenticator.objects.values_list("pk", "data")) == stored

    migration.decrypt(apps, _Editor)
    assert dict(Authenticator.objects.values_list("pk", "data")) == plain
