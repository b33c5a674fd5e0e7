"""Costly bodies: refused before they are parsed, from any client, and with a short response."""

import json
from collections.abc import Iterator
from unittest import mock

import pytest
from django.core.cache import cache
from pytest_django import Settings

from apikeys.models import APIKey
from apikeys.rates import Rate
from atatus_dash.api import parsers
from tests import factories
from tests.conftest import Browser, Cast, Program

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=B"


@pytest.fixture(autouse=True)
def _sign_ins_uncounted() -> Iterator[None]:
    """Reset the count of the sign-in page, so that later tests are not refused."""
    yield
    cache.clear()


def part(headers: str, text: str = "x") -> str:
    return f"--B\r\n{headers}\r\n\r\n{text}\r\n"


@pytest.fixture
def anonymous() -> Program:
    return Program()


@pytest.fixture
def key(cast: Cast) -> str:
    return factories.make_key(cast.account).secret


MANY_VALUES = {
    "empty lists": "[" + "[]," * 340_000 + "[]]",
    "empty lists that are no JSON": "[" * 300 + "[]," * 100_000,
    "numbers": json.dumps([7] * 150_000),
    "fields": json.dumps({f"field{number}": number for number in range(50_000)}),
    "objects": "[" + '{"":0},' * 100_000 + "0]",
    "texts": json.dumps([",[{"] * 20_000),
    "texts full of escapes": json.dumps(['"\\,'] * 20_000),
    "values after a long text": json.dumps([',\\"' * 50_000, [0] * 20_000]),
    "values inside a field of a list": json.dumps({"credentials": [[[]] * 3] * 30_000}),
}


@pytest.mark.parametrize("body", MANY_VALUES.values(), ids=MANY_VALUES.keys())
@pytest.mark.parametrize("path", ["/v2/projects", "/v2/leaked-keys"])
def test_json_of_too_many_values_is_refused_unparsed_without_a_key(anonymous: Program, path: str, body: str) -> None:
    with mock.patch("json.loads") as loads:
        response = anonymous.post(path, body, content_type="application/json")
    assert (response.status_code, response.json()) == (400, {"Message": "The body holds more than 10,000 values."})
    assert not loads.called


def test_json_of_too_many_values_is_refused_with_a_key_too(program: Program) -> None:
    response = program.post("/v2/projects", MANY_VALUES["numbers"], content_type="application/json")
    assert (response.status_code, response.json()) == (400, {"Message": "The body holds more than 10,000 values."})


@pytest.mark.parametrize("text", [", " * 400_000, '"' * 400_000, "\\" * 400_000, "[{" * 400_000, "a,\n" * 150_000])
def test_a_long_text_may_contain_any_amount_of_punctuation(program: Program, text: str) -> None:
    project = program.send("post", "/v2/projects", {"name": "web"}).json()["id"]
    fields = {"revision": "4f2a91c", "note": text}
    assert program.send("post", f"/v2/projects/{project}/deployments", fields).status_code == 201


def test_a_thousand_keys_can_be_reported_at_once(cast: Cast, anonymous: Program) -> None:
    issued = factories.make_key(cast.account)
    credentials = [f"{number:020d}" for number in range(999)] + [issued.secret]
    assert anonymous.send("post", "/v2/leaked-keys", {"credentials": credentials}).status_code == 202
    assert APIKey.objects.get(pk=issued.api_key.pk).revoked_at is not None


@pytest.mark.parametrize("wrong", [[[]] * 1000, ["x" * 1001] * 900, [{"token": "x"}] * 1000])
def test_a_list_of_invalid_items_gets_a_short_error(anonymous: Program, wrong: object) -> None:
    response = anonymous.send("post", "/v2/leaked-keys", {"credentials": wrong})
    assert response.status_code == 400
    assert list(response.json()["Errors"]) == ["credentials"]
    assert len(response.content) < 2500


def test_a_list_that_is_too_long_is_refused_before_its_items_are_read(anonymous: Program) -> None:
    response = anonymous.send("post", "/v2/leaked-keys", {"credentials": [[]] * 1001})
    assert response.json()["Errors"] == {"credentials": ["Ensure this field has no more than 1000 elements."]}


def test_an_error_is_short_for_any_length_of_the_body(administrator: Program) -> None:
    long_names = administrator.send("post", "/v2/projects", {f"{number}" * 50_000: 1 for number in range(9)})
    number = administrator.post("/v2/projects", '{"name": %s.5}' % ("9" * 500_000), content_type="application/json")
    kind = administrator.post("/v2/projects", "x", content_type="text/" + "x" * 7000)
    assert [response.status_code for response in (long_names, number, kind)] == [400, 400, 415]
    assert [len(response.content) < 5000 for response in (long_names, number, kind)] == [True, True, True]


@pytest.mark.parametrize("start", range(55, 105, 7))
def test_a_shortened_error_contains_no_part_of_a_key(program: Program, key: str, start: int) -> None:
    response = program.send("post", "/v2/projects", {"x" * start + key: 1, "name": "web"})
    assert response.status_code == 400
    assert key[4:12] not in response.content.decode()


@pytest.mark.parametrize("depth", [*range(100, 1000, 50), 990, 995])
def test_a_deeply_nested_key_is_not_a_500(anonymous: Program, depth: int) -> None:
    body = '{"api_key":' + "[" * depth + "]" * depth + "}"
    assert anonymous.post("/v2/projects", body, content_type="application/json").status_code in (400, 401)


@pytest.mark.parametrize("wrapper", ['{"api_keys":[{"name":%s}]}', '{"ids":%s}'])
def test_a_deeply_nested_field_is_not_a_500(administrator: Program, wrapper: str) -> None:
    path = "/v2/api-keys/import" if "api_keys" in wrapper else "/v2/api-keys/revoke"
    for depth in range(500, 1000, 5):
        body = wrapper % ("[" * depth + "]" * depth)
        assert administrator.post(path, body, content_type="application/json").status_code == 400


def test_a_deeply_nested_report_of_a_leaked_key_is_not_a_500(anonymous: Program, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1000, 60)
    for depth in range(500, 1000, 5):
        body = '[{"token":"x","url":' + "[" * depth + "]" * depth + "}]"
        assert anonymous.post("/v2/leaked-keys", body, content_type="application/json").status_code == 400


@pytest.mark.parametrize("brackets", ["[]", '{"":}'])
def test_json_may_be_nested_64_deep(brackets: str) -> None:
    opening, closing = brackets[:-1], brackets[-1]

    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    parsers.parse_json(nested(64))
    with pytest.raises(parsers.RefusedJSONError, match="nested too deeply"):
        parsers.parse_json(nested(65))


def test_brackets_that_are_closed_or_in_a_string_are_not_nested() -> None:
    assert len(parsers.parse_json(b"[" + b",".join([b"[{}]"] * 1000) + b"]")) == 1000
    assert parsers.parse_json(b'{"a\\"[": "' + b"[{" * 1000 + b'"}')
    with pytest.raises(parsers.RefusedJSONError):
        parsers.parse_json(b"]" * 100 + b"[" * 100)


def test_a_form_of_too_many_escapes_is_refused(program: Program) -> None:
    response = program.post("/v2/projects", "name=" + "%41" * 300_000, content_type=FORM)
    assert response.status_code == 400
    assert response.json()["Message"].startswith("The form has too many percent-encoded characters.")


def test_a_form_may_have_64_kibibytes_of_escapes(program: Program) -> None:
    project = program.send("post", "/v2/projects", {"name": "web"}).json()["id"]
    body = "revision=1&note=" + "%D0%9F" * 32 * 1024
    assert program.post(f"/v2/projects/{project}/deployments", body, content_type=FORM).status_code == 201


COSTLY_PARTS = {
    "parts": part("", "") * 50_000,
    "fields": part('Content-Disposition: form-data; name="a"') * 300,
    "boundaries": "--B\r\n" * 150_000,
    "headers": (part("a: b\r\n" * 160)) * 150,
    "parameters": (part("Content-Disposition: form-data;" + "a=b;" * 200)) * 150,
}


@pytest.mark.parametrize("body", COSTLY_PARTS.values(), ids=COSTLY_PARTS.keys())
def test_a_multipart_body_of_costly_parts_is_refused_by_the_api_and_by_pages(
    program: Program, body: str, settings: Settings, cast: Cast
) -> None:
    with mock.patch("django.http.multipartparser.parse_boundary_stream") as parse:
        api = program.post("/v2/projects", body + "--B--\r\n", content_type=MULTIPART)
        page = Browser(enforce_csrf_checks=True)
        page.cookies[settings.CSRF_COOKIE_NAME] = "x" * 32
        form = page.post(
            "/auth/login/", body + "--B--\r\n", content_type=MULTIPART, headers={"Origin": "https://testserver"}
        )
    assert (api.status_code, api.json()) == (400, {"Message": "The request is malformed."})
    assert form.status_code == 400
    assert not parse.called


def test_a_multipart_body_of_browsers_and_curl_is_read(program: Program) -> None:
    headers = (
        "Content-Disposition: form-data; name=\"name\"; filename*=utf-8''a\r\nContent-Type: text/plain; charset=utf-8"
    )
    other = 'Content-Disposition: form-data; name="name"\r\nContent-Type: text/plain\r\nContent-Length: 3'
    response = program.post("/v2/projects", part(other, "web") + "--B--\r\n", content_type=MULTIPART)
    assert (response.status_code, response.json()["name"]) == (201, "web")
    assert program.post("/v2/projects", part(headers) + "--B--\r\n", content_type=MULTIPART).status_code == 400


# Counting ---------------------------------------------------------------------------------------


LARGE = 20_000 * " "


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/json", LARGE + "{}"), (FORM, "a=" + LARGE), (MULTIPART, part("a: b", LARGE) + "--B--\r\n")],
)
def test_large_bodies_without_a_key_elsewhere_count_against_their_address_unparsed(
    anonymous: Program, settings: Settings, content_type: str, body: str
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(3, 60)
    answers = [anonymous.post("/v2/projects", body, content_type=content_type) for _ in range(3)]
    with (
        mock.patch.object(parsers.JSONParser, "parse") as as_json,
        mock.patch.object(parsers.FormParser, "parse") as as_form,
        mock.patch.object(parsers.MultiPartParser, "parse") as as_parts,
    ):
        refused = anonymous.post("/v2/projects", body, content_type=content_type)
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert (refused.status_code, refused.json()) == (429, {"Message": "Too many attempts. Please slow down."})
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert not [parse for parse in (as_json, as_form, as_parts) if parse.called]


def test_large_bodies_and_failures_from_an_address_lock_no_other_client_out(
    anonymous: Program, program: Program, key: str, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    for _ in range(2):
        anonymous.post("/v2/projects", LARGE + "{}", content_type="application/json")
        anonymous.get("/v2", headers={"X-API-KEY": "wrong"})
    small = anonymous.send("post", "/v2/projects", {"api_key": key, "name": "web"})
    large = program.post("/v2/projects", LARGE + '{"name": "web"}', content_type="application/json")
    assert (small.status_code, large.status_code) == (201, 201)


def test_failed_keys_do_not_use_up_the_limit_of_large_bodies(anonymous: Program, key: str, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    for _ in range(3):
        anonymous.get("/v2", headers={"X-API-KEY": "wrong"})
    body = LARGE + json.dumps({"api_key": key, "name": "web"})
    assert anonymous.post("/v2/projects", body, content_type="application/json").status_code == 201


def test_large_bodies_of_one_ipv6_network_count_together(anonymous: Program, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    answers = [
        anonymous.post("/v2/projects", LARGE + "{}", content_type="application/json", REMOTE_ADDR=address)
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    ]
    assert [answer.status_code for answer in answers] == [401, 429, 401]


def test_a_body_over_one_mebibyte_is_too_large_however_often_it_is_sent(anonymous: Program, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    body = "x" * (1024 * 1024 + 1)
    assert {anonymous.post("/v2/projects", body, content_type="application/json").status_code for _ in range(3)} == {
        413
    }


def test_large_forms_on_pages_count_against_their_address(browser: Browser, cast: Cast, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(2, 60)
    answers = [browser.post("/", {"filler": "x" * 20_000}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [302, 302, 429]
    assert answers[-1]["Retry-After"]
    assert browser.post("/", {"filler": "x"}).status_code == 302


def test_large_forms_from_an_address_lock_no_signed_in_user_out(
    browser: Browser, cast: Cast, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    assert [browser.post("/", {"filler": "x" * 20_000}).status_code for _ in range(2)] == [302, 429]
    import_keys = f"/accounts/{cast.account.slug}/settings/api-keys/import/"
    assert Browser().as_(cast.owner).post(import_keys, {"text": "x" * 20_000}).status_code == 422


def test_a_form_of_too_many_escapes_is_refused_on_pages(browser: Browser, cast: Cast) -> None:
    assert browser.post("/auth/login/", "login=" + "%41" * 300_000, content_type=FORM).status_code == 400


def test_a_form_over_two_mebibytes_is_too_large_for_a_page(browser: Browser, cast: Cast) -> None:
    assert browser.post("/auth/login/", {"login": "x" * 2_100_000}).status_code == 413


# Charsets ---------------------------------------------------------------------------------------


CODECS = ["punycode", "idna", "undefined", "base64", "rot13", "hex", "zlib", "uu", "quopri", "unicode_escape", "utf-7"]


@pytest.mark.parametrize("codec", [*CODECS, "utf-16", "'punycode'", "nonsense", "ISO-8859-1"])
@pytest.mark.parametrize("kind", [FORM, MULTIPART, "application/json"])
def test_no_charset_of_a_client_causes_a_500(
    program: Program, browser: Browser, cast: Cast, codec: str, kind: str
) -> None:
    text = part('Content-Disposition: form-data; name="name"').encode().replace(b"\r\nx\r\n", b"\r\n\xff.\xe4\r\n")
    body = {FORM: b"name=\xff%ff.%e4&b=1", MULTIPART: text + b"--B--\r\n", "application/json": b'{"name": "a"}'}[kind]
    content_type = f"{kind}; charset={codec}"
    for path in ("/v2/projects", "/v2/leaked-keys"):
        for client in (program, Program()):
            assert client.generic("POST", path, body, content_type=content_type).status_code in (201, 400, 401)
    for path in ("/auth/login/", "/admin/login/", "/auth/password/reset/"):
        assert browser.generic("POST", path, body, content_type=content_type).status_code < 500


@pytest.mark.parametrize("codec", CODECS)
def test_no_charset_of_a_part_causes_a_500(program: Program, browser: Browser, cast: Cast, codec: str) -> None:
    for headers in (
        f"Content-Disposition: form-data; name*={codec}''x%ff",
        f'Content-Disposition: form-data; name="name"\r\nContent-Type: text/plain; charset={codec}',
        f"Content-Disposition: form-data; name=\"f\"; filename*={codec}''%ff",
    ):
        body = part(headers) + "--B--\r\n"
        assert program.post("/v2/projects", body, content_type=MULTIPART).status_code in (201, 400)
        assert browser.post("/auth/login/", body, content_type=MULTIPART).status_code < 500


def test_a_form_in_latin_1_is_decoded(program: Program) -> None:
    response = program.generic("POST", "/v2/projects", b"name=Caf%E9", content_type=f"{FORM}; charset=ISO-8859-1")
    assert response.json()["name"] == "Café"


# Chunks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v2/projects"), ("GET", "/v2"), ("DELETE", "/v2/projects/prj_x")]
)
def test_411_for_a_body_in_chunks_with_a_key_or_without(
    program: Program, anonymous: Program, method: str, path: str
) -> None:
    for client in (program, anonymous):
        response = client.generic(method, path, headers={"Transfer-Encoding": "chunked"})
        assert response.status_code == 411
        assert response.json() == {"Message": "Send the body with a Content-Length, not in chunks."}


def test_a_body_in_chunks_is_checked_after_path_key_and_permission(anonymous: Program, program: Program) -> None:
    chunks = {"Transfer-Encoding": "chunked"}
    assert anonymous.generic("POST", "/v2/nowhere", headers=chunks).status_code == 404
    assert anonymous.generic("POST", "/v2", headers={**chunks, "X-API-KEY": "wrong"}).status_code == 401
    assert program.generic("PATCH", "/v2/account", headers=chunks).status_code == 403
    assert anonymous.generic("POST", "/v2/leaked-keys", headers=chunks).status_code == 411


@pytest.mark.parametrize("path", ["/auth/login/", "/admin/login/", "/accounts/acme/settings/api-keys/new/"])
def test_a_page_accepts_no_body_in_chunks_either(browser: Browser, cast: Cast, path: str) -> None:
    assert browser.as_(cast.owner).post(path, {"a": "b"}, headers={"Transfer-Encoding": "chunked"}).status_code == 411
