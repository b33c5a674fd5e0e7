"""System checks for mistakes in the settings."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import INFO, WARNING, CheckMessage, run_checks
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from apikeys.networks import parse_network
from atatus_dash import scheduler
from atatus_dash.models import ScheduledJob
from tests import factories
from tests.servers import Installation


def _messages(deploy: bool = True) -> dict[str, CheckMessage]:
    messages = run_checks(include_deployment_checks=deploy)
    return {str(message.id): message for message in messages if not message.is_silenced()}


def _ids(deploy: bool = True, level: int = INFO) -> set[str]:
    return {id for id, message in _messages(deploy).items() if message.level >= level}


@pytest.fixture(autouse=True)
def _as_an_installation_should_be(db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)  # the browser's tests set it
    settings.ALLOWED_HOSTS = ["keys.example.com"]
    settings.PUBLIC_URL = "https://keys.example.com"
    settings.SECRET_KEY = "".join(map(chr, range(33, 100)))
    settings.TRUSTED_PROXIES = (parse_network("127.0.0.1/32"),)
    settings.REDIS_URL = "redis://localhost"


def test_a_correct_installation_gets_no_warnings() -> None:
    assert _ids(level=WARNING) == set()


def test_one_process_on_sqlite_needs_no_redis(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = ""
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    assert "atatus_dash.W012" not in _ids()


def test_postgresql_without_redis_is_a_mistake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = ""
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert "atatus_dash.W012" in _ids()
    assert "atatus_dash.W012" not in _ids(deploy=False)


def test_plain_http_needs_no_proxy(settings: Settings) -> None:
    settings.ALLOW_HTTP, settings.TRUSTED_PROXIES = True, ()
    assert "atatus_dash.W011" not in _ids()


def test_the_public_address_may_be_one_of_several_hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = [".example.com", "127.0.0.1"]
    settings.PUBLIC_URL = "https://keys.example.com:8443"
    assert _ids(level=WARNING) == set()


def test_plain_http_in_the_public_address_is_fine_where_plain_http_is_allowed(settings: Settings) -> None:
    settings.PUBLIC_URL, settings.ALLOW_HTTP = "http://keys.example.com", True
    assert "atatus_dash.W007" not in _ids()


def test_several_processes_without_redis_are_an_error_for_every_command(settings: Settings) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, ""
    assert "atatus_dash.E001" in _ids(deploy=False)


def test_several_processes_with_redis_give_no_error(settings: Settings) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, "redis://localhost"
    assert "atatus_dash.E001" not in _ids()


@pytest.mark.parametrize(
    ("name", "value", "id"),
    [
        ("ALLOWED_HOSTS", [], "atatus_dash.W001"),
        ("ALLOWED_HOSTS", ["localhost", "127.0.0.1"], "atatus_dash.W001"),
        ("ALLOWED_HOSTS", ["*"], "atatus_dash.W002"),
        ("ALLOW_HTTP", True, "atatus_dash.W003"),
        ("TRUSTED_PROXIES", (parse_network("0.0.0.0/0"),), "atatus_dash.W004"),
        ("PUBLIC_URL", "", "atatus_dash.W005"),
        ("PUBLIC_URL", "https://keys.example.org", "atatus_dash.W006"),
        ("PUBLIC_URL", "https://[::1]:8443", "atatus_dash.W006"),
        ("PUBLIC_URL", "http://keys.example.com", "atatus_dash.W007"),
        ("EMAIL_BACKEND", "accounts.console.EmailBackend", "atatus_dash.W013"),
        ("TRUSTED_PROXIES", (), "atatus_dash.W011"),
    ],
)
def test_a_mistake_of_an_installation_is_a_warning(settings: Settings, name: str, value: object, id: str) -> None:
    setattr(settings, name, value)
    assert id in _ids()
    assert id not in _ids(deploy=False)


# Second factors ---------------------------------------------------------------------------------

UNREADABLE = "atatus_dash.W010"


def _unreadable(**options: Any) -> list[str]:
    return [message.msg for message in run_checks(**options) if message.id == UNREADABLE]


@pytest.fixture
def locked_out(settings: Settings) -> User:
    """A person whose second factor was encrypted with a key that is no longer set."""
    settings.ENCRYPTION_KEYS = ["a key that was lost since " * 2]
    person = factories.give_second_factor(factories.make_user())
    settings.ENCRYPTION_KEYS = []
    return person


@pytest.mark.parametrize("options", [{"include_deployment_checks": True}, {"databases": ["default"]}])
def test_a_second_factor_that_can_not_be_read_is_a_warning(locked_out: User, options: Any) -> None:
    factories.give_second_factor(factories.make_user())
    (told,) = _unreadable(**options)
    assert told.startswith("1 second factor can't be decrypted")
    assert locked_out.email not in told


def test_a_check_without_deploy_uses_no_database(locked_out: User) -> None:
    assert _unreadable() == []


def test_second_factors_that_can_be_read_give_no_warning(settings: Settings) -> None:
    factories.give_second_factor(factories.make_user())
    settings.ENCRYPTION_KEYS = ["a key that was set later on, and is newest"]
    assert _unreadable(include_deployment_checks=True) == []


def test_a_check_before_the_first_migration_says_nothing(locked_out: User) -> None:
    with connection.schema_editor() if connection.vendor == "postgresql" else connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mfa_authenticator RENAME TO elsewhere")
    assert _unreadable(include_deployment_checks=True) == []


def _jobs_told(deploy: bool = True) -> list[str]:
    return sorted(m.msg for m in run_checks(include_deployment_checks=deploy) if m.id == "atatus_dash.W014")


def test_a_scheduled_job_that_is_late_or_fails_is_a_warning() -> None:
    scheduler.create_rows()
    ScheduledJob.objects.filter(pk="prune").update(next_run_at=datetime(2026, 11, 2, 3, 17, tzinfo=UTC))
    ScheduledJob.objects.filter(pk="mail").update(failures=2, last_error="The mail server can't be reached")
    assert _jobs_told() == [
        "The scheduled job mail fails: The mail server can't be reached",
        "The scheduled job prune has been due since 2 November 2026, 03:17 UTC.",
    ]
    assert _jobs_told(deploy=False) == []


def test_scheduled_jobs_that_run_or_have_no_table_yet_give_no_warning() -> None:
    assert _jobs_told() == []
    scheduler.create_rows()
    assert _jobs_told() == []
    with connection.schema_editor() if connection.vendor == "postgresql" else connection.cursor() as cursor:
        cursor.execute("ALTER TABLE atatus_dash_scheduledjob RENAME TO elsewhere")
    assert _jobs_told() == []


#: Prints whether the first creates the database.
TWO_CHECKS = """
import os
from django.conf import settings
from django.core.management import call_command
call_command("check", deploy=True)
print(os.path.exists(settings.DATABASES["default"]["NAME"]))
call_command("check", databases=["default"])
"""


def test_check_works_without_a_database_and_creates_none(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    checked = installation.manage("shell", "--no-imports", "--command", TWO_CHECKS)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("False\n")
    checked = installation.manage("check", "--deploy", DATABASE_URL="postgres://keys@127.0.0.1:1/keys")
    assert checked.returncode == 0, checked.stderr
