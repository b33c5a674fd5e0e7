"""A client over TLS that sends raw bytes: unusual targets, and headers that no library would write."""

import http.client
import itertools
import json
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Self

#: The address of clients, unless a case says otherwise. Gateways ask from 127.0.0.1.
CLIENT = "127.0.0.2"


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The value of the header, None if it is missing. Fails if it comes twice."""
        values = self.values(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str = "api.example.com",
) -> bytes:
    """A request in bytes. A body gets a Content-Length, unless the headers say that it is chunked."""
    pairs = [("Host", host), *headers]
    if body and not any(name.lower() in ("transfer-encoding", "content-length") for name, _ in pairs):
        pairs.append(("Content-Length", str(len(body))))
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


class Connection:
    """HTTP/1.1, closed at the end of a `with` block."""

    def __init__(self, port: int, certificate: Path, *, source: str = CLIENT, seconds: float = 20) -> None:
        self.socket = _connect(_trusting(certificate), port, source, seconds)
        self._may_continue = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    @property
    def is_idle(self) -> bool:
        """Whether the gateway keeps it open and sends nothing."""
        has_data = self.socket.pending() or select.select([self.socket], [], [], 0)[0]
        return self._may_continue and not has_data

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self, method: str = "GET") -> Reply:
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        self._may_continue = not response.will_close
        return Reply(response.status, response.getheaders(), response.read())

    def request(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Reply:
        self.send(request(method, target, headers, body))
        return self.reply(method)


_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def ask_over_http_2(
    port: int, certificate: Path, method: str, targets: Iterable[str], headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Send requests without a body, one after the other, with their paths unchanged.

    Waits until the gateway has answered or refused each of them. After a refusal, the rest gets a new connection.
    """
    remaining = deque(targets)
    while remaining:
        with _connect(_trusting(certificate, "h2"), port) as connection:
            # The window of the connection is for all of its responses.
            preface = _frame(_SETTINGS, 0, 0) + _frame(_WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4))
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + preface)
            with connection.makefile("rb") as frames:
                for stream in itertools.count(1, 2):
                    if not remaining:
                        return
                    pairs = [(":method", method), (":scheme", "https"), (":authority", "api.example.com")]
                    pairs += [(":path", remaining[0]), *headers]
                    block = b"".join(b"\0" + _literal(name.lower()) + _literal(value) for name, value in pairs)
                    is_answered = _is_answered(connection, frames, stream, block)
                    if is_answered or stream == 1:  # otherwise, it may have been the previous request that was refused
                        remaining.popleft()
                    if not is_answered:
                        break


def _is_answered(connection: ssl.SSLSocket, frames: BinaryIO, stream: int, block: bytes) -> bool:
    """Send the request, and whether the gateway responded. A closed connection is also a refusal."""
    with suppress(ConnectionError, ssl.SSLError):
        connection.sendall(_frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, block))
        while head := frames.read(9):
            kind, flags = head[3], head[4]
            frames.read(int.from_bytes(head[:3]))
            if kind in (_RST_STREAM, _GOAWAY):
                return False
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return True
            if kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0))
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, §4.1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(text: str) -> bytes:
    """Plain text, without Huffman coding (RFC 7541, §5.2)."""
    data = text.encode("latin-1")
    if len(data) < 127:
        return bytes((len(data),)) + data
    length, rest = b"\x7f", len(data) - 127
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + data


def _connect(context: ssl.SSLContext, port: int, source: str = CLIENT, seconds: float = 20) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0))
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname="api.example.com")
    except BaseException:
        plain.close()
        raise


@cache
def _trusting(certificate: Path, *protocols: str) -> ssl.SSLContext:
    """Creating it takes as long as a handshake."""
    context = ssl.create_default_context(cafile=str(certificate))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
