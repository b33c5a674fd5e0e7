"""Parsing of requests and sending of answers, on a pair of sockets, without processes and clocks."""

import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from accounts.turns import TURN, Postponed, Turn, turns
from apikeys.raw_target import raw_target
from atatus_dash import form_limits
from atatus_dash.server import connection as server
from atatus_dash.server import request
from atatus_dash.server.connection import Connection, GoneError, Phase


class Client:
    """The client's side of a connection, and the requests that reach the application."""

    def __init__(self) -> None:
        self.socket, served = socket.socketpair()
        served.setblocking(False)
        self.socket.settimeout(5)
        self.connection = Connection(served, {"REMOTE_ADDR": "192.0.2.1"})
        self.asked: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    def application(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.asked.append(environ)
        self.bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    def send(self, data: bytes, application: Any = None, *, is_draining: bool = False) -> bool:
        """Send it and let the server work once. False if the connection is finished."""
        self.socket.sendall(data)
        return self.work(application, is_draining=is_draining)

    def work(self, application: Any = None, *, is_draining: bool = False) -> bool:
        return self.connection.work(application or self.application, is_draining=is_draining)

    def read(self) -> bytes:
        """All bytes received so far."""
        try:
            return self.socket.recv(1_000_000, socket.MSG_DONTWAIT)
        except (BlockingIOError, TimeoutError):
            return b""


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.socket.close()
    client.connection.socket.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("atatus_dash.server.connection.time.monotonic", lambda: now[0])
    return now


def _is_refused(answer: bytes, status: int, message: str) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nX-Request-ID: " in head
    return head.startswith(f"HTTP/1.1 {status} ".encode()) and json.loads(body) == {"Message": message}


GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\n"


# Heads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%2fb%2E?c=%64&e", "/a/b.", "c=%64&e"),
        ("//a/../b/./c;d=e", "//a/../b/./c;d=e", ""),
        ("/a#b/../c?d", "/a", ""),
        ("/a?b#c", "/a", "b"),
        ("/a\\b%5cc", "/a\\b\\c", ""),
        ("/%zz%", "/%zz%", ""),
        ("/%c3%a9%ff", "/\xc3\xa9\xff", ""),
        ("http://localhost/a/b?c", "/a/b", "c"),
        ("http://localhost", "/", ""),
        ("*", "*", ""),
    ],
)
def test_the_target_is_passed_on_byte_for_byte(client: Client, target: str, path: str, query: str) -> None:
    client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    (environ,) = client.asked
    assert raw_target(environ) == environ["REQUEST_URI"] == target
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)


def test_no_gateway_sends_its_request_to_a_clients_target(client: Client) -> None:
    """Gateways written in Go send their request to a target such as `a:http://guard/healthz`, not to the guard."""
    headers = b"Host: localhost\r\nX-Forwarded-Uri: http://guard/healthz\r\n\r\n"
    client.send(b"GET /v2/verify/svc_a/forward-auth HTTP/1.1\r\n" + headers)
    assert len(client.asked) == 1
    client.read()
    client.send(b"GET http://guard/healthz HTTP/1.1\r\n" + headers)
    assert _is_refused(client.read(), 403, "This gateway may not ask about this service.")
    assert len(client.asked) == 1


def test_the_raw_target_is_read_from_gunicorns_own_variable_too() -> None:
    assert raw_target({"RAW_URI": "/a%2fb", "PATH_INFO": "/a/b"}) == "/a%2fb"
    assert raw_target({"PATH_INFO": "/a/b"}) is None


def test_a_header_with_an_underscore_is_dropped(client: Client) -> None:
    client.send(
        GET + b"X-Forwarded-For: 192.0.2.2\r\nX_Forwarded_For: 192.0.2.3\r\nX_Other: a\r\nContent_Length: 3\r\n\r\n"
    )
    (environ,) = client.asked
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.2"
    assert not {"HTTP_X_OTHER", "CONTENT_LENGTH"} & set(environ)


def test_a_repeated_header_is_joined(client: Client) -> None:
    client.send(GET + b"X-A: 1 \r\nX-a:2\r\nX-Empty:\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
    (environ,) = client.asked
    assert (environ["HTTP_X_A"], environ["HTTP_X_EMPTY"], environ["HTTP_COOKIE"]) == ("1, 2", "", "a=1; b=2")


def test_header_names_do_not_fill_the_memory(client: Client) -> None:
    for number in range(10):
        client.send(GET + b"".join(b"X-%d-%d: a\r\n" % (number, each) for each in range(100)) + b"\r\n")
    assert len(client.asked) == 10
    assert len(request._KEYS) <= 500


@pytest.mark.parametrize(
    ("request_head", "status", "message"),
    [
        (b"GET /a HTTP/1.1\r\nX : a\r\n\r\n", 400, "The request is malformed."),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400, "The request is malformed."),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "The request is malformed."),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400, "The request is malformed."),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "This transfer coding is not supported."),
        (b"BREW /a HTTP/1.1\r\n\r\n", 501, "This method is not supported."),
        (b"GET /a HTTP/2.0\r\n\r\n", 505, "This version of HTTP is not supported."),
        (GET + b"X-A: a\r\n" * 300 + b"\r\n", 431, "The request's line and headers are too long."),
        (GET + b"X-A: " + b"a" * 66_000 + b"\r\n\r\n", 431, "The request's line and headers are too long."),
        (GET + b"X-A: " + b"a" * 140_000, 431, "The request's line and headers are too long."),
    ],
)
def test_the_servers_refusals_have_the_apis_format(
    client: Client, request_head: bytes, status: int, message: str
) -> None:
    for start in range(0, len(request_head), 65536):
        assert client.send(
            request_head[start : start + 65536]
        )  # it stays open for a moment, so that the client doesn't lose the answer
    assert _is_refused(client.read(), status, message)
    assert not client.asked


# Bodies -----------------------------------------------------------------------------------------


def test_a_request_that_arrives_byte_by_byte_runs_once_and_complete(client: Client) -> None:
    request = POST + b"Content-Length: 5\r\n\r\nhello"
    for number in range(len(request)):
        assert not client.asked
        assert client.send(request[number : number + 1])
    assert client.bodies == [b"hello"]


def test_a_chunked_body_gets_a_length(client: Client) -> None:
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nHost: trailer\r\n\r\n")
    (environ,) = client.asked
    assert (client.bodies, environ["CONTENT_LENGTH"], environ["HTTP_HOST"]) == ([b"hello"], "5", "localhost")
    assert "HTTP_TRANSFER_ENCODING" not in environ


@pytest.mark.parametrize(
    "rest",
    [
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n50\r\nhello",
        b"Content-Length: 50\r\n\r\nhello",
        b"X-Cut: ",
    ],
)
def test_a_request_that_was_cut_off_never_runs(client: Client, rest: bytes) -> None:
    client.send(POST + rest)
    client.socket.shutdown(socket.SHUT_WR)
    client.work()
    assert _is_refused(client.read(), 400, "The request ended too early.")
    assert not client.asked


def test_a_client_that_waits_for_100_gets_it(client: Client) -> None:
    client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert client.read() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hel")
    client.send(b"lo")
    assert client.read().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_is_too_large_is_not_passed_on_and_the_client_can_read_the_answer(client: Client) -> None:
    length = request.MAX_BODY_BYTES + 1
    assert client.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
    assert (client.bodies, client.asked[0]["CONTENT_LENGTH"]) == ([b""], str(length))
    assert b"\r\nConnection: close\r\n" in client.read()
    for _ in range(10):
        assert client.send(b" " * 60_000)
    client.socket.shutdown(socket.SHUT_WR)
    assert not client.work()


def test_as_much_of_a_body_is_taken_in_as_the_application_reads() -> None:
    assert request.MAX_BODY_BYTES == form_limits.MAX_FORM_BYTES


def test_a_client_that_offers_http_2_keeps_its_body(client: Client) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    assert client.send(POST + upgrade + b"Content-Length: 5\r\n\r\nhel")
    assert not client.send(b"lo")
    assert client.bodies == [b"hello"]
    assert b"\r\nConnection: close\r\n" in client.read()


# Connections ------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    assert client.send(GET + b"\r\n" + GET.replace(b"/a", b"/b") + b"\r\n" + GET.replace(b"/a", b"/c"))
    assert [environ["PATH_INFO"] for environ in client.asked] == ["/a"]  # then it is another connection's turn
    assert client.work()
    assert [environ["PATH_INFO"] for environ in client.asked] == ["/a", "/b"]
    answer = client.read()
    assert answer.index(b"/a") < answer.index(b"/b")
    client.send(b"\r\n")
    assert client.read().endswith(b"\r\n\r\n/c")


def test_a_connection_ends_when_the_client_or_the_worker_closes_it(client: Client) -> None:
    assert client.send(GET + b"\r\n")
    assert b"Connection" not in client.read()
    assert not client.send(GET + b"\r\n", is_draining=True)
    assert b"\r\nConnection: close\r\n" in client.read()


def test_nothing_is_read_after_the_last_request(client: Client) -> None:
    assert not client.send(GET + b"Connection: close\r\n\r\n" + GET + b"\r\n")
    assert len(client.asked) == 1
    assert client.read().count(b"HTTP/1.1") == 1


def test_http_1_0_keeps_a_connection_only_if_it_says_so(client: Client) -> None:
    assert client.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"\r\nConnection: keep-alive\r\n" in client.read()
    assert not client.send(b"GET /a HTTP/1.0\r\n\r\n")


def test_a_connection_that_the_client_closes_has_ended(client: Client) -> None:
    client.socket.close()
    assert not client.work()


# Deadlines --------------------------------------------------------------------------------------


def test_slow_bytes_do_not_extend_the_deadline(client: Client, clock: list[float]) -> None:
    client.connection = Connection(client.connection.socket, {})
    request = POST + b"Content-Length: 5\r\n\r\n"
    for part in (request[:1], request[1:9]):
        client.send(part)
        assert (client.connection.phase, client.connection.deadline) == (Phase.HEAD, 1000 + Phase.HEAD.seconds)
        clock[0] += 3
    client.send(request[9:])
    for part in (b"h", b"e"):
        assert (client.connection.phase, client.connection.deadline) == (Phase.BODY, 1006 + Phase.BODY.seconds)
        client.send(part)
        clock[0] += 20
    client.send(b"llo" + GET)
    assert (client.connection.phase, client.connection.deadline) == (Phase.HEAD, 1046 + Phase.HEAD.seconds)
    client.send(b"\r\n")
    assert (client.connection.phase, client.connection.deadline) == (Phase.IDLE, 1046 + Phase.IDLE.seconds)


@pytest.mark.parametrize("part", [GET, POST + b"Content-Length: 5\r\n\r\nhe"])
def test_an_overdue_request_gets_408(client: Client, part: bytes) -> None:
    client.send(part)
    client.connection.cut()
    client.work()
    assert _is_refused(client.read(), 408, "The request took too long.")
    assert not client.asked


@pytest.mark.parametrize("before", [b"", GET + b"\r\n"])
def test_a_connection_without_a_request_is_closed_without_an_answer(client: Client, before: bytes) -> None:
    if before:
        client.send(before)
        client.read()
    client.connection.cut()
    assert not client.work()
    assert client.read() == b""


# Answers ----------------------------------------------------------------------------------------


def _answers(*parts: bytes, status: str = "200 OK", **headers: str) -> Callable[..., Any]:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [(name.replace("_", "-"), value) for name, value in headers.items()])
        return iter(parts)

    return application


def test_an_answer_gets_a_length_and_a_date(client: Client) -> None:
    assert client.send(GET + b"\r\n", _answers(b"hel", b"lo", X_A="b"))
    head, _, body = client.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\nDate: ")
    assert body == b"hello"


def test_head_and_204_have_no_body(client: Client) -> None:
    client.send(GET.replace(b"GET", b"HEAD") + b"\r\n", _answers(b"hello", Content_Length="5"))
    head, _, body = client.read().partition(b"\r\n\r\n")
    assert (b"\r\nContent-Length: 5\r\n" in head, body) == (True, b"")
    client.send(GET + b"\r\n", _answers(status="204 No Content"))
    assert b"Content-Length" not in client.read()


def test_a_slow_reader_of_a_page_occupies_no_thread(client: Client, clock: list[float]) -> None:
    body = b"x" * 1_500_000
    assert client.send(GET + b"\r\n", _answers(body))
    received = b""
    while client.connection.phase is Phase.ANSWER:
        assert client.connection.deadline == clock[0] + Phase.ANSWER.seconds
        received += client.read()
        clock[0] += 10
        assert client.work()
    assert (received + client.read()).endswith(b"\r\n\r\n" + body)


def test_a_stalled_reader_of_a_long_answer_is_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phase, "seconds", 0.1)
    closed = []

    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            yield from [b"x" * 1_000_000] * 5

        def close(self) -> None:
            closed.append(True)

    def application(environ: dict[str, Any], start_response: Any) -> Parts:
        start_response("200 OK", [("Content-Length", "5000000")])
        return Parts()

    with pytest.raises(GoneError):
        client.send(GET + b"\r\n", application)
    assert closed


def test_the_application_is_closed_after_the_client_has_the_answer(client: Client) -> None:
    at_close = []

    class Parts(list[bytes]):
        def close(self) -> None:
            at_close.append(client.read())

    def application(environ: dict[str, Any], start_response: Any) -> Parts:
        start_response("200 OK", [])
        return Parts([b"hello"])

    client.send(GET + b"\r\n", application)
    assert at_close[0].endswith(b"hello")


def test_an_answer_that_is_shorter_than_its_length_closes_the_connection(client: Client) -> None:
    assert not client.send(GET + b"\r\n", _answers(b"hello", Content_Length="6"))


def test_an_application_that_fails_is_500_without_a_detail(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        raise OSError("our detail")

    client.send(GET + b"\r\n", application)
    assert _is_refused(client.read(), 500, "We have a problem with our server. Please try again later.")
    assert "our detail" in caplog.text


def test_an_application_that_fails_midway_closes_the_connection(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"x" * (server.ANSWER_BYTES + 1)
        raise ValueError

    drained: list[int] = []
    monkeypatch.setattr(client.connection, "send_all", lambda data: drained.append(len(data)))
    with pytest.raises(GoneError):
        client.send(GET + b"\r\n", application)
    assert drained


# Requests that run again --------------------------------------------------------------------------


def test_a_postponed_request_runs_again_as_it_arrived_and_before_those_behind_it(client: Client) -> None:
    runs: list[tuple[str, bytes, Turn]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        runs.append((environ.pop("HTTP_X_FIRST", ""), environ["wsgi.input"].read(), environ[TURN]))
        if len(runs) == 1:
            raise Postponed(environ[TURN])
        return client.application(environ, start_response)

    with pytest.raises(Postponed):
        client.send(POST + b"X-First: 1\r\nContent-Length: 3\r\n\r\nabc" + POST + b"\r\n", application)
    assert client.read() == b""
    assert not client.connection.is_waiting
    assert client.connection.events == select.EPOLLOUT
    assert client.connection.held_bytes == 3 + 2 * server.REQUEST_BYTES
    for _ in range(2):
        assert client.work(application)
    first, again, behind = runs
    assert first == again == ("1", b"abc", first[2])
    assert behind[:2] == ("", b"")
    assert behind[2] is not first[2]
    assert first[2].held_bytes == 3 + server.REQUEST_BYTES
    assert behind[2].held_bytes == 0
    assert client.read().count(b"HTTP/1.1 200 OK") == 2
    assert client.connection.held_bytes == 0


def _fails() -> list[bytes]:
    raise ValueError


def _is_gone() -> list[bytes]:
    raise GoneError


@pytest.mark.parametrize("end", [lambda: [b"done"], _fails, _is_gone])
def test_a_turn_ends_with_its_request_however_it_ends(client: Client, end: Callable[[], list[bytes]]) -> None:
    taken: list[Turn] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        turns.take(environ, -1)
        taken.append(environ[TURN])
        assert taken[0].has_begun
        start_response("200 OK", [])
        return end()

    with suppress(GoneError):
        client.send(POST + b"\r\n", application)
    assert not taken[0].has_begun


def test_the_turn_of_a_client_that_has_gone_meanwhile_ends(client: Client) -> None:
    taken: list[Turn] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        taken.append(environ[TURN])
        if len(taken) == 1:
            raise Postponed(environ[TURN])
        turns.take(environ, -1)
        return client.application(environ, start_response)

    with pytest.raises(Postponed):
        client.send(POST + b"\r\n", application)
    client.socket.close()
    with pytest.raises(GoneError):
        client.work(application)
    assert len(taken) == 2
    assert not taken[0].has_begun


def test_only_a_request_that_may_change_something_has_a_turn(client: Client) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        client.send(f"{method} /a HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert [TURN in environ for environ in client.asked] == [False] * 3 + [True] * 4
