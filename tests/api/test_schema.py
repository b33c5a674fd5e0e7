"""`/v2/openapi.json`. `tests.openapi` compares every response of the suite with it."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import clear_url_caches
from pytest_django import Settings

from accounts.policy import GRANTS, KeyRole
from apikeys import tokens
from apikeys.guard.contracts import Contract
from atatus_dash import urls
from atatus_dash.api import urls as api_urls
from atatus_dash.api.schema.document import document
from atatus_dash.api.schema.meanings import MEANINGS
from tests import openapi
from tests.conftest import Program

from .test_matrix import ROUTES, api_routes

Operation = tuple[str, str, dict[str, Any]]
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def operations() -> list[Operation]:
    """Every operation with its path and method."""
    return [
        (path, method.upper(), operation)
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    ]


def test_it_is_valid_openapi() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # takes 0.4 s, in each process that collects this file

    assert list(OpenAPIV31SpecValidator(document()).iter_errors()) == []


def test_it_needs_no_key_and_names_this_server(db: None, settings: Settings) -> None:
    response = Program().get("/v2/openapi.json")
    assert response["Content-Type"] == "application/json"
    assert response.json()["openapi"] == "3.1.0"
    assert response.json()["servers"] == [{"url": "https://testserver"}]
    settings.PUBLIC_URL = "https://testserver:8443"
    assert Program().get("/v2/openapi.json").json()["servers"] == [{"url": "https://testserver:8443"}]


def test_it_has_an_etag_by_which_a_client_gets_it_only_once(db: None) -> None:
    response = Program().get("/v2/openapi.json")
    again = Program().get("/v2/openapi.json", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", response["ETag"])
    assert Program().get("/v2/openapi.json", headers={"If-None-Match": '"other"'}).status_code == 200


def test_caches_may_store_it_and_validate_it_unless_its_url_has_a_key() -> None:
    stored = Program().get("/v2/openapi.json")
    again = Program().get("/v2/openapi.json", headers={"If-None-Match": stored["ETag"]})
    assert (stored["Cache-Control"], again["Cache-Control"]) == ("no-cache", "no-cache")
    assert not stored.has_header("Vary")

    for path in (f"/v2/openapi.json?api_key={tokens.generate()}", "/v2/openapi.json?api%5Fkey="):
        assert Program().get(path)["Cache-Control"] == "private, no-store"
    assert Program().post("/v2/openapi.json")["Cache-Control"] == "private, no-store"


def test_it_has_every_route_and_method_and_nothing_else() -> None:
    in_routes = {
        ("/" + route.replace("<id:", "{").replace(">", "}"), method)
        for route, methods in ROUTES.items()
        for method in methods
    }
    by_gateways = {
        (f"/v2/verify/{{service}}/{contract}{'/{path}' if contract is Contract.EXT_AUTHZ else ''}", method.upper())
        for contract in Contract
        for method in _METHODS
    }
    checks = {("/v2/verify/{service}", "POST"), ("/v2/verify/api", "POST")}
    assert {(path, method) for path, method, _ in operations()} == in_routes | by_gateways | checks


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_known_tag() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document()["tags"]}
    for _, _, operation in operations():
        assert operation["summary"]
        assert not operation["summary"].endswith(".")
        assert set(operation["tags"]) <= tags
    assert all(tag["description"] for tag in document()["tags"])


def test_every_operation_says_which_keys_may_call_it() -> None:
    views = {"/" + route.replace("<id:", "{").replace(">", "}"): view for route, view in api_routes()}
    for path, method, operation in operations():
        if (view := views.get(path)) is None or not view.needs_key():
            continue
        permission = view.permissions[method]
        assert operation["x-permission"] == permission
        needed = permission and ("read" if permission.reads else "write")
        assert operation["x-key-permission"] == needed
        administrators = permission is not None and permission not in GRANTS[KeyRole.KEY]
        assert operation["x-administrators-only"] == administrators
        assert ("Administrators only" in operation["description"]) == administrators


def test_a_request_refuses_unknown_fields_except_where_they_are_ignored() -> None:
    schemas = document()["components"]["schemas"]
    lenient = {
        name
        for name, schema in schemas.items()
        if name.endswith(("Request", "Changes")) and schema.get("additionalProperties") is not False
    }
    assert lenient == {"DeploymentRequest", "KeyInBodyRequest"}


def test_every_field_of_a_body_is_described_where_the_description_reads_it() -> None:
    """`schema.meanings` overrides a `help_text`, so nobody would notice if a filter's `help_text` were missing."""
    used = {
        serializer
        for _, view in api_routes()
        for serializer in (*view.request_serializers.values(), *view.response_serializers.values())
    }
    assert [
        f"{serializer.__name__}.{name}"
        for serializer in used
        for name, field in serializer._declared_fields.items()
        if field.help_text
    ] == []
    schemas = document()["components"]["schemas"]
    for name in ("id", "Message"):
        assert "refused" in schemas["Imported"]["properties"][name]["description"]


def test_every_meaning_belongs_to_an_existing_field() -> None:
    schemas = document()["components"]["schemas"].values()
    shown = {field.get("description") for schema in schemas for field in schema.get("properties", {}).values()}
    assert {name for name, meaning in MEANINGS.items() if meaning not in shown} == set()


def test_a_form_is_described_apart_from_json() -> None:
    """Generated clients choose the format of a body by its class."""
    operations = [node for path in document()["paths"].values() for node in path.values() if "operationId" in node]
    bodies = [node["requestBody"]["content"] for node in operations if "requestBody" in node]
    pairs = [
        (body["application/json"], body["multipart/form-data"]) for body in bodies if "multipart/form-data" in body
    ]
    assert len(pairs) > 10
    assert [json for json, form in pairs if json["schema"] == form["schema"]] == []
    schemas = document()["components"]["schemas"]
    for name in ("APIKeyRequest", "APIKeyRequestForm"):
        access = schemas[name]["properties"]["access"]
        assert access["oneOf"] == [{"$ref": "#/components/schemas/Access"}, {"type": "null"}]


def test_a_list_in_a_form_may_be_one_item() -> None:
    schemas = document()["components"]["schemas"]
    many, one = schemas["RevokeRequestForm"]["properties"]["ids"]["anyOf"]
    assert (many["type"], many["items"], many["maxItems"]) == ("array", one, 1000)
    many, _ = schemas["RevokeRequestMultipartForm"]["properties"]["ids"]["anyOf"]
    assert many["maxItems"] == 200  # parts


@pytest.fixture
def _without_docs(settings: Settings) -> Iterator[None]:
    def load() -> None:
        for module in (api_urls, urls):
            importlib.reload(module)
        clear_url_caches()

    document()  # with the routes of other tests
    settings.API_DOCS = False
    load()
    yield
    settings.API_DOCS = True
    load()


@pytest.mark.usefixtures("_without_docs")
def test_the_operator_can_switch_it_off(db: None) -> None:
    response = Client().get("/v2/openapi.json", secure=True)
    assert response.status_code == 404
    assert response.json() == Client().get("/v2/nope", secure=True).json()


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/v2/account", 418, b"{}"),
        ("GET", "/v2/account", 404, b'{"Message": ""}'),
        ("GET", "/v2/account", 200, b'{"slug": "acme"}'),
        ("GET", "/v2/projects", 200, b'{"results": [], "next": null, "total": 0}'),
        ("DELETE", "/v2/projects/prj_1", 204, b"{}"),
        ("GET", "/v2/nope", 200, b"{}"),
    ],
)
def test_a_response_that_is_not_described_is_found(method: str, path: str, status: int, body: bytes) -> None:
    response = HttpResponse(body, status=status, content_type="application/json")
    response.headers["X-Request-ID"], response.headers["Cache-Control"] = "1", "private, no-store"
    with pytest.raises(AssertionError, match=f"{method} {path}"):
        openapi.check(response, method, path)


def test_a_header_that_is_not_described_is_found() -> None:
    headers = {"X-Request-ID": "1", "Cache-Control": "private, no-store"}
    openapi.check(HttpResponse(status=204, headers=headers), "DELETE", "/v2/projects/prj_1")
    for wrong in ({**headers, "X-Unheard-Of": "1"}, {**headers, "RateLimit": "many"}, {"Cache-Control": "private"}):
        with pytest.raises(AssertionError, match="DELETE /v2/projects/prj_1 204"):
            openapi.check(HttpResponse(status=204, headers=wrong), "DELETE", "/v2/projects/prj_1")
