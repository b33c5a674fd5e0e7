"""The API reference under /v2/docs: what every page must have, and must not have."""

import re
from datetime import date
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext

from accounts.forms import Theme
from apikeys import gate
from atatus_dash import csp, maintenance
from atatus_dash.api import docs
from atatus_dash.api.problems import CATALOGUE
from atatus_dash.api.reference import guides, markdown, pages, search
from atatus_dash.api.reference.operations import Operation, read
from atatus_dash.api.reference.pages import Site
from atatus_dash.api.schema.document import document
from atatus_dash.api.schema.meanings import MEANINGS
from tests.conftest import Program
from tests.servers import install, serving

START = "/v2/docs"
PATHS = [START if not path else f"{START}/{path}" for path in pages.all_paths()]
OPERATIONS = [(resource.slug, one) for resource in pages.reference().resources for one in resource.operations]


class Read(HTMLParser):
    """The ids, the links and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.scripts = 0
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if id := given.get("id"):
            self.ids.append(id)
        if tag == "a" and (link := given.get("href")):
            self.links.add(link)
        self.scripts += tag == "script" and "src" not in given

    def handle_data(self, data: str) -> None:
        self.text += data


@cache
def page(path: str) -> Read:
    response = Program().get(path)
    assert response.status_code == 200, path
    return Read(response.content.decode())


@pytest.mark.parametrize("path", PATHS)
def test_a_page_needs_no_key_no_session_and_no_query(path: str, db: None) -> None:
    with CaptureQueriesContext(connection) as queries:
        response = Program().get(path)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"] == csp.POLICY
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert not response.cookies
    assert len(queries) == 0


def test_pages_are_drawn_once_whatever_port_a_client_names() -> None:
    docs._html.cache_clear()
    hosts = [f"localhost:{port}" for port in range(8000, 8020)]
    with mock.patch("atatus_dash.api.docs.render_to_string", wraps=render_to_string) as drawn:
        pages_drawn = [Program().get("/v2/docs/projects", headers={"Host": host}).content.decode() for host in hosts]

    assert drawn.call_count == 1
    for host, html in zip(hosts, pages_drawn, strict=True):
        assert f"http://{host}/v2/projects" in html or f"https://{host}/v2/projects" in html
        assert guides.EXAMPLE_ORIGIN not in html


def test_all_pages_in_all_looks_are_kept() -> None:
    looks = (len(Theme.FIXED) + 1) * len((True, False))
    assert len(PATHS) * looks <= docs._html.cache_parameters()["maxsize"]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_has_unique_ids_and_no_inline_script(path: str) -> None:
    read = page(path)

    assert len(read.ids) == len(set(read.ids))
    assert read.scripts == 0


def test_every_link_leads_to_a_page_and_a_place_on_it() -> None:
    read = {path: page(path) for path in PATHS}
    missing = set()
    for path, one in read.items():
        for link in one.links:
            to, _, fragment = link.partition("#")
            if link.startswith(("http", "/v2/openapi.json")) or link == "/":
                continue
            if (to or path) not in read or (fragment and fragment not in read[to or path].ids):
                missing.add((path, link))
    assert missing == set()


@pytest.mark.parametrize(("resource", "operation"), OPERATIONS, ids=lambda one: getattr(one, "id", ""))
def test_an_operation_has_an_address_and_says_all_that_the_description_says(
    resource: str, operation: Operation
) -> None:
    read = page(f"{START}/{resource}")
    shown = (*operation.in_path, *operation.in_query, *operation.in_headers, *operation.body, *operation.answer.fields)

    assert operation.slug in read.ids
    assert f"{operation.slug}-title" in read.ids
    assert operation.path in read.text
    assert [field.name for field in shown if field.name not in read.text] == []
    assert {f"{operation.slug}-{language}" for language in ("curl", "python", "javascript")} <= set(read.ids)


def test_every_operation_of_the_description_is_shown() -> None:
    described: set[tuple[str, str]] = {
        (path, item[method].get("summary", ""))
        for path, item in document()["paths"].items()
        for method in ("get", "post", "put", "patch", "delete")
        if method in item
    }
    assert {(one.path, one.title) for _, one in OPERATIONS} == described


def test_every_field_and_every_parameter_says_what_it_means() -> None:
    described = document()
    fields = {
        f"{name}.{field}": shape.get("description")
        for name, schema in described["components"]["schemas"].items()
        for field, shape in schema.get("properties", {}).items()
    }
    parameters = {
        f"{operation['operationId']} {parameter['name']}": parameter.get("description")
        for item in described["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
        for parameter in operation.get("parameters", [])
    }

    silent = [name for name, text in {**fields, **parameters}.items() if not text]
    assert not silent, f"atatus_dash/api/schema/meanings.py, or the help_text of a filter: {silent}"
    assert [text for text in MEANINGS.values() if text not in fields.values()] == []


def test_every_type_of_error_has_a_place_with_what_to_do() -> None:
    read = page(f"{START}/errors")

    assert [one.name for one in CATALOGUE if one.name not in read.ids] == []
    assert read.text.count("What to do:") == len(CATALOGUE)


@pytest.mark.parametrize("path", [f"{START}/nothing", f"{START}/guides/nothing", f"{START}/guides", f"{START}/a/b/c"])
def test_an_unknown_page_is_the_404_of_the_api(path: str) -> None:
    response = Program().get(path)

    assert response.status_code == 404
    assert response.json() == {"Message": "The item could not be found."}


def test_maintenance_closes_the_reference_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_current", gate.Maintenance("Back at noon.", 60))

    assert Program().get(START).status_code == 503


def test_other_methods_and_plain_http_are_refused_as_under_all_of_v2() -> None:
    assert Program().post(START).status_code == 405
    assert Program().post(START).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert Program().head(START).status_code == 200
    plain = Program().get(START, plain_http=True)
    assert (plain.status_code, plain.json()) == (403, {"Message": "HTTPS is required."})


@pytest.mark.parametrize(("theme", "attribute"), [("dark", 'data-bs-theme="dark"'), ("light", 'data-bs-theme="light"')])
def test_the_chosen_theme_is_that_of_the_dashboard(theme: str, attribute: str) -> None:
    program = Program()
    program.cookies["__Host-theme"] = theme

    assert attribute in program.get(START).content.decode()
    assert attribute not in Program().get(START).content.decode()


def test_a_guide_explains_the_variables_of_its_commands() -> None:
    words = "Commands use these variables of your shell"

    assert words in page(f"{START}/guides/errors").text
    assert words not in page(f"{START}/guides/quick-start").text, "it sets them itself"
    assert words not in page(f"{START}/guides/requests").text, "it has no commands"
    assert f"{START}/guides/quick-start" in page(f"{START}/guides/errors").links


def test_a_boolean_of_try_it_is_chosen() -> None:
    html = Program().get(f"{START}/api-keys").content.decode()

    assert re.search(
        r'<select[^>]*data-name="administrator"[^>]*><option value="">–</option><option>true</option>', html
    )


def test_examples_name_this_server() -> None:
    read = page(f"{START}/projects")

    assert "https://testserver/v2/projects" in read.text
    assert guides.EXAMPLE_ORIGIN not in "".join(page(path).text for path in PATHS if "/guides/" in path)


@pytest.mark.parametrize(
    ("typed", "title", "path"),
    [
        ("post /v2/projects", "Create a project", "projects#create-project"),
        ("rate_limit", "rate_limit", "api-keys#create-api-key"),
        ("key-revoked", "The API key has been revoked", "errors#key-revoked"),
        ("ROTATE", "Rotate an API key", "api-keys#rotate-api-key"),
        ("pagination", "Lists", "guides/pagination"),
    ],
)
def test_search_finds_operations_fields_errors_and_guides(typed: str, title: str, path: str) -> None:
    read = page(f"{START}?q={typed}")

    assert f"{START}/{path}" in read.links
    assert title in read.text
    assert path in [one.path for one in search.find(pages.reference(), typed)]


def test_search_says_when_nothing_matches_and_escapes_what_was_typed() -> None:
    response = Program().get(START, {"q": "<b>nothing</b>"})

    assert "No results for “&lt;b&gt;nothing&lt;/b&gt;”" in response.content.decode()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("API key is required!", "key-required"),
        ("API key is invalid!", "key-invalid"),
        ("API key has been revoked!", "key-revoked"),
        ("API key has expired!", "key-expired"),
        ("API key is disabled!", "key-disabled"),
        ("The item could not be found.", "not-found"),
    ],
)
def test_a_pasted_message_finds_its_type_of_error_first(message: str, name: str) -> None:
    [first, *_] = search.find(pages.reference(), message)

    assert first.path == f"errors#{name}"


def test_a_sign_alone_finds_nothing() -> None:
    assert search.find(pages.reference(), "!") == []


def test_an_equal_title_comes_before_a_part_of_one() -> None:
    [first, *_] = search.find(pages.reference(), "get a project")
    assert first.title == "Get a project"


def test_examples_are_valid_next_year_too() -> None:
    body = {"expires_at": "2027-06-01T00:00:00Z", "at": ["2027-06-01T00:00:00Z"], "name": "2027-06-01"}

    assert pages.next_year(body, date(2030, 3, 4)) == {
        "expires_at": "2031-06-01T00:00:00Z",
        "at": ["2031-06-01T00:00:00Z"],
        "name": "2027-06-01",
    }


def test_one_item_of_the_reader_stands_for_one_example() -> None:
    own = Site("/x", "/", "https://a.test", {"key": pages.Named("key_" + "a" * 16, "Mine")})

    assert own.with_own(["key_" + "b" * 16, "key_" + "c" * 16]) == ["key_" + "a" * 16]


def test_html_in_a_description_or_a_guide_is_text() -> None:
    assert markdown.inline("a <script>x</script> `b`") == "a &lt;script&gt;x&lt;/script&gt; <code>b</code>"
    shown = markdown.in_html("<img src=x>\n\n[x](javascript:alert(1))", "https://a.test", lambda name: name)
    assert "<img" not in shown
    assert "javascript" not in shown.replace("[x](javascript:alert(1))", "")


def test_an_empty_header_of_a_table_is_none() -> None:
    shown = markdown.in_html("| a | |\n|---|---|\n| b | c |", "https://a.test", lambda name: name)

    assert "<th>a</th>\n<td></td>" in shown


def test_links_between_guides_lead_to_pages_and_others_are_text() -> None:
    text = "[a](errors.md#format) [b](../security.md) [c](https://example.com) [d](README.md)"

    shown = markdown.in_html(text, "https://a.test", lambda name: f"/docs/{name}")

    assert '<a href="/docs/errors#format">a</a> b <a href="https://example.com">c</a> <a href="/docs/">d</a>' in shown


def test_one_choice_of_several_methods_with_one_summary_is_one_operation() -> None:
    node = {"operationId": "ask", "summary": "Ask", "tags": ["Guard"], "responses": {"200": {"description": "Yes."}}}
    described = {"info": {"title": "", "version": ""}, "paths": {"/v2/x": {"get": node, "post": node}}}

    [resource] = read(described).resources

    assert [(one.method, one.shown_method) for one in resource.operations] == [("GET", "ANY")]


def schema_of(body: dict[str, Any]) -> Operation:
    node = {
        "operationId": "create",
        "summary": "Create",
        "tags": ["Items"],
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {"201": {"description": "Created."}},
    }
    described = {
        "info": {"title": "", "version": ""},
        "paths": {"/v2/items": {"post": node}},
        "components": {"schemas": {"Color": {"type": "string", "enum": ["red", "blue"], "description": "Its color."}}},
    }
    return read(described).resources[0].operations[0]


def test_a_field_shows_type_limits_values_default_and_nested_fields() -> None:
    color = {"$ref": "#/components/schemas/Color"}
    operation = schema_of(
        {
            "type": "object",
            "required": ["name"],
            "properties": {
                "id": {"type": "string", "readOnly": True},
                "name": {"type": "string", "maxLength": 1000, "default": "a"},
                "color": {"anyOf": [color, {"type": "null"}]},
                "many": {
                    "type": ["array", "null"],
                    "maxItems": 3,
                    "items": {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}},
                },
            },
        }
    )

    name, color_field, many = operation.body
    assert (name.is_required, name.limits, name.default) == (True, ("up to 1,000 characters",), '"a"')
    assert (color_field.type, color_field.values) == ("string or null", ("red", "blue"))
    assert color_field.description == "Its color."
    assert (many.type, many.limits) == ("list of objects or null", ("up to 3 items",))
    assert [(one.name, one.type) for one in many.fields] == [("at", "time")]
    assert color_field.unnamed_values == ("red", "blue")
    assert operation.body_example == {"name": "a"}


def test_values_that_a_description_names_are_not_listed_again() -> None:
    shape = {"type": "string", "enum": ["red", "blue"], "description": "`red`, or `blue` if it is cold."}

    [field] = schema_of({"properties": {"color": shape}}).body

    assert (field.values, field.unnamed_values) == (("red", "blue"), ())


def test_a_choice_of_objects_has_the_fields_of_each() -> None:
    choices = [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"format": "ipv4"}}}]

    fields = schema_of({"oneOf": choices}).body

    assert [(one.name, one.type, one.is_required) for one in fields] == [("a", "string", False), ("b", "string", False)]


def test_a_choice_that_allows_anything_is_not_shown() -> None:
    key = {"type": "object", "properties": {"digest": {"type": "string"}}, "required": ["digest"]}
    keys = {"type": "array", "items": {"anyOf": [key, {"description": "Anything else is refused by itself."}]}}

    [field] = schema_of({"properties": {"api_keys": keys}}).body

    assert (field.type, field.description) == ("list of objects", "")
    assert [(one.name, one.is_required) for one in field.fields] == [("digest", True)]


def types_shown(resource: str, id: str) -> set[str]:
    """The types of error of one operation."""
    site = Site("/x", "", "https://a.test")
    described = pages.resource(site, resource).context["described"]
    [one] = [one for one in described if one.operation.id == id]
    return {problem.name for _, problems in one.failures for problem in problems}


def test_an_operation_lists_only_types_of_error_that_it_can_have() -> None:
    needs_a_key = {"key-required", "key-revoked", "permission-missing", "quota-exceeded"}
    changes = {"invalid-state", "already-exists"}

    reading, writing = types_shown("api-keys", "list_api_keys"), types_shown("api-keys", "create_api_key")
    assert reading & {*changes, "signature-invalid"} == set()
    assert writing >= needs_a_key | changes
    assert "signature-invalid" not in writing
    reporting = types_shown("leaked-keys", "report_leaked_keys")
    assert reporting & (needs_a_key | changes) == set()
    assert reporting >= {"invalid-fields", "signature-invalid", "https-required", "too-many-attempts"}


def test_every_type_of_error_but_the_general_ones_is_shown_at_an_operation_with_its_status() -> None:
    site = Site("/x", "", "https://a.test")
    shown = {
        problem.name
        for resource in pages.reference().resources
        for one in pages.resource(site, resource.slug).context["described"]
        for _, problems in one.failures
        for problem in problems
    }
    general = {"method-not-allowed", "length-required", "body-too-large", "unsupported-media-type"}

    assert {one.name for one in CATALOGUE} - shown == general | {"server-error", "maintenance", "unavailable"}


def test_the_first_call_is_shown_with_its_response() -> None:
    text = page(START).text

    assert '"account"' in text
    assert '"rate_limit"' in text


def test_examples_have_the_ids_and_names_of_the_readers_items() -> None:
    own = Site("/x", "/", "https://a.test", {"prj": pages.Named("prj_" + "a" * 16, "Mine")})
    example = {"results": [{"id": "prj_7Kd2Qm0aXb9LsTyW", "name": "Web shop"}, {"id": "key_9aLm3TfUe6HjXs1B"}]}

    shown = own.with_own(example)

    assert shown["results"][0] == {"id": "prj_" + "a" * 16, "name": "Mine"}
    assert shown["results"][1] == example["results"][1]


def test_api_docs_0_switches_all_of_it_off(tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1", API_DOCS="0")
    with serving(installation) as server:
        for path in ("/v2/docs", "/v2/docs/errors", "/.well-known/api-catalog", "/accounts/acme/reference/"):
            assert server.get(path).status == 404, path
        assert server.get("/auth/login/").status == 200
