"""Deploy mistakes as system checks."""

from typing import Any

import pytest
from django.core.checks import INFO, WARNING, CheckMessage, run_checks

from apikeys.networks import parse_network


def _messages(deploy: bool = True) -> dict[str, CheckMessage]:
    messages = run_checks(include_deployment_checks=deploy)
    return {str(message.id): message for message in messages if not message.is_silenced()}


def _ids(deploy: bool = True, level: int = INFO) -> set[str]:
    return {id for id, message in _messages(deploy).items() if message.level >= level}


@pytest.fixture(autouse=True)
def _as_an_installation_should_be(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)  # the browser's tests set it
    settings.ALLOWED_HOSTS = ["keys.example.com"]
    settings.PUBLIC_URL = "https://keys.example.com"
    settings.SECRET_KEY = "".join(map(chr, range(33, 100)))


@pytest.mark.parametrize("proxies", [(), (parse_network("127.0.0.1/32"),)])
def test_a_right_installation_is_warned_of_nothing(settings: Any, proxies: object) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert _ids(level=WARNING) == set()


def test_an_installation_with_a_proxy_hears_what_the_proxy_has_to_do(settings: Any) -> None:
    settings.TRUSTED_PROXIES = (parse_network("127.0.0.1/32"),)
    message = _messages()["atatus_dash.I002"]
    assert "X_Forwarded_For" in message.msg
    assert "body" in message.msg
    assert "docs/operations.md" in str(message.hint)
    assert "atatus_dash.I002" not in _ids(deploy=False)
    assert "atatus_dash.I003" not in _ids()


def test_an_installation_without_a_proxy_hears_that_slow_bodies_can_stop_it(settings: Any) -> None:
    settings.THREADS, settings.WEB_CONCURRENCY, settings.REDIS_URL = 5, 3, "redis://localhost"
    message = _messages()["atatus_dash.I003"]
    assert "15 requests" in message.msg
    assert "docs/operations.md" in str(message.hint)
    assert "atatus_dash.I003" not in _ids(deploy=False)
    assert "atatus_dash.I002" not in _ids()


def test_the_public_address_may_be_one_of_several_hosts(settings: Any) -> None:
    settings.ALLOWED_HOSTS = [".example.com", "127.0.0.1"]
    settings.PUBLIC_URL = "https://keys.example.com:8443"
    assert _ids(level=WARNING) == set()


def test_plain_http_in_the_public_address_is_fine_where_plain_http_is_allowed(settings: Any) -> None:
    settings.PUBLIC_URL, settings.ALLOW_HTTP = "http://keys.example.com", True
    assert "atatus_dash.W007" not in _ids()


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
        ("PUBLIC_URL", "", "atatus_dash.W005"),
        ("PUBLIC_URL", "https://keys.example.org", "atatus_dash.W006"),
        ("PUBLIC_URL", "https://[::1]:8443", "atatus_dash.W006"),
        ("PUBLIC_URL", "http://keys.example.com", "atatus_dash.W007"),
        ("EMAIL_BACKEND", "accounts.console.EmailBackend", "atatus_dash.I001"),
    ],
)
def test_a_mistake_of_an_installation_is_a_warning(settings: Any, name: str, value: object, id: str) -> None:
    setattr(settings, name, value)
    assert id in _ids()
    assert id not in _ids(deploy=False)
