"""Management commands: what they create and print, and one sentence for every wrong input."""

import getpass
import re
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts import policy
from accounts.audit import Event
from accounts.models import Account, AuditEvent, Deployment, Membership, Project, User
from accounts.policy import Role
from apikeys import imports, services, tokens
from apikeys.models import APIKey, Notice, Service, State
from atatus_dash.management.commands.demo import PEOPLE
from atatus_dash.models import Maintenance

from . import factories
from .conftest import Browser, Cast, Program

PASSWORD = "correct horse battery staple"


def _run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def _refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as refusal:
        _run(*arguments)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    return sentence


# create_account ---------------------------------------------------------------------------------


@pytest.fixture
def password(settings: Settings) -> None:
    settings.ACCOUNT_OWNER_PASSWORD = PASSWORD


def test_an_account_is_created_with_an_owner_who_can_sign_in(db: None, password: None, browser: Browser) -> None:
    _run("create_account", "Acme Inc.", "--owner", "Olivia@Example.com")
    membership = Membership.objects.get()
    assert (membership.account.name, membership.user.email, membership.role) == (
        "Acme Inc.",
        "olivia@example.com",
        Role.OWNER,
    )
    signed_in = browser.post("/auth/login/", {"login": "olivia@example.com", "password": PASSWORD})
    assert (signed_in.status_code, signed_in["Location"]) == (302, "/")


def test_the_last_word_printed_is_the_slug(db: None, password: None) -> None:
    assert _run("create_account", "Acme Inc.", "--owner", "olivia@example.com").split()[-1] == "acme-inc"


def test_the_audit_log_says_that_an_account_came_from_the_command_line(db: None, password: None) -> None:
    _run("create_account", "Acme", "--owner", "olivia@example.com")
    assert set(AuditEvent.objects.values_list("actor_kind", "actor_label")) == {("system", "Command line")}


def test_an_existing_person_becomes_owner_and_keeps_their_password(cast: Cast, settings: Settings) -> None:
    settings.ACCOUNT_OWNER_PASSWORD = "another one altogether"
    assert "The user user@example.com already exists. The password doesn't change." in _run(
        "create_account", "Second", "--owner", "USER@example.com"
    )
    cast.user.refresh_from_db()
    assert cast.user.check_password(factories.PASSWORD)
    assert Membership.objects.get(account__slug="second").user == cast.user


def test_a_password_is_asked_for_twice_in_a_terminal(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", ask)
    _run("create_account", "Acme", "--owner", "olivia@example.com")
    assert len(asked) == 2
    assert User.objects.get().check_password(PASSWORD)


def test_two_different_passwords_create_nothing(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([PASSWORD, "something else"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    assert _refused("create_account", "Acme", "--owner", "olivia@example.com") == "The passwords don't match."
    assert not User.objects.exists()


def test_without_a_terminal_a_password_has_to_be_set(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert "ACCOUNT_OWNER_PASSWORD" in _refused("create_account", "Acme", "--owner", "olivia@example.com")


@pytest.mark.parametrize(
    ("weak", "sentence"),
    [("short", "too short"), ("password1234", "too common"), ("olivia@example.com", "too similar")],
)
def test_a_weak_password_creates_nothing_and_is_explained(
    db: None, settings: Settings, weak: str, sentence: str
) -> None:
    settings.ACCOUNT_OWNER_PASSWORD = weak
    assert sentence in _refused("create_account", "Acme", "--owner", "olivia@example.com")
    assert not Account.objects.exists()
    assert not User.objects.exists()


@pytest.mark.parametrize(("name", "owner"), [(" ", "a@example.com"), ("A" * 101, "a@example.com"), ("Acme", "nobody")])
def test_a_wrong_name_or_address_creates_nothing(db: None, password: None, name: str, owner: str) -> None:
    _refused("create_account", name, "--owner", owner)
    assert not User.objects.exists()


def test_a_deactivated_person_can_not_become_owner(cast: Cast) -> None:
    User.objects.filter(pk=cast.user.pk).update(is_active=False)
    assert "is disabled" in _refused("create_account", "Second", "--owner", "user@example.com")


# create_api_key ---------------------------------------------------------------------------------


def _key(*options: str) -> list[str]:
    return ["create_api_key", "--account", "acme", "--name", "Deploys", "--permission", "read_write", *options]


def test_a_new_key_is_alone_on_the_last_line_and_works(cast: Cast) -> None:
    secret = _run(*_key()).splitlines()[-1]
    assert tokens.is_well_formed(secret)
    assert Program(secret).get("/v2").json()["api_key"]["permission"] == "read_write"


def test_a_key_gets_every_option(cast: Cast) -> None:
    _run(
        *_key("--administrator", "--expires", "30", "--rate-limit", "5/minute"),
        *("--allow", "10.1.2.3/8", "--allow", "2001:db8::/32"),
    )
    api_key = APIKey.objects.get()
    assert api_key.administrator
    assert api_key.rate_limit == "5/minute"
    assert api_key.allowed_networks == ["10.0.0.0/8", "2001:db8::/32"]
    assert api_key.expires_at
    assert abs(api_key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert api_key.created_by == "Command line"


def test_a_key_gets_the_access_that_its_options_list(cast: Cast) -> None:
    one, other = factories.make_service(cast.account), factories.make_service(cast.elsewhere, shared=True)
    _run(*_key("--access", "api", "--access", f"{one.id}:/reports/*,/a", "--access", other.id))
    _run(*_key("--access", "none"))
    assert {key.access for key in APIKey.objects.all()} == {
        f'[{{"service":"api"}},{{"service":"{one.id}","paths":["/reports/*","/a"]}},{{"service":"{other.id}"}}]',
        "[]",
    }


def test_a_key_has_no_option_that_was_not_given(cast: Cast) -> None:
    _run(*_key())
    api_key = APIKey.objects.get()
    assert (api_key.administrator, api_key.expires_at, api_key.allowed_networks, api_key.rate_limit) == (
        False,
        None,
        [],
        None,
    )
    assert api_key.access is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--account", "nobody"], "Unknown account “nobody”."),
        (["--name", " "], "--name: This field cannot be blank."),
        (["--name", "n" * 101], "--name: Ensure this value has at most 100 characters (it has 101)."),
        (["--permission", "everything"], "argument --permission: invalid choice"),
        (["--expires", "0"], "--expires must be a number of days from 1 to 36500."),
        (["--expires", "-1"], "--expires must be a number of days from 1 to 36500."),
        (["--expires", "9999999"], "--expires must be a number of days from 1 to 36500."),
        (["--expires", "soon"], "argument --expires: invalid int value: 'soon'"),
        (["--rate-limit", "fast"], "Write a rate as a number and a unit"),
        (["--access", "svc_1"], "--access: Unknown service: svc_1."),
        (["--access", "api:/a"], "--access: api takes no paths: leave them out."),
        (["--access", "none", "--access", "api"], "--access: Use “none” alone."),
        (["--access", "reports"], "--access: “reports” is not a service."),
        (["--allow", "10.0.0.0/33"], "“10.0.0.0/33” is not a network."),
    ],
)
def test_a_wrong_option_creates_no_key_and_is_named(cast: Cast, options: list[str], sentence: str) -> None:
    assert sentence in _refused(*_key(*options))
    assert not APIKey.objects.exists()


def test_no_path_of_an_access_contains_a_key(cast: Cast) -> None:
    secret = tokens.generate()
    told = _refused(*_key("--access", f"svc_1:/{secret}"))
    assert "--access: This contains an API key" in told
    assert secret not in told


def test_an_account_or_owner_name_contains_no_key(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tokens.generate()
    assert "contains an API key" in _refused("create_account", f"Acme {secret}", "--owner", "o@example.com")
    assert "contains an API key" in _refused("create_account", "Acme", "--owner", f"{secret}@example.com")
    assert "contains a line break" in _refused("create_account", "Ac\nme", "--owner", "o@example.com")
    assert not Account.objects.exists()


# create_service ---------------------------------------------------------------------------------


def test_a_services_id_is_the_last_word(cast: Cast) -> None:
    printed = _run("create_service", "--account", "acme", "--name", " Reports API ")
    service = Service.objects.get()
    assert printed.split()[-1] == service.id
    assert (service.account, service.name, service.shared) == (cast.account, "Reports API", False)
    assert AuditEvent.objects.get(event=Event.SERVICE_CREATED).actor_label == "Command line"


def test_a_service_is_shared_by_an_option(cast: Cast) -> None:
    printed = _run("create_service", "--account", "acme", "--name", "Weather API", "--shared")
    assert "shared with every account" in printed
    assert Service.objects.get().shared


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--account", "nobody"], "Unknown account “nobody”."),
        (["--name", " "], "--name: This field cannot be blank."),
        (["--name", "n" * 101], "--name: Ensure this value has at most 100 characters (it has 101)."),
        (["--name", "two\nlines"], "--name: This contains a line break. Remove it."),
    ],
)
def test_a_wrong_option_creates_no_service_and_is_named(cast: Cast, options: list[str], sentence: str) -> None:
    assert sentence in _refused("create_service", "--account", "acme", "--name", "x", *options)
    assert not Service.objects.exists()


# revoke_api_key ---------------------------------------------------------------------------------


def test_a_key_is_revoked_by_its_id(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    _run("revoke_api_key", issued.api_key.id)
    assert Program(issued.secret).get("/v2").json() == {"Message": "API key has been revoked!"}


def test_a_key_is_revoked_by_its_secret_which_is_not_printed(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    assert issued.secret not in _run("revoke_api_key", issued.secret)
    assert APIKey.objects.get().state == State.REVOKED


def test_a_key_is_revoked_from_standard_input(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = factories.make_key(cast.account)
    monkeypatch.setattr("sys.stdin", StringIO(f"{issued.secret}\n"))
    _run("revoke_api_key", "-")
    assert APIKey.objects.get().state == State.REVOKED


@pytest.mark.parametrize("secret", ["sk_live_0123456789abcdef", "a,b and, c: 0123456789", "x" * 512])
@pytest.mark.parametrize("by", ["argument", "standard input"])
def test_an_imported_key_is_revoked_by_its_secret_too(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, secret: str, by: str
) -> None:
    text = f"name,permission,digest\nLegacy,read,{tokens.digest(secret)}\n"
    services.import_api_keys(actor=policy.system(cast.account.ref), rows=imports.read(text))
    monkeypatch.setattr("sys.stdin", StringIO(f"{secret}\r\n"))
    assert secret not in _run("revoke_api_key", secret if by == "argument" else "-")
    assert APIKey.objects.get().state == State.REVOKED


def test_the_audit_log_says_that_a_key_was_revoked_from_the_command_line(cast: Cast) -> None:
    _run("revoke_api_key", factories.make_key(cast.account).api_key.id)
    event = AuditEvent.objects.get(event=Event.API_KEY_REVOKED)
    assert (event.actor_kind, event.actor_label) == ("system", "Command line")


def test_revoking_twice_is_not_an_error_and_records_one_event(cast: Cast) -> None:
    key_id = factories.make_key(cast.account).api_key.id
    _run("revoke_api_key", key_id)
    assert "was already revoked" in _run("revoke_api_key", key_id)
    assert AuditEvent.objects.filter(event=Event.API_KEY_REVOKED).count() == 1


@pytest.mark.parametrize("unknown", ["key_0000000000000000", "atk_" + "0" * 36, "sk_live_0123456789abcdef", "a\0b", ""])
def test_an_unknown_key_is_an_error(cast: Cast, unknown: str) -> None:
    assert _refused("revoke_api_key", unknown) == "Unknown API key."


def test_an_unknown_key_in_our_format_is_an_error(cast: Cast) -> None:
    assert _refused("revoke_api_key", tokens.generate()) == "Unknown API key."


# maintenance ------------------------------------------------------------------------------------


def test_maintenance_is_for_gateways_only_if_it_says_so(db: None) -> None:
    assert _run("maintenance", "on", "--guard") == "Maintenance mode is on, also for services.\n"
    assert Maintenance.objects.get().guard
    _run("maintenance", "on")
    assert not Maintenance.objects.get().guard


def test_maintenance_is_switched_on_and_off(db: None) -> None:
    assert _run("maintenance", "on", "--message", "Back at noon.", "--retry-after", "60") == "Maintenance mode is on.\n"
    state = Maintenance.objects.get()
    assert (state.on, state.message, state.retry_after) == (True, "Back at noon.", 60)
    assert _run("maintenance", "off") == "Maintenance mode is off.\n"
    state.refresh_from_db()
    assert not state.on


@pytest.mark.parametrize(
    "options",
    [["perhaps"], ["on", "--retry-after", "0"], ["on", "--retry-after", "soon"], ["on", "--message", "m" * 301]],
)
def test_wrong_options_change_nothing(db: None, options: list[str]) -> None:
    _refused("maintenance", *options)
    assert not Maintenance.objects.exists()


# demo -------------------------------------------------------------------------------------------


def test_the_demonstration_has_every_role_and_every_kind_of_item(db: None) -> None:
    _run("demo")
    assert set(Membership.objects.values_list("user__email", "role")) == {
        ("owner@example.com", "owner"),
        ("admin@example.com", "admin"),
        ("user@example.com", "user"),
    }
    assert Project.objects.exists()
    assert Deployment.objects.exists()
    assert APIKey.objects.exists()
    assert Service.objects.exists()


def test_the_demonstration_prints_a_separate_password_for_each_user(db: None, browser: Browser) -> None:
    people = re.findall(r"(\S+@example\.com) +password (\S+)", _run("demo"))
    assert len({password for _, password in people}) == len(PEOPLE)
    for email, password in people:
        assert browser.post("/auth/login/", {"login": email, "password": password})["Location"] == "/"
        browser.logout()


def test_the_demonstration_sends_no_mail(db: None) -> None:
    _run("demo")
    assert not Notice.objects.exists()


def test_the_demonstration_does_not_change_a_database_in_use(cast: Cast) -> None:
    assert "The database already has an account" in _refused("demo")
    assert not User.objects.filter(name="Olivia Owner").exists()
