"""A client over TLS that sends bytes as they are: odd targets, and headers that no library would write."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Where clients come from, unless a case says otherwise. Gateways ask from 127.0.0.1.
CLIENT = "127.0.0.2"


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The one value of the header, None if it isn't there. Twice is a failure."""
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
    """A request in bytes. A body gets its length, unless the headers say that it is chunked."""
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

    def ask(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Reply:
        self.send(request(method, target, headers, body))
        return self.reply(method)


@contextmanager
def connected(port: int, certificate: Path, *, source: str = CLIENT, seconds: float = 20) -> Iterator[Connection]:
    context = ssl.create_default_context(cafile=str(certificate))
    plain = socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with plain, context.wrap_socket(plain, server_hostname="api.example.com") as wrapped:
        yield Connection(wrapped)
