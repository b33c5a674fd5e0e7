"""A client over TLS that sends raw bytes: unusual targets, and headers that no library would write."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.socket = connection

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self, method: str = "GET") -> Reply:
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        return Reply(response.status, response.getheaders(), response.read())

    def request(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Reply:
        self.send(request(method, target, headers, body))
        return self.reply(method)


_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def ask_over_http_2(
    port: int, certificate: Path, method: str, target: str, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Send a request without a body, with its path unchanged. Waits until the gateway has answered or refused it."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2"])
    pairs = [(":method", method), (":scheme", "https"), (":authority", "api.example.com"), (":path", target), *headers]
    block = b"".join(b"\0" + _literal(name.lower()) + _literal(value) for name, value in pairs)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(CLIENT, 0)) as plain,
        context.wrap_socket(plain, server_hostname="api.example.com") as wrapped,
        suppress(ConnectionError),  # a closed connection is also a refusal
    ):
        wrapped.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0))
        wrapped.sendall(_frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, block))
        stream = wrapped.makefile("rb")
        while head := stream.read(9):
            kind, flags = head[3], head[4]
            stream.read(int.from_bytes(head[:3]))
            if kind in (_RST_STREAM, _GOAWAY) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                return
            if kind == _SETTINGS and not flags & _ACK:
                wrapped.sendall(_frame(_SETTINGS, _ACK, 0))


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


@contextmanager
def connected(port: int, certificate: Path, *, source: str = CLIENT, seconds: float = 20) -> Iterator[Connection]:
    context = ssl.create_default_context(cafile=str(certificate))
    plain = socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with plain, context.wrap_socket(plain, server_hostname="api.example.com") as wrapped:
        yield Connection(wrapped)
