"""How one connection handles the bytes of a client, without a server."""

import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any

import pytest

from atatus_dash.server import connection as module
from atatus_dash.server import request
from atatus_dash.server.connection import Connection, GoneError

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def echo(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    """Answers with the path and the length of the body."""
    start("200 OK", [])
    return [environ["PATH_INFO"].encode(), b" ", str(environ.get("CONTENT_LENGTH", 0)).encode(), b";"]


class Client:
    """The client's end of a connection, which gets a thread only when the test says so."""

    def __init__(self, ends: tuple[socket.socket, socket.socket], application: Any) -> None:
        self.application = application
        self.socket, ours = ends
        self.socket.settimeout(5)
        ours.setblocking(False)
        self.connection = Connection(ours, {})
        self.is_open = True

    def turn(self) -> None:
        """Let a thread work on it once."""
        if self.is_open:
            self.is_open = self.connection.work(self.application, is_draining=False)

    def send(self, data: bytes, turns: int = 1) -> None:
        for start in range(0, len(data), 65536):
            self.socket.sendall(data[start : start + 65536])
            for _ in range(turns):
                self.turn()

    def received(self) -> bytes:
        """All bytes received so far."""
        self.socket.setblocking(False)
        parts = []
        try:
            while part := self.socket.recv(65536):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts)


Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as opened:

        def made(application: Any = echo) -> Client:
            ends = socket.socketpair()
            for end in ends:
                opened.enter_context(end)
            return Client(ends, application)

        yield made


def large(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("200 OK", [])
    return [b"x" * 1_500_000]


def test_pipelined_requests_are_answered_one_at_a_time(connect: Connect) -> None:
    """Otherwise one client with a few thousand would occupy a thread for seconds."""
    client = connect()
    client.send(GET % 1 + GET % 2 + GET % 3)
    assert client.received().endswith(b"/1 0;")
    client.turn()
    assert client.received().endswith(b"/2 0;")
    client.turn()
    assert client.received().endswith(b"/3 0;")


def test_a_malformed_request_is_refused_after_those_before_it(connect: Connect) -> None:
    client = connect()
    client.send(GET % 1 + GET % 2 + b"no request\r\n\r\n", turns=3)
    assert [line[:3] for line in client.received().split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"501"]


def test_requests_that_wait_behind_an_answer_count_as_held(connect: Connect) -> None:
    client = connect(large)
    client.send(GET % 1)
    before = client.connection.held_bytes
    client.received()
    while client.connection.held_bytes:
        client.turn()
        client.received()
    client.send((GET % 1) * 2000)
    assert client.connection.held_bytes > before + 2_000_000


def test_a_body_that_is_too_large_and_ends_with_the_next_request_is_answered_first(connect: Connect) -> None:
    client = connect()
    client.send(CHUNKED)
    for _ in range(32):
        client.send(b"fde8\r\n" + b"a" * 65000 + b"\r\n")
    client.send(b"7530\r\n" + b"b" * 30000 + b"\r\n0\r\n\r\n" + GET % 2, turns=2)
    answers = client.received().split(b"HTTP/1.1 200 OK")[1:]
    assert answers[0].endswith(b"/chunked 2110000;")
    assert answers[1].endswith(b"/2 0;")


def test_continue_is_never_sent_before_the_answer_to_an_earlier_request(connect: Connect) -> None:
    client = connect()
    head = b"POST /2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    client.send(GET % 1 + GET % 1 + head, turns=3)
    answers = client.received().split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"100"]
    client.send(b"hello")
    assert client.received().endswith(b"/2 5;")


def test_a_client_of_http_1_0_is_not_told_to_continue(connect: Connect) -> None:
    client = connect()
    client.send(b"POST /1 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert client.received() == b""


def test_http_1_0_has_no_chunks(connect: Connect) -> None:
    """A proxy with HTTP/1.0 would see another end of the body (RFC 9112 §6.1)."""
    client = connect()
    client.send(CHUNKED.replace(b"1.1", b"1.0").replace(b"Host: h", b"Connection: keep-alive") + b"0\r\n\r\n" + GET % 2)
    assert client.received().startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("rest", [b"0\r\nX-Trailer: ", b"5;extension="], ids=["trailer", "chunk extension"])
def test_a_trailer_or_chunk_extension_without_end_is_refused(connect: Connect, rest: bytes) -> None:
    client = connect()
    client.send(CHUNKED + rest)
    client.send(b"a" * 200_000)
    assert client.received().startswith(b"HTTP/1.1 431")


def test_a_body_in_small_chunks_passes_with_long_chunk_extensions(connect: Connect) -> None:
    client = connect()
    client.send(CHUNKED)
    client.send(b"1;extension=longer-than-the-data\r\na\r\n" * 20_000 + b"0\r\n\r\n")
    assert client.received().endswith(b"/chunked 20000;")


def test_a_request_with_too_many_headers_keeps_none_beyond_the_limit(connect: Connect) -> None:
    client = connect()
    client.send(b"GET / HTTP/1.1\r\n" + b"".join(b"%x:\r\n" % number for number in range(8000)))
    incoming = client.connection._incoming
    assert incoming is not None
    assert len(incoming.environ) <= request.MAX_HEADERS
    client.send(b"\r\n")
    assert client.received().startswith(b"HTTP/1.1 431")


def test_a_body_takes_no_more_memory_than_its_bytes(connect: Connect) -> None:
    """With any chunk size: a separate object for every two bytes would take forty times the memory."""
    client = connect()
    client.send(CHUNKED + b"2\r\nab\r\n" * 1000)
    incoming = client.connection._incoming
    assert incoming is not None
    assert 2000 < sys.getsizeof(incoming.body) < 5000


def test_a_slow_reader_does_not_occupy_a_thread_for_ever(
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SEND_SECONDS", 0.5)

    def larger(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        return [*large(environ, start), *large(environ, start)]

    client = connect(larger)
    client.socket.sendall(GET % 1)
    started = time.monotonic()

    def take(sock: socket.socket) -> None:
        while time.monotonic() - started < 1.5:
            sock.recv(4096)
            time.sleep(0.05)

    reader = Thread(target=take, args=[client.socket])
    reader.start()
    with pytest.raises(GoneError):
        client.turn()
    assert time.monotonic() - started < 2
    reader.join()


def test_a_request_that_came_just_before_its_connection_is_cut_off_is_answered_as_the_last(connect: Connect) -> None:
    client = connect()
    client.send(GET % 1)
    client.received()
    client.socket.sendall(GET % 2)
    client.connection.cut()
    client.turn()
    answer = client.received()
    assert answer.endswith(b"/2 0;")
    assert b"Connection: close" in answer
    assert not client.is_open


def test_a_connection_that_was_cut_off_is_closed_even_if_its_client_sends_empty_lines(connect: Connect) -> None:
    client = connect()
    client.send(GET % 1)
    client.socket.sendall(b"\r\n" * 40_000)
    client.connection.cut()
    client.turn()
    assert not client.is_open
