"""The answer to an `Idempotency-Key` is kept for its API key, for a day, and only so many are."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apikeys import idempotency, pruning
from apikeys.models import IdempotencyKey
from apikeys.services import Issued
from tests import factories
from tests.conftest import Cast, Program

from .test_changing_meanwhile import root
from .test_idempotency import assert_refused, post

__all__ = ["root"]


def test_each_api_key_has_its_own(cast: Cast) -> None:
    one, two = (Program(factories.make_key(cast.account).secret) for _ in range(2))
    assert post(one, "/v2/projects").json() != post(two, "/v2/projects").json()
    elsewhere = Program(factories.make_key(cast.elsewhere).secret)
    assert post(elsewhere, "/v2/projects", {"name": "other"}).status_code == 201
    assert IdempotencyKey.objects.for_account(cast.account).count() == 2


def test_the_successor_of_a_rotated_key_has_its_own(cast: Cast, root: Issued) -> None:
    old = factories.make_key(cast.account, "Old")
    first = post(Program(old.secret), "/v2/projects")
    successor = Program(root.secret).send("POST", f"/v2/api-keys/{old.api_key.id}/rotate", {"overlap": "24h"})
    assert post(Program(successor.json()["key"]), "/v2/projects").json() != first.json()
    assert post(Program(old.secret), "/v2/projects").json() == first.json()


def at_age(age: timedelta) -> None:
    IdempotencyKey.objects.update(created_at=timezone.now() - age)


def test_an_answer_is_repeated_for_a_day(cast: Cast, program: Program) -> None:
    first = post(program, "/v2/projects")
    at_age(timedelta(hours=23, minutes=59))
    assert post(program, "/v2/projects").json() == first.json()
    at_age(timedelta(hours=24))
    later = post(program, "/v2/projects", {"name": "site"})
    assert (later.status_code, later.json()["name"]) == (201, "site")
    assert post(program, "/v2/projects", {"name": "site"}).json() == later.json()
    assert IdempotencyKey.objects.count() == 1


def test_prune_deletes_an_answer_after_a_day(program: Program) -> None:
    post(program, "/v2/projects")
    assert pruning.prune()["answers to Idempotency-Keys"] == 0
    at_age(timedelta(hours=24))
    assert pruning.prune()["answers to Idempotency-Keys"] == 1
    assert not IdempotencyKey.objects.exists()


def test_429_for_more_answers_than_are_kept_for_a_key(
    cast: Cast, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MAXIMUM", 2)
    first = post(program, "/v2/projects", key="1")
    at_age(timedelta(hours=23))
    assert post(program, "/v2/projects", key="2").status_code == 201
    full = post(program, "/v2/projects", key="3")
    assert_refused(
        full, 429, "This API key sent 2 Idempotency-Keys within a day. Send the request without one, or wait."
    )
    assert 3590 <= int(full["Retry-After"]) <= 3600
    assert post(program, "/v2/projects", key="1").json() == first.json()
    assert post(program, "/v2/projects", key=None).status_code == 201
    assert post(Program(factories.make_key(cast.account).secret), "/v2/projects", key="3").status_code == 201
    IdempotencyKey.objects.filter(status=201).order_by("created_at")[:1].get().delete()
    assert post(program, "/v2/projects", key="3").status_code == 201


def test_429_for_a_large_answer_if_those_of_the_account_take_up_too_much(
    cast: Cast, root: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MAXIMUM_LARGE", 2 * idempotency.LARGE)
    administrator, other = Program(root.secret), Program(factories.make_key(cast.account, administrator=True).secret)
    elsewhere = Program(factories.make_key(cast.elsewhere, administrator=True).secret)
    key = factories.make_key(cast.account, "Old").api_key

    def revoke(program: Program, name: str, ids: list[str]) -> Any:
        return post(program, "/v2/api-keys/revoke", {"ids": ids}, key=name)

    many = [f"key_{number:016}" for number in range(200)]
    first = revoke(administrator, "1", many)
    assert len(first.content) >= idempotency.LARGE
    at_age(timedelta(hours=23))
    assert revoke(other, "2", many).status_code == 200
    full = revoke(administrator, "3", [key.id, *many])
    assert_refused(
        full,
        429,
        "The long responses to Idempotency-Keys of this account take up 100 MB. Send the request without one, or wait.",
    )
    assert 3590 <= int(full["Retry-After"]) <= 3600
    key.refresh_from_db()
    assert key.revoked_at is None
    assert revoke(administrator, "1", many).json() == first.json()
    assert revoke(administrator, "4", [key.id]).status_code == 200
    assert revoke(elsewhere, "1", many).status_code == 200
    at_age(timedelta(hours=24))
    assert revoke(administrator, "3", many).status_code == 200
