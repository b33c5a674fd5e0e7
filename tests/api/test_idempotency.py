"""A POST with an `Idempotency-Key` has one effect, and the same answer for a day."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import assume, given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries
from rest_framework import serializers
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from accounts import services as account_services
from accounts.models import Account, AuditEvent, Membership, Project
from accounts.policy import KeyPermission, system
from accounts.services import create_project
from apikeys import idempotency, pruning
from apikeys.models import APIKey, IdempotencyKey
from apikeys.services import Issued
from atatus_dash.api.base import APIView
from atatus_dash.api.idempotency import attempt
from atatus_dash.api.parsers import FormParser, MultiPartParser
from atatus_dash.api.resources.api_keys import APIKeySerializer
from atatus_dash.api.serializers import BodySerializer
from tests import factories
from tests.conftest import Cast, Program

from .test_changing_meanwhile import BODIES, body_of
from .test_forms import FORM, as_form, multipart
from .test_matrix import api_routes, fill

pytestmark = pytest.mark.django_db

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
VIEWS: dict[str, type[APIView]] = dict(api_routes())
CREATING = sorted(route for method, route in BODIES if method == "POST")


@pytest.fixture
def root(cast: Cast) -> Issued:
    return factories.make_key(cast.account, "Root", administrator=True)


@pytest.fixture
def things(cast: Cast) -> dict[str, str]:
    project = factories.make_project(cast.account)
    return {
        "<id:project_id>": project.id,
        "<id:key_id>": factories.make_key(cast.account, "Another").api_key.id,
        "<id:member_id>": Membership.objects.get(account=cast.account, user=cast.user).id,
    }


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


# Which requests are the same ---------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"name": "site"}, {}, {"name": "web", "more": 1}, [], {"name": ["web"]}])
def test_422_for_the_same_key_with_another_body(cast: Cast, program: Program, fields: Any) -> None:
    post(program, "/v2/projects")
    assert_refused(
        post(program, "/v2/projects", fields),
        422,
        "This Idempotency-Key was used for another request. Send a new one.",
    )
    assert cast.account.projects.count() == 1


def test_422_for_the_same_key_on_another_path(program: Program, cast: Cast) -> None:
    one, two = (factories.make_project(cast.account) for _ in range(2))
    post(program, f"/v2/projects/{one.id}/deployments", {"revision": "1"})
    assert post(program, f"/v2/projects/{two.id}/deployments", {"revision": "1"}).status_code == 422


def test_a_refusal_is_a_problem_for_a_client_that_asks_for_one(program: Program) -> None:
    post(program, "/v2/projects")
    answer = program.send(
        "POST", "/v2/projects", {}, headers={"Idempotency-Key": KEY, "Accept": "application/problem+json"}
    )
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["status"] == 422


def test_a_trailing_slash_and_a_query_are_the_same_request(program: Program) -> None:
    first = post(program, "/v2/projects")
    for path in ("/v2/projects/", "/v2/projects?a=b"):
        assert post(program, path).json() == first.json()


def test_the_same_request_may_send_its_key_in_another_place(cast: Cast) -> None:
    secret = factories.make_key(cast.account).secret
    first = post(Program(secret), "/v2/projects")
    in_query = post(Program(), f"/v2/projects?api_key={secret}")
    in_body = post(Program(), "/v2/projects", {"api_key": secret, "name": "web"})
    assert first.json() == in_query.json() == in_body.json()


def test_curl_may_choose_a_new_boundary_for_each_attempt(program: Program) -> None:
    answers = []
    for boundary in ("0f1e2d3c", "a-new-one"):
        body = multipart({"name": "web"}).replace("0f1e2d3c", boundary).encode()
        kind = f"multipart/form-data; boundary={boundary}"
        answers.append(program.generic("POST", "/v2/projects", body, kind, headers={"Idempotency-Key": KEY}))
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


def test_rotating_without_a_body_is_the_same_as_with_an_empty_one(root: Issued, things: dict[str, str]) -> None:
    path = f"/v2/api-keys/{things['<id:key_id>']}/rotate"
    first = Program(root.secret).post(path, headers={"Idempotency-Key": KEY})
    assert post(Program(root.secret), path, {}).json()["id"] == first.json()["id"]


def test_a_body_that_is_nested_too_deeply_is_a_400(program: Program) -> None:
    for depth in (100, 500, 900, 1000, 5000, 200_000):
        body = '{"name": "web", "a": ' + "[" * depth + "]" * depth + "}"
        answer = program.post("/v2/projects", body, "application/json", headers={"Idempotency-Key": KEY})
        assert answer.status_code == 400


def fingerprint(parser: Any, body: bytes, kind: str) -> str:
    """The fingerprint of a request for a new key."""
    request = Request(
        APIRequestFactory().post("/v2/api-keys", body, content_type=kind, headers={"Idempotency-Key": KEY})
    )
    request.parsers = [parser]
    return attempt(request, "key_1", APIKeySerializer().meaning(request.data)).fingerprint


WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20)
FIELDS = st.fixed_dictionaries(
    {"name": WORDS, "permission": st.sampled_from(["read", "write"])},
    optional={
        "description": WORDS,
        "administrator": st.booleans(),
        "disabled": st.booleans(),
        "expires_at": st.none() | st.sampled_from(["2030-01-01T00:00:00Z", "2030-01-01T00:00:00.5+02:00", "soon"]),
        "allowed_networks": st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::/32", "nonsense"]), max_size=3),
        "rate_limit": st.none() | st.just("100/minute"),
        "access": st.none() | st.just([]) | st.just([{"service": "api"}]),
        "unknown": WORDS,
    },
)


@given(FIELDS)
def test_a_form_and_json_of_the_same_meaning_have_one_fingerprint(fields: dict[str, Any]) -> None:
    form = as_form(fields)
    body = multipart(form)
    assert (
        fingerprint(JSONParser(), json.dumps(fields).encode(), "application/json")
        == fingerprint(JSONParser(), json.dumps(dict(reversed(fields.items())), indent=1).encode(), "application/json")
        == fingerprint(FormParser(), urlencode(form, doseq=True).encode(), FORM)
        == fingerprint(MultiPartParser(), body.encode(), "multipart/form-data; boundary=0f1e2d3c")
        == fingerprint(MultiPartParser(), body.replace("0f1e2d3c", "x").encode(), "multipart/form-data; boundary=x")
    )


@given(FIELDS, FIELDS)
def test_two_valid_requests_have_one_fingerprint_if_they_would_create_the_same(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    found = [APIKeySerializer(data=fields) for fields in (one, two)]
    assume(all(serializer.is_valid() for serializer in found))
    prints = [fingerprint(JSONParser(), json.dumps(fields).encode(), "application/json") for fields in (one, two)]
    assert (prints[0] == prints[1]) == (found[0].validated_data == found[1].validated_data)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"access": None}, {"access": []}),
        ({"access": None}, {}),
        ({"disabled": True}, {"disabled": False}),
        ({"disabled": True}, {"disabled": "true"}),  # which is refused
        ({"expires_at": None}, {"expires_at": "2030-01-01T00:00:00Z"}),
        ({"allowed_networks": []}, {"allowed_networks": ["10.0.0.0/8"]}),
        ({"allowed_networks": ["10.0.0.0/8", "10.1.0.0/16"]}, {"allowed_networks": ["10.1.0.0/17"]}),
    ],
)
def test_what_differs_in_meaning_differs_in_its_fingerprint(one: dict[str, Any], two: dict[str, Any]) -> None:
    prints = {fingerprint(JSONParser(), json.dumps(fields).encode(), "application/json") for fields in (one, two)}
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"expires_at": "2030-01-01T00:00:00Z"}, {"expires_at": "2030-01-01T02:00:00+02:00"}),
        ({"name": "web"}, {"name": " web "}),
        ({"rate_limit": None}, {"rate_limit": ""}),
    ],
)
def test_one_meaning_in_two_spellings_has_one_fingerprint(one: dict[str, Any], two: dict[str, Any]) -> None:
    prints = {fingerprint(JSONParser(), json.dumps(fields).encode(), "application/json") for fields in (one, two)}
    assert len(prints) == 1


class Items(BodySerializer):
    """Several items at once, some of which may be invalid."""

    keys = serializers.ListField(child=APIKeySerializer())


def test_items_in_a_list_are_compared_one_by_one_even_if_some_are_invalid() -> None:
    def meaning(name: str, expires_at: str) -> Any:
        return Items().meaning({"keys": [{"name": name}, {"name": "web", "expires_at": expires_at}]})

    invalid = ["x" * 101, "y" * 101]
    assert meaning(invalid[0], "2030-01-01T00:00:00Z") == meaning(invalid[0], "2030-01-01T02:00:00+02:00")
    assert meaning(invalid[0], "2030-01-01T00:00:00Z") != meaning(invalid[1], "2030-01-01T00:00:00Z")


# The header --------------------------------------------------------------------------------------


def test_in_quotes_it_is_the_same_as_without(program: Program) -> None:
    answers = [post(program, "/v2/projects", key=key).json() for key in (KEY, f'"{KEY}"', f' "{KEY}" ')]
    assert answers[0] == answers[1] == answers[2]


def test_an_escaped_quote_is_a_quote(program: Program) -> None:
    assert post(program, "/v2/projects", key='a"b\\').json() == post(program, "/v2/projects", key='"a\\"b\\\\"').json()


@pytest.mark.parametrize("key", ["a", "x" * 255, '"' + "x" * 255 + '"', "a,b", "~!#;=", "e5/9+A=="])
def test_any_visible_ascii_will_do(program: Program, key: str) -> None:
    assert post(program, "/v2/projects", key=key).status_code == 201


@pytest.mark.parametrize(
    "key",
    ["", " ", '""', '"', "x" * 256, '"' + "x" * 256 + '"', "a b", '"a b"', "é", "a\tb", '"a"b"', '"a\\b"', '"a";b'],
)
def test_400_for_a_malformed_one_says_what_to_send(cast: Cast, program: Program, key: str) -> None:
    answer = post(program, "/v2/projects", key=key)
    assert_refused(answer, 400, "The Idempotency-Key is invalid.")
    assert answer.json()["Errors"] == {
        "Idempotency-Key": ["Send 1 to 255 visible ASCII characters, such as a UUID, in double quotes or without."]
    }
    assert not cast.account.projects.exists()


# Whose it is, and for how long -------------------------------------------------------------------


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


# At once -----------------------------------------------------------------------------------------


class Slow:
    """Creating a project waits until it is released."""

    def __init__(self) -> None:
        self.started, self.released, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def __call__(self, **fields: Any) -> Project:
        project = create_project(**fields)
        self.started.set()
        assert self.released.wait(20)
        if self.error is not None:
            raise self.error
        return project


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow()
    monkeypatch.setattr(account_services, "create_project", slow)
    yield slow
    slow.released.set()


def in_thread(answers: list[Any], program: Program) -> threading.Thread:
    def send() -> None:
        try:
            answers.append(post(program, "/v2/projects"))
        finally:
            connection.close()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_409_while_the_first_request_runs(cast: Cast, slow: Slow) -> None:
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    thread = in_thread(answers, Program(secret))
    assert slow.started.wait(20)
    meanwhile = post(Program(secret), "/v2/projects")
    slow.released.set()
    thread.join(20)
    assert_refused(meanwhile, 409, "A request with this Idempotency-Key is still running. Try again in a moment.")
    assert meanwhile["Retry-After"] == "1"
    assert post(Program(secret), "/v2/projects").json() == answers[0].json()
    assert cast.account.projects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_another_process_does_not_run_it_a_second_time(cast: Cast, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL, the second request gets a 409. On SQLite, it waits for the first, and then finds its answer."""
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    threads = [in_thread(answers, Program(secret))]
    assert slow.started.wait(20)
    monkeypatch.setattr(idempotency, "_running", set())  # of the other process
    threads.append(in_thread(answers, Program(secret)))
    threads[1].join(0.5)
    assert threads[1].is_alive() == (connection.vendor == "sqlite")
    slow.released.set()
    for thread in threads:
        thread.join(20)
    assert sorted(answer.status_code for answer in answers) == (
        [201, 201] if connection.vendor == "sqlite" else [201, 409]
    )
    assert cast.account.projects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("one_process", [True, False])
def test_of_many_attempts_at_once_one_has_an_effect(
    cast: Cast, one_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(factories.make_key(cast.account, rate_limit="10000/minute").secret)
    if not one_process:

        class Forgetful(set[Any]):
            def add(self, item: Any) -> None:
                """Each process knows only its own running requests."""

        monkeypatch.setattr(idempotency, "_running", Forgetful())

    def send(start: threading.Barrier, key: str) -> Any:
        start.wait()
        try:
            return post(program, "/v2/projects", key=key)
        finally:
            connection.close()

    for number in range(1, 11):
        start = threading.Barrier(6)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(send, [start] * 6, [f"attempt {number}".replace(" ", "-")] * 6))
        assert {answer.status_code for answer in answers} <= {201, 409}
        created = {answer.json()["id"] for answer in answers if answer.status_code == 201}
        assert len(created) == 1
        assert cast.account.projects.count() == number
        assert sum("Idempotent-Replayed" not in a for a in answers if a.status_code == 201) == 1


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_failed_does_not_block_the_next(cast: Cast, slow: Slow) -> None:
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    slow.error = RuntimeError("bug")
    thread = in_thread(answers, Program(secret, raise_request_exception=False))
    assert slow.started.wait(20)
    assert post(Program(secret), "/v2/projects").status_code == 409
    slow.released.set()
    thread.join(20)
    slow.error = None
    assert [answer.status_code for answer in answers] == [500]
    assert post(Program(secret), "/v2/projects").status_code == 201
    assert cast.account.projects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.services
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
def test_a_node_that_dies_while_it_runs_does_not_block_the_next_attempt(
    cast: Cast, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    thread = in_thread(answers, Program(secret))
    assert slow.started.wait(20)
    monkeypatch.setattr(idempotency, "_running", set())  # of another node
    assert post(Program(secret), "/v2/projects").status_code == 409
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    slow.released.set()
    assert post(Program(secret), "/v2/projects").status_code == 201
    thread.join(20)
    assert [answer.status_code for answer in answers] == [503]
    assert cast.account.projects.count() == 1


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
