"""A POST with an `Idempotency-Key` has one effect, and the same answer for a day."""

import json
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import services as account_services
from accounts.models import Account, AuditEvent
from accounts.policy import KeyPermission, system
from accounts.services import create_project
from apikeys.models import APIKey, IdempotencyKey
from apikeys.services import Issued
from atatus_dash.api.base import APIView
from atatus_dash.api.serializers import BodySerializer
from tests import factories
from tests.conftest import Cast, Program

from .test_changing_meanwhile import BODIES, body_of, root
from .test_matrix import api_routes, fill, things

__all__ = ["root", "things"]

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
VIEWS: dict[str, type[APIView]] = dict(api_routes())
CREATING = sorted(route for method, route in BODIES if method == "POST")


def post(program: Program, path: str, fields: Any = None, key: str | None = KEY, **extra: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return program.send("POST", path, {"name": "web"} if fields is None else fields, headers=headers, **extra)


def assert_refused(response: Any, status: int, message: str) -> None:
    """The refusal in both formats. Here, the body is always that of the first request."""
    assert (response.status_code, response["Content-Type"]) == (status, "application/json")
    assert response.json()["Message"] == message
    assert response["X-Request-ID"]
    assert "Idempotent-Replayed" not in response


# One effect --------------------------------------------------------------------------------------


def test_every_post_that_creates_something_takes_an_idempotency_key() -> None:
    taking = {route for route, view in VIEWS.items() if "POST" in view.idempotent_methods}
    assert taking == set(CREATING)
    for route in taking:
        assert issubclass(VIEWS[route].request_serializers["POST"], BodySerializer)


@pytest.mark.parametrize("route", CREATING)
def test_a_repeated_request_gets_the_first_answer_and_changes_nothing(
    root: Issued, things: dict[str, str], route: str
) -> None:
    path, fields = fill(route, things), body_of("POST", route, things)
    first = post(Program(root.secret), path, fields)
    events = AuditEvent.objects.count()
    again = post(Program(root.secret), path, fields)
    assert first.status_code == again.status_code
    assert first.status_code in (200, 201)
    expected = {**first.json(), "key": None} if "key" in first.json() else first.json()
    assert again.json() == expected
    assert again.headers.get("Location") == first.headers.get("Location")
    assert (again["Idempotent-Replayed"], again["Content-Type"]) == ("true", first["Content-Type"])
    assert "Idempotent-Replayed" not in first
    assert AuditEvent.objects.count() == events


def test_a_repeated_answer_has_the_same_bytes_and_the_usual_headers(program: Program) -> None:
    first, again = post(program, "/v2/projects"), post(program, "/v2/projects")
    assert again.content == first.content
    changing = {"RateLimit", "X-Request-ID"}
    assert set(again.headers) == set(first.headers) | {"Idempotent-Replayed"}
    for name in set(first.headers) - changing:
        assert again[name] == first[name]


def test_without_an_idempotency_key_each_request_has_an_effect(program: Program) -> None:
    assert post(program, "/v2/projects", key=None).json() != post(program, "/v2/projects", key=None).json()
    assert not IdempotencyKey.objects.exists()


def test_another_idempotency_key_is_another_request(program: Program) -> None:
    assert post(program, "/v2/projects").json() != post(program, "/v2/projects", key=f"{KEY}0").json()


def test_an_answer_is_repeated_as_it_was_even_if_the_item_has_changed(cast: Cast, program: Program) -> None:
    first = post(program, "/v2/projects")
    program.send("PATCH", first["Location"], {"name": "site"})
    assert post(program, "/v2/projects").json() == first.json()
    program.delete(first["Location"])
    assert post(program, "/v2/projects").json() == first.json()
    assert not cast.account.projects.exists()


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "GET"])
def test_other_methods_ignore_it(cast: Cast, program: Program, method: str) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    answer = program.send(method, path, {"name": "x"} if method[0] == "P" else None, headers={"Idempotency-Key": ""})
    assert answer.status_code in (200, 204)
    assert not IdempotencyKey.objects.exists()


def test_post_v2_ignores_it(program: Program) -> None:
    assert program.send("POST", "/v2", {}, headers={"Idempotency-Key": ""}).status_code == 200


# The gates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fate", "status"),
    [
        ({"revoked_at": timezone.now()}, 401),
        ({"expires_at": timezone.now()}, 401),
        ({"permission": KeyPermission.READ.value}, 403),
        ({"allowed_networks": ["10.0.0.0/8"]}, 403),
        ({"access": "[]"}, 403),
        ({"rate_limit": "1/hour"}, 429),
    ],
)
def test_a_repeated_request_passes_the_same_gates(cast: Cast, fate: dict[str, Any], status: int) -> None:
    issued = factories.make_key(cast.account)
    post(Program(issued.secret), "/v2/projects")
    APIKey.objects.filter(pk=issued.api_key.pk).update(**fate)
    Program(issued.secret).get("/v2")
    assert post(Program(issued.secret), "/v2/projects").status_code == status


def test_a_key_that_loses_administrator_access_no_longer_gets_the_answer(root: Issued) -> None:
    fields = {"name": "x", "permission": "read"}
    post(Program(root.secret), "/v2/api-keys", fields)
    APIKey.objects.filter(pk=root.api_key.pk).update(administrator=False)
    assert post(Program(root.secret), "/v2/api-keys", fields).status_code == 403


def test_a_repeated_request_counts_towards_the_limit(program: Program) -> None:
    first, again = post(program, "/v2/projects"), post(program, "/v2/projects")
    assert ("r=599" in first["RateLimit"], "r=598" in again["RateLimit"]) == (True, True)


def test_a_suspended_account_gets_no_repeated_answer(cast: Cast, program: Program) -> None:
    post(program, "/v2/projects")
    account_services.suspend_account(actor=system(cast.account.ref))
    assert post(program, "/v2/projects").status_code == 403


# Secrets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["v2/api-keys", "v2/api-keys/<id:key_id>/rotate"])
def test_no_secret_is_stored(
    root: Issued, things: dict[str, str], route: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = post(Program(root.secret), fill(route, things), body_of("POST", route, things))
    secret = first.json()["key"]
    stored = IdempotencyKey.objects.get()
    assert secret not in repr(stored.__dict__)
    assert json.loads(stored.body)["key"] is None
    assert "masked" not in caplog.text  # the server didn't even try to write it
    assert Program(secret).get("/v2").status_code == 200


def test_an_idempotency_key_that_is_an_api_key_is_not_stored(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    secret = factories.make_key(cast.account).secret
    first = post(Program(secret), "/v2/projects", key=secret)
    assert post(Program(secret), "/v2/projects", key=secret).json() == first.json()
    assert secret not in repr(IdempotencyKey.objects.get().__dict__)
    assert "masked" not in caplog.text


def test_an_account_takes_its_answers_with_it(cast: Cast, program: Program) -> None:
    post(program, "/v2/projects")
    AuditEvent.objects.for_account(cast.account).delete_permanently()
    Account.objects.filter(pk=cast.account.pk).delete()
    assert not IdempotencyKey.objects.exists()


# Errors ------------------------------------------------------------------------------------------


def test_after_an_invalid_request_the_key_can_be_used_for_the_corrected_one(program: Program) -> None:
    assert post(program, "/v2/projects", {"name": ""}).status_code == 400
    assert not IdempotencyKey.objects.exists()
    assert post(program, "/v2/projects").status_code == 201


def test_after_a_refusal_by_the_service_the_key_can_be_used_again(root: Issued) -> None:
    fields = {"email": "owner@example.com", "role": "user"}
    assert post(Program(root.secret), "/v2/invitations", fields).status_code == 400
    assert post(Program(root.secret), "/v2/invitations", {**fields, "email": "new@example.com"}).status_code == 201


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("bug"), 500), (OperationalError("gone"), 503)])
def test_after_a_crash_nothing_is_left_and_a_retry_works(
    cast: Cast, program: Program, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def created_and_then_crash(**fields: Any) -> Any:
        create_project(**fields)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(account_services, "create_project", created_and_then_crash)
        assert post(program, "/v2/projects").status_code == status
    assert not cast.account.projects.exists()
    assert not IdempotencyKey.objects.exists()
    assert post(program, "/v2/projects").status_code == 201


def test_an_answer_that_can_not_be_stored_undoes_its_effect(
    cast: Cast, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(IdempotencyKey.objects, "update_or_create", fail)
    assert post(program, "/v2/projects").status_code == 500
    assert not cast.account.projects.exists()


# What it costs -----------------------------------------------------------------------------------


def test_it_takes_no_query_without_the_header(
    program: Program, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(100) as queries:
        post(program, "/v2/projects", key=None)
    assert not [query for query in queries.captured_queries if "idempotency" in query["sql"]]


def test_a_repeated_answer_takes_one_query_more_than_its_key(
    program: Program, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    post(program, "/v2/projects")
    with django_assert_num_queries(2):  # the key, the answer
        post(program, "/v2/projects")
