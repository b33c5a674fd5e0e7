"""The service behind the gateways. Its response repeats the received request, byte for byte."""

import base64
import hashlib
import json
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any

from .listener import Listener

#: Seconds between the parts of a streamed response.
PAUSE = 0.3


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    length: int = 0
    digest: str = ""

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]


class Upstream(Listener):
    """`/stream` responds in parts, `/status/NNN` with that status. After an upgrade it echoes bytes."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while (request := _read_head(stream)) is not None:
            if "100-continue" in "".join(request.values("Expect")).lower():
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            _read_body(stream, request)
            self.received.append(request)
            path = re.sub(r"^https?://[^/]*", "", request.target)
            if request.values("Upgrade"):
                _echo(connection, stream, request)
                return
            if "/stream" in path:
                _stream(connection)
                continue
            status = re.search(r"/status/(\d{3})", path)
            _answer(connection, request, int(status[1]) if status else 200)


def _read_head(stream: BufferedReader) -> Received | None:
    line = stream.readline().decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    method, _, rest = line.partition(" ")
    request = Received(method, rest.rpartition(" ")[0])
    while text := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = text.partition(":")
        request.headers.append((name, value.strip()))
    return request


def _read_body(stream: BufferedReader, request: Received) -> None:
    digest = hashlib.sha256()

    def take(size: int) -> None:
        while size:
            part = stream.read(min(size, 65536))
            if not part:
                raise OSError("the body ended early")
            digest.update(part)
            request.length += len(part)
            size -= len(part)

    if "chunked" in "".join(request.values("Transfer-Encoding")).lower():
        while size := int(stream.readline().partition(b";")[0], 16):
            take(size)
            stream.readline()
        while stream.readline().strip():
            pass
    else:
        take(int(next(iter(request.values("Content-Length")), "0")))
    request.digest = digest.hexdigest()


def _answer(connection: socket.socket, request: Received, status: int) -> None:
    body: Any = json.dumps(vars(request)).encode()
    head = (
        f"HTTP/1.1 {status} Of The Service\r\nContent-Type: application/json\r\nX-Of-The-Service: yes\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + (b"" if request.method == "HEAD" else body))


def _stream(connection: socket.socket) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 0\r\n"
    )
    for part in range(1, 4):
        time.sleep(PAUSE)
        connection.sendall(f"7\r\ndata: {part}\r\n".encode())
    connection.sendall(b"0\r\n\r\n")


def _echo(connection: socket.socket, stream: BufferedReader, request: Received) -> None:
    # Without this header, HAProxy passes no upgrade (RFC 6455, §4.2.2).
    nonce = "".join(request.values("Sec-WebSocket-Key")) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(nonce.encode(), usedforsecurity=False).digest()).decode()
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
    )
    with suppress(OSError):
        while part := stream.read1(65536):
            connection.sendall(part)
