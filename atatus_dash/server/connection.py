"""One connection: turns bytes into WSGI requests (llhttp parses them), and answers into bytes.

It does the following, which other servers leave to a proxy or to the application:

- A thread works on a request only when it is complete, including its body. A request that was cut off, such as a
  chunked body without its last chunk (RFC 9112 §8), never reaches the application.
- Head, body and answer have deadlines, even if bytes keep coming slowly.
- Pipelined requests are answered one by one, and other connections are served between them.
- The server's own answers have the API's format.
"""

import json
import logging
import select
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Any

import httptools

from accounts.turns import TURN, Postponed, turns
from apikeys import networks

from .request import HEAD_TOO_LONG, MALFORMED, MAX_HEAD_BYTES, RefusedError, Request

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

#: Bytes of an answer that are kept for a slow reader. A longer answer is sent by the thread that generates it.
ANSWER_BYTES = 2 * 1024 * 1024
RECEIVED_BYTES = 64 * 1024
#: The estimated bytes of a pipelined request while it waits, without its body.
REQUEST_BYTES = 2 * 1024
#: How long a thread sends one part of a longer answer. A client slower than about 25 KiB a second is cut off.
SEND_SECONDS = 120.0


class Phase(Enum):
    """What a connection waits for, and its timeout in seconds."""

    HEAD = "head", 10.0  #: since the first byte, or since the connection
    BODY = "body", 30.0  #: since the end of the head
    ANSWER = "answer", 20.0  #: since the client read a part of it
    IDLE = "idle", 75.0  #: until the next request
    #: After the last answer, while the client still sends. Closing immediately could lose the answer.
    LINGER = "linger", 5.0

    @property
    def seconds(self) -> float:
        return self.value[1]


class GoneError(Exception):
    """The client has closed the connection, or no longer reads its answer."""


class Connection:
    """Belongs to one thread at a time, from the poll that returned it until it is registered again."""

    def __init__(self, sock: socket.socket, environ: dict[str, Any]) -> None:
        """Serve a non-blocking socket. `environ` is copied for each of its requests."""
        self.socket = sock
        self.phase = Phase.HEAD
        #: When the connection is cut off. None while a thread works on it, and while its request is postponed.
        self.deadline: float | None = time.monotonic() + Phase.HEAD.seconds
        self.origin = networks.source(environ.get("REMOTE_ADDR", ""))
        self._until = self.deadline
        #: Whether the current request has any bytes yet.
        self.is_used = False
        self._environ = environ
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: Request | None = None
        self._is_raw = False  # the rest of the body bypasses the parser
        self._requests: deque[Request] = deque()
        self._postponed_bytes = 0  # the length of the first one's body
        self._refusal: RefusedError | None = None
        self._unsent = memoryview(b"")
        self._is_overdue = False
        self._is_last = False  # the connection is closed once everything is sent
        self._may_get_more = False  # ... but the client may still be sending

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its client, and has not been cut off."""
        return self.deadline is not None and not self._is_overdue

    @property
    def held_bytes(self) -> int:
        """Bytes held in memory: incomplete and postponed bodies, the unsent answer and pipelined requests."""
        body = (self._incoming.length if self._incoming else 0) + self._postponed_bytes
        return len(self._unsent) + body + REQUEST_BYTES * len(self._requests)

    @property
    def events(self) -> int:
        """The events to poll for. If one is pipelined, the socket is soon writable, and the request is answered."""
        return select.EPOLLOUT if self._unsent or self._requests else select.EPOLLIN

    def cut(self) -> None:
        """Cut the connection off, from any thread: the poll then returns it to a thread that closes it."""
        self._is_overdue = True
        reads = self.phase in (Phase.HEAD, Phase.BODY, Phase.IDLE)
        # What has arrived is still read and answered. An incomplete request gets a 408.
        self._shut(socket.SHUT_RD if reads else socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):  # the client has closed it already
            self.socket.shutdown(how)

    def work(self, application: Application, *, is_draining: bool) -> bool:
        """Read, or continue to send, and answer one complete request. Other connections are served before the next.

        False if the connection is finished. Raises `GoneError`, and `Postponed` if the request has to run again.
        """
        self.deadline = None
        self._postponed_bytes = 0
        if self._unsent:
            self._send()
        elif not self._requests:
            self._read()
        if self._requests and not self._unsent:
            self._answer(self._requests.popleft(), application, is_last=is_draining or self._is_overdue)
        if not self._unsent and not self._requests:
            if self._refusal:
                self._refuse(self._refusal)
            elif self._incoming and self._incoming.waits_to_continue:
                self._incoming.waits_to_continue = False
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._is_overdue and not (self._unsent or self._requests or self._incoming):
            return False  # a client could send empty lines forever
        if self._is_last and not self._unsent:
            if not self._may_get_more:
                return False
            if self.phase is not Phase.LINGER:
                self._shut(socket.SHUT_WR)
        self._wait()
        return True

    def _wait(self) -> None:
        """Set a new deadline if the phase has changed or the client has read a part of its answer."""
        if self._unsent or self._requests:
            phase = Phase.ANSWER
        elif self._is_last:
            phase = Phase.LINGER
        elif self._incoming is None:
            phase = Phase.IDLE
        else:
            phase = Phase.BODY if self._incoming.has_head else Phase.HEAD
        if phase is not self.phase or phase is Phase.ANSWER:
            self.phase, self._until = phase, time.monotonic() + phase.seconds
        self.deadline = self._until

    # What the parser calls ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._incoming = Request(self._environ.copy())

    def on_url(self, part: bytes) -> None:
        assert self._incoming
        self._incoming.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._incoming
        self._incoming.add_header(name, value)

    def on_headers_complete(self) -> None:
        assert self._incoming
        try:
            self._incoming.end_head(self._parser.get_method().decode(), self._parser.get_http_version())
        except RefusedError as error:
            self._refusal = self._refusal or error

    def on_body(self, part: bytes) -> None:
        assert self._incoming
        self._incoming.add_body(part)

    def on_message_complete(self) -> None:
        request = self._incoming
        assert request
        if self._parser.should_upgrade():
            # Some clients offer an upgrade to HTTP/2 first. The parser doesn't read the body of such a request.
            if "HTTP_TRANSFER_ENCODING" in request.environ:
                self._refusal = RefusedError(HTTPStatus.NOT_IMPLEMENTED, "An upgrade can't have a chunked body.")
            self._is_raw = request.environ.get("CONTENT_LENGTH", "0") != "0"
        else:
            request.keeps_connection = self._parser.should_keep_alive()
        if not (self._refusal or self._is_raw):
            self._dispatch()

    def _dispatch(self) -> None:
        assert self._incoming
        self._incoming.end()
        self._requests.append(self._incoming)
        self._incoming = None
        self.phase = Phase.ANSWER

    # Reading ------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self.socket.recv(RECEIVED_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise GoneError from error
        if self.phase is Phase.LINGER:
            self._may_get_more = bool(data)
            return
        if not data:
            self._is_last = True
            if self._is_overdue and self._incoming:
                self._refusal = RefusedError(HTTPStatus.REQUEST_TIMEOUT, "The request took too long.")
            elif self._incoming:
                self._refusal = RefusedError(HTTPStatus.BAD_REQUEST, "The request ended too early.")
            return
        self.is_used = True
        if self._incoming:
            self._incoming.received_bytes += len(data)
        self._parse(data)
        incoming = self._incoming
        if incoming is None or self._refusal:
            return
        if incoming.received_bytes > MAX_HEAD_BYTES:
            self._refusal = HEAD_TOO_LONG
        elif incoming.is_too_large:
            self._may_get_more = True
            self._dispatch()

    def _parse(self, data: bytes) -> None:
        if self._is_raw:
            self._take_raw(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_raw:
                self._take_raw(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refusal = RefusedError(HTTPStatus.NOT_IMPLEMENTED, "This method is not supported.")
        except httptools.HttpParserError:
            self._refusal = self._refusal or MALFORMED

    def _take_raw(self, data: bytes) -> None:
        """Add to the body of a request with `Upgrade: h2c`, which some clients send first."""
        incoming = self._incoming
        assert incoming
        missing = int(incoming.environ["CONTENT_LENGTH"]) - incoming.length
        incoming.add_body(data[:missing])
        if len(data) >= missing:
            self._dispatch()

    # Answering ----------------------------------------------------------------------------------

    def _answer(self, request: Request, application: Application, *, is_last: bool) -> None:
        answer = Answer(self, request, is_last=is_last or not request.keeps_connection)
        environ, turn = request.environ, request.turn
        if turn is not None:
            environ = {**environ, TURN: turn}  # the application changes it, and the request may run again
            turn.held_bytes = request.length + self.held_bytes
        try:
            result = application(environ, answer.start)
            try:
                for part in result:
                    answer.add(part)
                answer.end()
            finally:
                if hasattr(result, "close"):
                    result.close()
        except Postponed:
            request.body.seek(0)
            self._requests.appendleft(request)
            self._postponed_bytes = request.length
            raise
        except GoneError:
            raise
        except Exception as error:
            logger.exception("The application failed.")
            if answer.is_sent:
                raise GoneError from error
            self._refuse(FAULT)
        finally:
            if turn is not None:
                turns.end(turn)
        if answer.is_last:
            self._is_last = True
            self._requests.clear()
            self._refusal = None

    def _refuse(self, refusal: RefusedError) -> None:
        self._is_last = self._may_get_more = True
        self._refusal = None
        self._requests.clear()
        body = json.dumps({"Message": refusal.message}, separators=(",", ":"))
        head = (
            f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: private, no-store\r\nX-Content-Type-Options: nosniff\r\n"
            f"X-Request-ID: {uuid.uuid4().hex}\r\nDate: {_date()}\r\nConnection: close\r\n\r\n"
        )
        self._send(f"{head}{body}".encode())

    def _send(self, data: bytes = b"") -> None:
        """Send as much as the socket accepts, and keep the rest."""
        self._unsent = memoryview(b"".join([self._unsent, data])) if self._unsent else memoryview(data)
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise GoneError from error

    def send_all(self, data: bytes) -> None:
        """Send everything, waiting for the client. Raises `GoneError` if the client reads too slowly."""
        end = time.monotonic() + SEND_SECONDS
        self._send(data)
        poll = select.poll()
        poll.register(self.socket, select.POLLOUT)
        while self._unsent:
            seconds = min(Phase.ANSWER.seconds, end - time.monotonic())
            if seconds <= 0 or not poll.poll(seconds * 1000):
                raise GoneError
            self._send()


class Answer:
    """The answer to one request: WSGI's `start_response`, and the bytes that follow."""

    def __init__(self, connection: Connection, request: Request, *, is_last: bool) -> None:
        self.is_last = is_last
        self.is_sent = False
        self._connection = connection
        self._request = request
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []
        self._size = 0

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info and self.is_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._status, self._headers = status, headers
        return self.add

    def add(self, part: bytes) -> None:
        self._size += len(part)
        self._parts.append(part)
        if self.is_sent or self._size > ANSWER_BYTES:
            self._connection.send_all(self._pop())

    def end(self) -> None:
        """Send the rest, before the result's `close` is called."""
        length = self._length()
        if length is not None and length != self._size and self._has_body():
            self.is_last = True  # closing shows the client that the body is incomplete
        if not self.is_sent:
            self._connection._send(self._pop())

    def _pop(self) -> bytes:
        """The unsent bytes, the head first."""
        parts, self._parts = self._parts if self._has_body() else [], []
        if not self.is_sent:
            parts.insert(0, self._head())
            self.is_sent = True
        return b"".join(parts)

    def _head(self) -> bytes:
        lines = [f"HTTP/1.1 {self._status}", *(f"{name}: {value}" for name, value in self._headers)]
        if self._length() is None and self._has_body():
            if self._size > ANSWER_BYTES:
                self.is_last = True  # closing the connection ends the body
            else:
                lines.append(f"Content-Length: {self._size}")
        lines.append(f"Date: {_date()}")
        if self.is_last:
            lines.append("Connection: close")
        elif self._request.environ["SERVER_PROTOCOL"] == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def _length(self) -> int | None:
        """The application's `Content-Length`."""
        for name, value in self._headers:
            if name.lower() == "content-length":
                return int(value)
        return None

    def _has_body(self) -> bool:
        return self._request.environ["REQUEST_METHOD"] != "HEAD" and self._status[:3] not in ("204", "304")


FAULT = RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "We have a problem with our server. Please try again later.")

_dated: tuple[int, str] = (0, "")


def _date() -> str:
    """The value of `Date`, formatted once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = now, formatdate(now, usegmt=True)
    return _dated[1]
