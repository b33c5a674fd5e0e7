"""nginx's own responses look like the application's, on both ports, even while the application is unavailable."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from atatus_dash.api.problems import CATALOGUE, PAGE

from ..answers import Answer
from ..servers import free_port
from .conftest import WayIn
from .front import Front, in_front_of, needs_nginx

pytestmark = needs_nginx

PROBLEM = "application/problem+json"

#: Requests that nginx refuses before it reads the path: the request, the status, the message.
UNREAD = {
    "TRACE": (b"TRACE /v2 HTTP/1.1\r\nHost: localhost\r\n", 405, "This item can't be accessed with this method."),
    "TRACE of a page": (
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\n",
        405,
        "This item can't be accessed with this method.",
    ),
    "CONNECT": (b"CONNECT /v2 HTTP/1.1\r\nHost: localhost\r\n", 405, "This item can't be accessed with this method."),
    "a coding": (
        b"POST /v2/projects HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n",
        501,
        "This transfer coding is not supported.",
    ),
    "a version": (b"GET /v2 HTTP/3.0\r\nHost: localhost\r\n", 505, "This version of HTTP is not supported."),
    "two hosts": (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: a.example.com\r\n", 400, "The request is malformed."),
    "no host": (b"GET /v2 HTTP/1.1\r\n", 400, "The request is malformed."),
    "a bad path": (b"GET /v2/../../x HTTP/1.1\r\nHost: localhost\r\n", 400, "The request is malformed."),
    "our own address": (
        b"GET /refused/malformed.json HTTP/1.1\r\nHost: localhost\r\n",
        404,
        "The item could not be found.",
    ),
}
#: nginx reads no headers after an unknown HTTP version.
WITH_HEADERS = {
    name: case for name, case in UNREAD.items() if name not in ("a version", "two hosts", "no host", "a bad path")
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """nginx, without an application behind it."""
    with in_front_of(tmp_path_factory.mktemp("alone"), free_port()) as nginx:
        yield nginx


def _is_one_of_ours(answer: Answer, status: int, message: str, *, hsts: bool) -> None:
    assert (answer.status, answer.json) == (status, {"Message": message})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "private, no-store"
    assert ("strict-transport-security" in answer.headers) is hsts
    assert ("allow" in answer.headers) is (status == 405)


def _is_the_same_problem(answer: Answer, status: int, message: str) -> None:
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json
    assert (answer.status, problem["status"], problem["detail"]) == (status, status, message)
    if status in (501, 505):
        assert (problem["type"], set(problem)) == ("about:blank", {"type", "title", "status", "detail"})
        return
    (known,) = [known for known in CATALOGUE if known.name == problem["type"].partition("#")[2]]
    assert problem["type"].endswith(f"{PAGE}#{known.name}")
    assert (known.title, known.status) == (problem["title"], status)
    assert problem["instance"] == f"urn:x-request-id:{answer.headers['x-request-id']}"


@pytest.mark.parametrize(("head", "status", "message"), UNREAD.values(), ids=UNREAD)
def test_errors_of_nginx_over_tls_are_json(alone: Front, head: bytes, status: int, message: str) -> None:
    _is_one_of_ours(alone.raw(head + b"\r\n"), status, message, hsts=True)


@pytest.mark.parametrize(("head", "status", "message"), WITH_HEADERS.values(), ids=WITH_HEADERS)
def test_errors_of_nginx_are_problem_json_if_the_client_accepts_it(
    alone: Front, head: bytes, status: int, message: str
) -> None:
    _is_the_same_problem(alone.raw(head + f"Accept: */*, {PROBLEM};q=0.5\r\n\r\n".encode()), status, message)


@pytest.mark.parametrize("head", [case[0] for case in UNREAD.values()], ids=UNREAD)
def test_errors_of_nginx_over_plain_http_require_https(alone: Front, head: bytes) -> None:
    answer = alone.raw(head + b"\r\n", plain_http=True)
    _is_one_of_ours(answer, 403, "HTTPS is required.", hsts=False)


def test_errors_over_plain_http_can_be_problem_json(alone: Front) -> None:
    for path in ("/v2", "/refused/x"):
        answer = alone.ask(path, plain_http=True, Accept=PROBLEM)
        _is_the_same_problem(answer, 403, "HTTPS is required.")


@pytest.mark.parametrize("path", ["/v2", "/v2?api_key=x", "/", "/auth/login/"])
def test_plain_http_on_the_https_port_requires_https(alone: Front, path: str) -> None:
    def ask(accept: str) -> Answer:
        there = Front(alone.http_port, alone.https_port, alone.certificate, alone.directory)
        return there.ask(path, plain_http=True, Accept=accept)

    _is_one_of_ours(ask("*/*"), 403, "HTTPS is required.", hsts=False)
    _is_the_same_problem(ask(PROBLEM), 403, "HTTPS is required.")


@pytest.mark.parametrize(
    ("accept", "is_problem"),
    [
        ("*/*", False),
        ("application/json", False),
        ("application/*", False),
        (PROBLEM, True),
        (f"application/json, {PROBLEM.upper()}", True),
        (f"{PROBLEM};q=0.9, */*", True),
        (f"{PROBLEM} ; q=0, */*", False),
        (f"{PROBLEM};v=1;q=0.00,*/*", False),
        (f"{PROBLEM};q=0.01", True),
        ("application/problem+jsonp", False),
        ("application/problem+xml", False),
    ],
)
def test_nginx_reads_accept_as_the_application_does(front: WayIn, alone: Front, accept: str, is_problem: bool) -> None:
    for answer in (front.ask("/v2", Accept=accept), alone.ask("/v2", Accept=accept)):
        assert (answer.headers["content-type"] == PROBLEM) is is_problem


def test_without_the_application_the_api_is_503(alone: Front) -> None:
    answer = alone.ask("/v2?api_key=x", X_Request_ID="lonely")
    _is_one_of_ours(answer, 503, "The server is unavailable. Please try again later.", hsts=True)
    assert (answer.headers["retry-after"], answer.headers["x-request-id"]) == ("5", "lonely")
    again = alone.ask("/v2", Accept=PROBLEM)
    _is_the_same_problem(again, 503, "The server is unavailable. Please try again later.")
    assert again.headers["retry-after"] == "5"


@pytest.mark.parametrize("path", ["/v2/projects", "/api/x", "/track"])
def test_without_the_application_programs_get_no_page(alone: Front, path: str) -> None:
    assert alone.ask(path).json == {"Message": "The server is unavailable. Please try again later."}


def test_without_the_application_a_page_is_503_in_a_sentence(alone: Front) -> None:
    page = alone.ask("/auth/login/", X_Request_ID="lonely")
    assert (page.status, page.headers["retry-after"], page.headers["content-type"]) == (503, "5", "text/plain")
    assert (page.headers["x-request-id"], page.headers["strict-transport-security"]) == ("lonely", "max-age=31536000")


@pytest.mark.parametrize("host", ["evil.example.com", "localhost.example.com", "127.0.0.1", "a.b"])
@pytest.mark.parametrize("path", ["/v2", "/v2/projects", "/auth/login/", "/healthz", "/static/css/theme.css"])
def test_an_unknown_host_is_refused(alone: Front, host: str, path: str) -> None:
    _is_one_of_ours(alone.ask(path, Host=host), 400, "This host is not served here.", hsts=True)
    _is_the_same_problem(alone.ask(path, Host=host, Accept=PROBLEM), 400, "This host is not served here.")


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 3 * 1024 * 1024], ids=["said by us", "said by nginx"])
def test_a_body_that_is_too_large_is_413(front: WayIn, key: str, size: int) -> None:
    sent: dict[str, Any] = {"method": "POST", "body": b" " * size, "X_API_KEY": key, "Content_Type": "application/json"}
    answer = front.ask("/v2/projects", **sent)
    assert (answer.status, answer.json) == (413, {"Message": "The body is larger than 1 MiB."})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    _is_the_same_problem(front.ask("/v2/projects", **sent, Accept=PROBLEM), 413, "The body is larger than 1 MiB.")


def test_many_large_bodies_at_once_are_429_and_small_ones_pass(front: WayIn, key: str) -> None:
    large = json.dumps({"name": "x" * 10_000}).encode()
    # nginx counts by address. This one is used by no other test.
    sent: dict[str, Any] = {
        "source": "127.0.0.8",
        "method": "POST",
        "X_API_KEY": key,
        "Content_Type": "application/json",
    }
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: front.ask("/v2/projects", body=large, **sent), range(200)))
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {400, 429}
    _is_one_of_ours(refused[0], 429, "Too many attempts. Please slow down.", hsts=True)
    assert refused[0].headers["retry-after"] == "1"
    assert front.ask("/v2", source="127.0.0.8", X_API_KEY=key).status == 200
    assert front.ask("/v2/leaked-keys", body=b'{"credentials": ["x"]}', **sent).status == 202


@pytest.mark.parametrize(
    "too_long", [{"path": "/v2?" + "a" * 20_000}, {"X_Filler": "a" * 20_000}], ids=["line", "header"]
)
@pytest.mark.parametrize("of", ["/v2", "/"])
def test_a_head_that_is_too_long_is_400(alone: Front, too_long: dict[str, Any], of: str) -> None:
    _is_one_of_ours(alone.ask(**{"path": of, **too_long}), 400, "The request is malformed.", hsts=True)


def test_an_error_for_head_has_no_body(alone: Front) -> None:
    answer = alone.raw(b"HEAD /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n", method="HEAD")
    assert (answer.status, answer.body) == (503, b"")


@pytest.mark.parametrize(
    ("asked", "moved_to"),
    [
        ("/?api_key=KEY", "/"),
        ("/accounts/?a=1&api_key=KEY&b=2", "/accounts/"),
        ("/accounts/?%61pi%5Fkey=KEY", "/accounts/"),
        ("/auth/login/?next=/%3Fapi_key%3DKEY", "/auth/login/"),
        ("/auth/login/?next=/accounts/%3Fdays%3D7&a=%20", "/auth/login/?next=/accounts/%3Fdays%3D7&a=%20"),
        ("/api_key?days=7", "/api_key?days=7"),
    ],
)
def test_a_page_over_plain_http_redirects_to_https_without_the_key(alone: Front, asked: str, moved_to: str) -> None:
    answer = alone.ask(asked, plain_http=True)
    assert (answer.status, answer.headers["location"]) == (301, f"https://localhost{moved_to}")


def test_no_redirect_contains_a_key(front: WayIn, key: str) -> None:
    for path in ("/", "/accounts", "/admin/", "/auth/login/"):
        answer = front.ask(f"{path}?api_key={key}")
        assert key not in str(answer.headers)


def test_a_connection_that_sends_nothing_gets_no_response(alone: Front) -> None:
    with closing(socket.create_connection(("localhost", alone.https_port), timeout=10)) as connection:
        connection.sendall(b"\x00\x01nonsense\r\n\r\n")
        assert b"<html" not in connection.recv(65536)


def test_certbots_files_are_served_over_plain_http(alone: Front) -> None:
    challenge = alone.directory / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("of certbot")
    for host in ("localhost", "another.example.com"):
        answer = alone.ask("/.well-known/acme-challenge/token", plain_http=True, Host=host)
        assert (answer.status, answer.body) == (200, b"of certbot")
