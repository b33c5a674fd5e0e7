"""A form means the same as JSON, multipart or urlencoded, with missing, repeated and empty fields."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.test import APIRequestFactory

from accounts.models import Project
from atatus_dash.api.base import APIView
from tests import factories
from tests.conftest import Cast, Program

from .test_matrix import api_routes

FORM = "application/x-www-form-urlencoded"
BOUNDARY = "0f1e2d3c"


def multipart(fields: dict[str, Any]) -> str:
    """As curl writes `-F name=value`; a list is a field sent several times."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, values in fields.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return "".join(parts) + f"--{BOUNDARY}--\r\n"


def as_form(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON fields as form fields: true as a word, null and an empty list as an empty field, objects as JSON text."""

    def text(value: Any) -> Any:
        return {True: "true", False: "false", None: ""}.get(value, value) if not isinstance(value, list) else value

    of_objects = ("access", "api_keys")
    return {name: json.dumps(value) if name in of_objects else text(value) or "" for name, value in fields.items()}


def send_each_way(program: Program, method: str, path: str, fields: dict[str, Any]) -> list[Any]:
    form = as_form(fields)
    return [
        program.send(method, path, fields),
        program.generic(
            method, path, multipart(form).encode(), content_type=f"multipart/form-data; boundary={BOUNDARY}"
        ),
        program.generic(method, path, urlencode(form, doseq=True), content_type=FORM),
    ]


@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_a_key_created_by_a_form_has_the_same_defaults_as_by_json(administrator: Program, kind: str) -> None:
    fields = {"name": "Deploys", "permission": "write"}
    if kind == "multipart":
        made = administrator.post("/v2/api-keys", fields).json()
    else:
        made = administrator.post("/v2/api-keys", urlencode(fields), content_type=FORM).json()
    assert (made["accepts_query"], made["accepts_body"]) == (True, True)
    assert (made["administrator"], made["disabled"]) == (False, False)
    assert Program().get("/v2", {"api_key": made["key"]}).status_code == 200


BOOLEANS = ["administrator", "disabled", "accepts_query", "accepts_body"]


@pytest.mark.parametrize("value", ["true", "false", "True", "False", "1", "0", "on", "off"])
def test_a_boolean_in_a_form_is_read_as_its_value(administrator: Program, value: str) -> None:
    fields = {"name": "Deploys", "permission": "write", **dict.fromkeys(BOOLEANS, value)}
    made = administrator.post("/v2/api-keys", fields).json()
    assert [made[name] for name in BOOLEANS] == [value in ("true", "True", "1", "on")] * len(BOOLEANS)


@pytest.mark.parametrize("value", ["yes", "TRUE", "2", "null", " true"])
def test_another_word_in_a_form_is_no_boolean(administrator: Program, value: str) -> None:
    fields = {"name": "Deploys", "permission": "write", "disabled": value}
    answer = administrator.post("/v2/api-keys", fields)
    assert (answer.status_code, answer.json()["Errors"]) == (400, {"disabled": ["Send true or false."]})


@pytest.mark.parametrize("value", [1, 0, 1.0, "true", "", None, [True], {}])
def test_only_true_and_false_are_booleans_in_json(administrator: Program, value: object) -> None:
    """A program that sends a text or a number by mistake must not create a key with settings that it didn't intend."""
    fields = {"name": "Deploys", "permission": "write", **dict.fromkeys(BOOLEANS, value)}
    answer = administrator.send("POST", "/v2/api-keys", fields)
    sentence = "This field may not be null." if value is None else "Send true or false."
    assert (answer.status_code, answer.json()["Errors"]) == (400, {name: [sentence] for name in BOOLEANS})


def test_a_list_in_a_form_is_a_field_that_is_sent_several_times(administrator: Program) -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32"]
    for sent in (networks[:1], networks):
        fields = {"name": "Deploys", "permission": "write", "allowed_networks": sent}
        answers = send_each_way(administrator, "POST", "/v2/api-keys", fields)
        assert [answer.json()["allowed_networks"] for answer in answers] == [sent] * 3


@pytest.mark.parametrize(
    "body",
    [
        "--b\r\nContent-Disposition: form-data; name=name\r\n\r\nDep",
        "--b\r\nContent-Disposition: form-data; name=name\r\n\r\nDeploys\r\n--b\r\n",
        "--b\r\nNone--b--\r\n",
        "name=Deploys",
    ],
)
def test_a_multipart_body_without_its_end_changes_nothing(cast: Cast, program: Program, body: str) -> None:
    """The body may have been cut off."""
    project = factories.make_project(cast.account, "web")
    path, kind = f"/v2/projects/{project.id}", "multipart/form-data; boundary=b"
    assert program.generic("PATCH", path, body, content_type=kind).status_code == 400
    assert program.get(path).json()["name"] == "web"


def test_a_list_of_objects_in_a_form_may_be_an_object_each_time(cast: Cast, administrator: Program) -> None:
    access = [{"service": "api"}, {"service": factories.make_service(cast.account).id, "paths": ["/a"]}]
    for sent in (access[:1], access):
        fields = {"name": "Deploys", "permission": "write", "access": [json.dumps(entry) for entry in sent]}
        assert administrator.post("/v2/api-keys", fields).json()["access"] == sent


@pytest.mark.parametrize("name", ["é" * 100, f" {'x' * 99}", f"{'x' * 98}\n "])
def test_a_text_of_the_greatest_length_is_kept_without_spaces_around_it(program: Program, name: str) -> None:
    assert program.send("POST", "/v2/projects", {"name": name}).json()["name"] == name.strip()


def test_spaces_around_a_text_count_for_its_length(cast: Cast, administrator: Program) -> None:
    """The maximum length in the description is that of the text as it is sent."""
    sentence = "Ensure this field has no more than 100 characters."
    for answer in send_each_way(administrator, "POST", "/v2/projects", {"name": f" {'x' * 100}"}):
        assert (answer.status_code, answer.json()["Errors"]) == (400, {"name": [sentence]})
    fields = {"name": "Deploys", "permission": "write", "allowed_networks": ["10.0.0.0/8", f"{' ' * 50}10.1.0.0"]}
    answer = administrator.send("POST", "/v2/api-keys", fields)
    assert (answer.status_code, list(answer.json()["Errors"])) == (400, ["allowed_networks"])


def test_an_empty_field_of_a_form_is_null(administrator: Program) -> None:
    fields = {"name": "x", "permission": "read", "expires_at": "", "rate_limit": "", "description": ""}
    made = administrator.post("/v2/api-keys", {**fields, "allowed_networks": ""}).json()
    assert (made["expires_at"], made["rate_limit"], made["description"]) == (None, None, "")
    assert made["allowed_networks"] == []


@pytest.mark.parametrize("empty", [None, ""])
def test_null_and_an_empty_string_are_the_same_in_json(administrator: Program, empty: str | None) -> None:
    names = ("expires_at", "rate_limit", "description")
    fields = {"name": "x", "permission": "read", **dict.fromkeys(names, empty)}
    made = administrator.send("POST", "/v2/api-keys", fields)
    assert [made.json()[name] for name in names] == [None, None, ""]


@pytest.mark.parametrize("empty", [None, "", " "])
def test_neither_null_nor_a_text_is_a_list_in_json(administrator: Program, cast: Cast, empty: str | None) -> None:
    """Not even an empty text: an unset variable of a program must not remove a key's networks."""
    key = factories.make_key(cast.account, administrator=True, allowed_networks=["10.0.0.0/8"]).api_key
    answers = [
        administrator.send("PATCH", f"/v2/api-keys/{key.id}", {"allowed_networks": empty}),
        administrator.send("POST", "/v2/api-keys", {"name": "x", "permission": "read", "allowed_networks": empty}),
        administrator.send("POST", "/v2/leaked-keys", {"credentials": empty}),
    ]
    sentence = "This field may not be null." if empty is None else 'Expected a list of items but got type "str".'
    assert [answer.status_code for answer in answers] == [400] * 3
    assert [answer.json()["Errors"] for answer in answers] == [
        {"allowed_networks": [sentence]},
        {"allowed_networks": [sentence]},
        {"credentials": [sentence]},
    ]
    key.refresh_from_db()
    assert key.allowed_networks == ["10.0.0.0/8"]


def test_an_empty_list_or_an_empty_form_field_removes_the_restriction_to_networks(
    administrator: Program, cast: Cast
) -> None:
    for number in range(3):
        key = factories.make_key(cast.account, f"{number}", allowed_networks=["10.0.0.0/8"]).api_key
        answer = send_each_way(administrator, "PATCH", f"/v2/api-keys/{key.id}", {"allowed_networks": []})[number]
        assert (answer.status_code, answer.json()["allowed_networks"]) == (200, [])


def test_a_repeated_field_is_refused_in_forms_as_in_json(program: Program) -> None:
    response = program.post("/v2/projects", {"name": ["web", "shop"]})
    assert (response.status_code, response.json()["Errors"]) == (400, {"name": ["Send this field once."]})
    assert not Project.objects.exists()


@pytest.mark.parametrize("start", [{"accepts_query": True, "accepts_body": False}, {"accepts_query": False}])
def test_patch_does_not_change_fields_missing_in_a_form(
    administrator: Program, cast: Cast, start: dict[str, Any]
) -> None:
    key = factories.make_key(cast.account, administrator=True, **start).api_key
    before = administrator.get(f"/v2/api-keys/{key.id}").json()
    for answer in send_each_way(administrator, "PATCH", f"/v2/api-keys/{key.id}", {"description": "Nightly"}):
        assert answer.json() == {**before, "description": "Nightly"}
    policy = administrator.get("/v2/account").json()
    for answer in send_each_way(administrator, "PATCH", "/v2/account", {"name": "Acme"}):
        assert answer.json() == policy


# Random bodies ---------------------------------------------------------------------------------

LINE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8) | st.sampled_from(["Café", "東京"])
TEXT = LINE | st.none() | st.just("")
#: Only texts that are not booleans in a form either, where "true" is one.
BOOLEAN = st.booleans() | st.sampled_from(["yes", "no", "maybe", "", None])
ROLE = {"role": st.sampled_from(["admin", "user", "owner", "", None])}
NAME = {"name": TEXT}
KEY: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "description": TEXT,
    "permission": st.sampled_from(["read", "write", "read_write", "all", "", None]),
    "administrator": BOOLEAN,
    "disabled": BOOLEAN,
    "expires_at": st.sampled_from(["2199-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "tomorrow", "", None]),
    "allowed_networks": st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "x"]), max_size=3),
    "rate_limit": st.sampled_from(["100/minute", "5/hour", "fast", "", None]),
    "accepts_query": BOOLEAN,
    "accepts_body": BOOLEAN,
    "access": st.sampled_from([None, [], [{"service": "api"}], [{"service": "svc_1", "paths": ["/a"]}], [{}], ["api"]]),
}

SERVICE = {
    "name": TEXT,
    "reading_methods": st.lists(st.sampled_from(["GET", "get", "POST", "G T", " "]), max_size=3),
    "reading_paths": st.lists(st.sampled_from(["/a", "/a/*", "a", "/a/../b", "é"]), max_size=3),
    "preflight": BOOLEAN,
    "query_keys": BOOLEAN,
    "gateways": st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "x"]), max_size=3),
    "upstream": st.sampled_from(["http://10.0.0.8:3000", "10.0.0.8", "", None]),
}

#: Every method that reads a body, with strategies for its fields.
BODIES: dict[tuple[str, str], dict[str, st.SearchStrategy[Any]]] = {
    ("PATCH", "v2/account"): {
        "name": TEXT,
        "max_key_lifetime_days": st.sampled_from([30, 0, 4000, "many", "", None]),
        "accepts_query": BOOLEAN,
        "accepts_body": BOOLEAN,
        "revoke_exposed_keys": BOOLEAN,
    },
    ("POST", "v2/projects"): {
        **NAME,
        "id": st.sampled_from(["5f43a1b2c3d4e5f60718293a", "5F43A1B2C3D4E5F60718293A", "prj_1", "", None]),
    },
    ("PUT", "v2/projects/<id:project_id>"): NAME,
    ("PATCH", "v2/projects/<id:project_id>"): NAME,
    ("POST", "v2/projects/<id:project_id>/deployments"): dict.fromkeys(
        ("revision", "release_stage", "changes", "user"), TEXT
    ),
    ("POST", "v2/api-keys"): KEY,
    ("PATCH", "v2/api-keys/<id:key_id>"): KEY,
    ("POST", "v2/api-keys/<id:key_id>/rotate"): {
        "overlap": st.sampled_from(["none", "1h", "24h", "7d", "2h", "", None])
    },
    ("POST", "v2/services"): SERVICE,
    ("PATCH", "v2/services/<id:service_id>"): SERVICE,
    ("PATCH", "v2/members/<id:member_id>"): ROLE,
    ("POST", "v2/invitations"): {"email": st.sampled_from(["new@example.com", "nobody", "", None]), **ROLE},
    ("PATCH", "v2/invitations/<id:invitation_id>"): ROLE,
    ("POST", "v2/api-keys/revoke"): {"ids": st.lists(st.sampled_from(["key_1", " ", "é", "x" * 65]), max_size=3)},
    ("POST", "v2/api-keys/import"): {
        "api_keys": st.lists(st.just({"name": "x", "permission": "read", "digest": "0" * 64}), max_size=3)
    },
    ("POST", "v2/leaked-keys"): {"credentials": st.lists(st.sampled_from(["a", "b" * 40, "é", " "]), max_size=3)},
}


VIEWS = dict(api_routes())


def serializer_of(method: str, route: str) -> type[Serializer[Any]]:
    serializer: type[Serializer[Any]] = VIEWS[route].request_serializers[method]
    return serializer


def test_every_method_that_reads_a_body_is_listed_here() -> None:
    changing = {
        (method, route) for route, view in VIEWS.items() for method in set(view.permissions) - {"GET", "DELETE"}
    }
    assert changing - {("POST", "v2")} == set(BODIES)


@pytest.mark.parametrize("body", BODIES, ids=" ".join)
def test_every_field_that_a_client_may_set_is_listed_here(body: tuple[str, str]) -> None:
    fields = serializer_of(*body)().fields
    assert {name for name, field in fields.items() if not field.read_only} == set(BODIES[body])


def read(
    serializer: type[Serializer[Any]], body: str, content_type: str, *, partial: bool
) -> dict[str, Any] | set[str]:
    """The result of a serializer: the fields of an item, or the names of the invalid fields."""
    request = APIRequestFactory().generic("POST", "/", body, content_type=content_type)
    data = Request(request, parsers=[parser() for parser in APIView.parser_classes]).data
    found = serializer(data=data, partial=partial)
    return dict(found.validated_data) if found.is_valid() else set(found.errors)


@pytest.mark.parametrize("body", BODIES, ids=" ".join)
@given(st.data())
def test_a_form_and_json_create_equal_items(body: tuple[str, str], data: st.DataObject) -> None:
    serializer = serializer_of(*body)
    fields = data.draw(st.fixed_dictionaries({}, optional=BODIES[body]))
    partial = body[0] == "PATCH"
    form = as_form(fields)
    json_says = read(serializer, json.dumps(fields), "application/json", partial=partial)
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    assert read(serializer, multipart(form), kind, partial=partial) == json_says
    assert read(serializer, urlencode(form, doseq=True), FORM, partial=partial) == json_says
