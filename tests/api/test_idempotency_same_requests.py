"""Requests with one `Idempotency-Key` are the same if their fields mean the same, however they are written."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rest_framework import serializers
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from apikeys.services import Issued
from atatus_dash.api.idempotency import attempt
from atatus_dash.api.parsers import FormParser, MultiPartParser
from atatus_dash.api.resources.api_keys import APIKeySerializer
from atatus_dash.api.serializers import BodySerializer
from tests import factories
from tests.conftest import Cast, Program

from .test_changing_meanwhile import root
from .test_forms import FORM, as_form, multipart
from .test_idempotency import KEY, assert_refused, post
from .test_matrix import things

__all__ = ["root", "things"]


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
