"""Where the key goes: header, query string or body, in one place only."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.policy import KeyPermission, system
from apikeys import tokens
from apikeys.services import ImportedKey, import_api_keys
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def key(cast: Cast) -> str:
    return factories.make_key(cast.account).secret


@pytest.fixture
def anonymous() -> Program:
    return Program()


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer ", "BEARER  ", "token ", "Token "])
def test_the_authorization_header_works_with_or_without_a_scheme(anonymous: Program, key: str, scheme: str) -> None:
    assert anonymous.get("/v2", headers={"Authorization": f"{scheme}{key}"}).status_code == 200


def test_an_empty_part_of_the_authorization_header_is_no_second_key(anonymous: Program, key: str) -> None:
    assert anonymous.get("/v2", headers={"Authorization": f", Bearer {key},"}).status_code == 200


def test_the_x_api_key_header_works(anonymous: Program, key: str) -> None:
    assert anonymous.get("/v2", headers={"X-API-KEY": f" {key} "}).status_code == 200


def test_the_query_string_works(anonymous: Program, key: str) -> None:
    response = anonymous.get("/v2", {"api_key": key})
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    "body",
    [
        {"content_type": "application/json"},
        {"content_type": "application/json; charset=utf-8"},
        {"content_type": "application/x-www-form-urlencoded"},
        {},
    ],
)
def test_a_body_field_works_in_json_form_and_multipart(anonymous: Program, key: str, body: dict[str, Any]) -> None:
    data: dict[str, str] | str = {"api_key": key, "name": "web"}
    if "x-www-form-urlencoded" in body.get("content_type", ""):
        data = f"api_key={key}&name=web"
    response = anonymous.post("/v2/projects", data, **body)
    assert response.status_code == 201
    assert response.json()["name"] == "web"
    assert key not in response.content.decode()


def test_a_key_in_the_body_works_for_reading_too(anonymous: Program, key: str) -> None:
    response = anonymous.generic("GET", "/v2", json.dumps({"api_key": key}), content_type="application/json")
    assert response.status_code == 200


def test_without_a_key_the_response_says_that_one_is_required(anonymous: Program) -> None:
    response = anonymous.get("/v2")
    assert (response.status_code, response.json()) == (401, {"Message": "API key is required!"})
    assert response["WWW-Authenticate"] == 'Bearer realm="atatus"'


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-KEY": ""},
        {"Authorization": ""},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer "},
        {"Authorization": "token"},
        {"Authorization": 'Digest username="a", realm="b", nonce="c"'},
        {"X-API-KEY": " "},
    ],
)
def test_an_empty_header_or_another_scheme_contains_no_key(anonymous: Program, headers: dict[str, str]) -> None:
    assert anonymous.get("/v2", headers=headers).json() == {"Message": "API key is required!"}


@pytest.mark.parametrize("sent", ["nonsense", "atk_" + "a" * 36, "atk_", "é" * 40, "'; DROP TABLE", "\x00" * 40])
def test_unknown_and_malformed_keys_get_the_same_response(anonymous: Program, sent: str, db: None) -> None:
    response = anonymous.get("/v2", {"api_key": sent})
    assert (response.status_code, response.json()) == (401, {"Message": "API key is invalid!"})
    assert response["WWW-Authenticate"] == 'Bearer realm="atatus", error="invalid_token"'


def test_a_well_formed_key_that_was_never_created_is_invalid(anonymous: Program, db: None) -> None:
    assert anonymous.get("/v2", {"api_key": tokens.generate()}).json() == {"Message": "API key is invalid!"}


def test_a_malformed_key_never_reaches_the_database(
    anonymous: Program, django_assert_num_queries: DjangoAssertNumQueries, db: None
) -> None:
    with django_assert_num_queries(0):
        anonymous.get("/v2", {"api_key": tokens.generate()[:-1]})


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2?api_key={key}", {"X-API-KEY": "{key}"}),
        ("/v2?api_key={key}", {"Authorization": "Bearer {key}"}),
        ("/v2", {"X-API-KEY": "{key}", "Authorization": "{key}"}),
        ("/v2?api_key={key}&api_key={key}", {}),
        ("/v2", {"X-API-KEY": "{key}, {key}"}),
        ("/v2", {"Authorization": "Bearer {key}, Bearer {key}"}),
        ("/v2", {"Authorization": "Bearer {key} {key}"}),
        ("/v2", {"Authorization": "token {key} something"}),
        ("/v2", {"Authorization": "Bearer something {key}"}),
    ],
)
def test_a_key_in_two_places_or_twice_in_one_is_a_bad_request(
    anonymous: Program, key: str, path: str, headers: dict[str, str]
) -> None:
    headers = {name: value.format(key=key) for name, value in headers.items()}
    response = anonymous.get(path.format(key=key), headers=headers)
    assert response.status_code == 400
    assert response.json() == {"Message": "Send the API key once, and in one place only."}


COMMA = (
    "Send the API key once, and in one place only. A key with a comma in it can't be told from a header sent twice: "
    "send it in the query string or in the body."
)


@pytest.fixture
def with_a_comma(cast: Cast) -> str:
    secret = "made,elsewhere,0123456789"
    row = ImportedKey(2, "Old", KeyPermission.READ_WRITE, tokens.digest(secret), "old", None)
    import_api_keys(actor=system(cast.account.ref), rows=[row])
    return secret


@pytest.mark.parametrize(
    "header",
    [("X-API-KEY", "{}"), ("Authorization", "{}"), ("Authorization", "Bearer {}"), ("Authorization", "TOKEN  {}")],
)
def test_the_error_for_an_imported_key_with_a_comma_says_where_it_works(
    anonymous: Program, with_a_comma: str, header: tuple[str, ...]
) -> None:
    name, value = header
    response = anonymous.get("/v2", headers={name: value.format(with_a_comma)})
    assert (response.status_code, response.json()) == (400, {"Message": COMMA})


@pytest.mark.parametrize("sent", [",an-imported-key-01", "an-imported-key-01,", "imported,imported1"])
def test_a_header_that_may_be_one_key_with_a_comma_is_never_split(anonymous: Program, sent: str, db: None) -> None:
    assert anonymous.get("/v2", headers={"X-API-KEY": sent}).json() == {"Message": COMMA}


def test_an_imported_key_with_a_comma_works_in_query_and_body(anonymous: Program, with_a_comma: str) -> None:
    assert anonymous.get("/v2", {"api_key": with_a_comma}).status_code == 200
    assert anonymous.send("post", "/v2/projects", {"api_key": with_a_comma, "name": "web"}).status_code == 201
    form = anonymous.post("/v2/projects", {"api_key": with_a_comma, "name": "web"})
    assert form.status_code == 201


def test_a_key_twice_in_the_body_is_a_bad_request(anonymous: Program, key: str) -> None:
    form = anonymous.post(
        "/v2/projects", f"api_key={key}&api_key={key}&name=a", content_type="application/x-www-form-urlencoded"
    )
    multipart = anonymous.post("/v2/projects", {"api_key": [key, key], "name": "a"})
    text = f'{{"api_key": "{key}", "name": "a", "api_key": "{key}"}}'
    named_twice = anonymous.post("/v2/projects", text, content_type="application/json")
    assert [response.status_code for response in (form, multipart, named_twice)] == [400, 400, 400]


def test_beside_a_key_in_the_header_the_body_field_is_an_unknown_field(program: Program, key: str) -> None:
    response = program.send("post", "/v2/projects", {"api_key": key, "name": "web"})
    assert response.status_code == 400
    assert response.json()["Errors"] == {"api_key": ["This field is unknown here."]}


@pytest.mark.parametrize("other", ['Digest username="a", realm="b"', "Basic dXNlcjpwYXNz", "Bearer"])
def test_authorization_for_another_server_can_be_sent_beside_the_key(program: Program, other: str) -> None:
    assert program.get("/v2", headers={"Authorization": other}).status_code == 200


@pytest.mark.parametrize("value", [5, ["x"], {"a": 1}, True])
def test_a_key_that_is_not_a_text_is_invalid(anonymous: Program, value: object, db: None) -> None:
    response = anonymous.send("post", "/v2/projects", {"api_key": value, "name": "web"})
    assert (response.status_code, response.json()) == (401, {"Message": "API key is invalid!"})


@pytest.mark.parametrize("before", ["", "\n", "x", "_", "é"])
def test_a_key_used_as_a_field_name_is_not_echoed(program: Program, key: str, before: str) -> None:
    response = program.send("post", "/v2/projects", {before + key: 1, "name": "web"})
    assert response.status_code == 400
    assert key not in response.content.decode()
    assert tokens.mask(key) in response.json()["Message"]


AS_JSON = "Send it with Content-Type: application/json."


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("", "it has no Content-Type"),
        ("text/plain", "its Content-Type is text/plain"),
        ("text/plain; charset=utf-8", "its Content-Type is text/plain"),
        ("application/vnd.api+json", "its Content-Type is application/vnd.api+json"),
    ],
)
@pytest.mark.parametrize("path", ["/v2", "/v2/projects"])
def test_401_says_that_a_body_was_not_read_and_why(
    anonymous: Program, key: str, path: str, content_type: str, reason: str
) -> None:
    response = anonymous.generic("POST", path, json.dumps({"api_key": key}), content_type=content_type)
    assert response.status_code == 401
    assert response.json() == {
        "Message": "API key is required!",
        "Errors": {"api_key": [f"The body was not read, because {reason}. {AS_JSON}"]},
    }
    assert response["WWW-Authenticate"] == 'Bearer realm="atatus"'


@pytest.mark.parametrize("before", ["", " \n", "\ufeff"])
@pytest.mark.parametrize("more", ["", " & = ;", "=", "é"])
def test_401_says_that_json_was_read_as_a_form(anonymous: Program, key: str, before: str, more: str) -> None:
    body = before + json.dumps({"changes": more, "api_key": key}, ensure_ascii=False)
    response = anonymous.generic("POST", "/v2/projects", body.encode(), content_type=FORM)
    assert response.status_code == 401
    reason = "The body was read as a form, because its Content-Type is application/x-www-form-urlencoded."
    assert response.json()["Errors"] == {"api_key": [f"{reason} {AS_JSON}"]}
    assert key not in response.content.decode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("", ""), ("", "text/plain"), ("name=web", FORM), ("", FORM), ('{"name": "web"}', "application/json")],
)
def test_401_does_not_mention_missing_or_correctly_read_bodies(
    anonymous: Program, db: None, body: str, content_type: str
) -> None:
    response = anonymous.generic("POST", "/v2/projects", body, content_type=content_type)
    assert (response.status_code, response.json()) == (401, {"Message": "API key is required!"})


def test_a_key_in_the_content_type_is_not_echoed(anonymous: Program, key: str) -> None:
    response = anonymous.generic("POST", "/v2", "{}", content_type="text/" + "x" * 60 + key)
    assert response.status_code == 401
    assert key[4:20] not in response.content.decode()


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}", "\t{} ", "\n{}\n"])
def test_a_key_with_white_space_around_it_is_the_key(anonymous: Program, key: str, around: str) -> None:
    """As from `$(cat key.txt)` in Windows, or a secret that was pasted with its line break."""
    sent = around.format(key)
    for answer in (
        anonymous.get("/v2", headers={"X-API-KEY": sent}),
        anonymous.get("/v2", headers={"Authorization": sent}),
        anonymous.get("/v2", headers={"Authorization": f"Bearer {sent}"}),
        anonymous.get("/v2", {"api_key": sent}),
        anonymous.post("/v2", {"api_key": sent}),
        anonymous.post("/v2", urlencode({"api_key": sent}), content_type=FORM),
        anonymous.send("post", "/v2", {"api_key": sent}),
    ):
        assert answer.status_code == 200


@pytest.mark.parametrize("blank", ["\n", " ", "\r\n\t"])
def test_white_space_alone_is_not_a_key(anonymous: Program, db: None, blank: str) -> None:
    for answer in (anonymous.get("/v2", {"api_key": blank}), anonymous.send("post", "/v2", {"api_key": blank})):
        assert answer.json() == {"Message": "API key is required!"}


def test_a_key_with_white_space_inside_is_invalid(anonymous: Program, key: str) -> None:
    assert anonymous.get("/v2", {"api_key": f"{key[:9]}\n{key[9:]}"}).json() == {"Message": "API key is invalid!"}


def test_the_permission_decides_which_methods_a_key_can_use(cast: Cast) -> None:
    read = Program(factories.make_key(cast.account, permission=KeyPermission.READ).secret)
    write = Program(factories.make_key(cast.account, permission=KeyPermission.WRITE).secret)
    assert read.get("/v2/projects").status_code == 200
    assert read.send("post", "/v2/projects", {"name": "a"}).json() == {
        "Message": "This API key does not have the Write permission."
    }
    assert write.send("post", "/v2/projects", {"name": "a"}).status_code == 201
    assert write.get("/v2/projects").json() == {"Message": "This API key does not have the Read permission."}
    assert read.get("/v2").status_code == write.get("/v2").status_code == 200


# POST /v2: the third example of the source page ------------------------------------------------


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
@pytest.mark.parametrize("permission", KeyPermission)
def test_post_to_v2_works_like_get_with_the_key_anywhere_and_any_permission(
    cast: Cast, anonymous: Program, permission: KeyPermission, path: str
) -> None:
    secret = factories.make_key(cast.account, permission=permission).secret
    ways = {
        "multipart": anonymous.post(path, {"api_key": secret}),
        "urlencoded": anonymous.post(path, f"api_key={secret}", content_type=FORM),
        "json": anonymous.send("post", path, {"api_key": secret}),
        "query": anonymous.post(f"{path}?api_key={secret}"),
        "header": anonymous.post(path, headers={"X-API-KEY": secret}),
        "bearer": anonymous.post(path, headers={"Authorization": f"Bearer {secret}"}),
        "get": anonymous.get(path, headers={"X-API-KEY": secret}),
    }
    assert {way: answer.status_code for way, answer in ways.items()} == dict.fromkeys(ways, 200)
    answers = [answer.json() for answer in ways.values()]
    remaining = [answer["rate_limit"].pop("remaining") for answer in answers]
    assert remaining == [remaining[0] - number for number in range(len(ways))]
    for way, answer in zip(ways, answers, strict=True):
        assert answer == answers[-1], way


@pytest.mark.parametrize("way", [{}, {"content_type": "application/json"}])
def test_post_to_v2_ignores_other_fields_as_get_does(anonymous: Program, key: str, way: dict[str, Any]) -> None:
    assert anonymous.post("/v2", {"api_key": key, "name": "web"}, **way).status_code == 200


def test_post_to_v2_with_the_key_in_a_header_reads_no_body(program: Program) -> None:
    assert program.post("/v2", "{", content_type="application/json").status_code == 200


def test_405_of_v2_names_its_methods(program: Program) -> None:
    assert program.put("/v2")["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_post_to_v2_passes_the_same_checks_as_get(cast: Cast, anonymous: Program) -> None:
    key = factories.make_key(cast.account, accepts_body=False).secret
    assert anonymous.post("/v2", {"api_key": key}).json() == {"Message": "This API key may not be sent in the body."}
    assert anonymous.post("/v2", {"api_key": "wrong"}).status_code == 401
    assert anonymous.post("/v2").json() == {"Message": "API key is required!"}
