"""Deploy mistakes as system checks."""

from typing import Any

import pytest
from django.core.checks import run_checks

from apikeys.networks import parse_network


def _ids(deploy: bool = True) -> set[str]:
    messages = run_checks(include_deployment_checks=deploy)
    return {str(message.id) for message in messages if not message.is_silenced()}


@pytest.fixture(autouse=True)
def _as_an_installation_should_be(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)  # the browser's tests set it
    settings.ALLOWED_HOSTS = ["keys.example.com"]
    settings.SECRET_KEY = "".join(map(chr, range(33, 100)))


def test_a_right_installation_has_nothing_to_hear() -> None:
    assert _ids() == set()


def test_several_processes_without_redis_are_an_error_for_every_command(settings: Any) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, ""
    assert "atatus_dash.E001" in _ids(deploy=False)


def test_several_processes_with_redis_are_none(settings: Any) -> None:
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
        ("EMAIL_BACKEND", "accounts.console.EmailBackend", "atatus_dash.I001"),
    ],
)
def test_a_mistake_of_an_installation_is_a_warning(settings: Any, name: str, value: object, id: str) -> None:
    setattr(settings, name, value)
    assert id in _ids()
    assert id not in _ids(deploy=False)
