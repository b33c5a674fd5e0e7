"""/healthz and /readyz."""

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder

from atatus_dash import probes

from .conftest import SecureClient


@pytest.fixture
def client() -> SecureClient:
    return SecureClient()


def test_healthz_says_that_the_process_is_alive(client: SecureClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_health_check_may_use_plain_http(client: SecureClient, db: None, path: str) -> None:
    assert client.get(path, plain_http=True).status_code == 200


def test_readyz_names_each_check(client: SecureClient, db: None) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"database": True, "migrations": True, "cache": True})


def test_readyz_is_503_while_a_migration_is_missing(client: SecureClient, db: None) -> None:
    MigrationRecorder.Migration.objects.filter(app="atatus_dash").delete()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["migrations"]) == (503, False)


def test_readyz_is_503_while_the_database_is_out_of_reach(
    client: SecureClient, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> bool:
        raise OperationalError("gone")

    monkeypatch.setattr(probes, "_database", unreachable)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, False)


def test_readyz_is_503_while_the_cache_loses_values(
    client: SecureClient, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "get", lambda name: None)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["cache"]) == (503, False)
