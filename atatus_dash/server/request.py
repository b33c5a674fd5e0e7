"""One request: from the parser's events to WSGI's environ.

- `REQUEST_URI` is the request's target, byte for byte.
- Headers with an underscore in their name are dropped: WSGI can't tell `X_Forwarded_For` from `X-Forwarded-For`.
"""

from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from accounts.turns import Turn

#: Bytes of the request line and all headers together. The request line and each header may have 8 KiB, as with nginx.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
#: The largest body that the application reads. It gets only the length of a larger one, and refuses it.
MAX_BODY_BYTES = 2 * 1024 * 1024
#: Methods that change nothing (RFC 9110 §9.2.1), so their requests take no turn.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class RefusedError(Exception):
    """A request that the server itself refuses."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


HEAD_TOO_LONG = RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's line and headers are too long.")

MALFORMED = RefusedError(HTTPStatus.BAD_REQUEST, "The request is malformed.")


class Request:
    """A request, possibly incomplete."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.target = b""
        self.headers = 0
        self.header_bytes = 0
        #: Bytes received since the start, the end of the head or the last part of the body. Limits endless trailers.
        self.received_bytes = 0
        self.has_head = False
        self.body = BytesIO()
        #: Bytes of the body received so far.
        self.length = 0
        self.is_too_large = False
        #: Whether the client waits for `100 Continue` before it sends the body.
        self.waits_to_continue = False
        #: Whether the client keeps the connection open after the answer.
        self.keeps_connection = False
        #: Set at the end of the request, unless its method is safe.
        self.turn: Turn | None = None

    def add_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            return  # ignore trailers
        self.headers += 1
        self.header_bytes += len(name) + len(value) + len(": \r\n")
        if self.headers > MAX_HEADERS:
            return  # refused at the end of the head
        key = _KEYS.get(name) or _key(name)
        if key:
            text = value.decode("latin-1").rstrip(" \t")
            if key in self.environ:
                text = f"{self.environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{text}"
            self.environ[key] = text

    def end_head(self, method: str, version: str) -> None:
        """Fill in the WSGI environ. Raises `RefusedError`."""
        self.has_head = True
        self.received_bytes = 0
        environ = self.environ
        environ["REQUEST_METHOD"] = method
        environ["SERVER_PROTOCOL"] = f"HTTP/{version}"
        environ["REQUEST_URI"] = target = self.target.decode("latin-1")
        path, _, environ["QUERY_STRING"] = target.partition("#")[0].partition("?")
        if not path.startswith("/"):
            if "HTTP_X_FORWARDED_URI" in environ:
                # Gateways written in Go send their request to the target that the client sent, such as
                # `a:http://guard/healthz`, and accept any 200.
                raise RefusedError(HTTPStatus.FORBIDDEN, "This gateway may not ask about this service.")
            path = _path(path)
        environ["PATH_INFO"] = unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if "%" in path else path
        if version not in ("1.1", "1.0"):
            raise RefusedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "This version of HTTP is not supported.")
        if self.headers > MAX_HEADERS or len(self.target) + self.header_bytes > MAX_HEAD_BYTES:
            raise HEAD_TOO_LONG
        if environ.get("HTTP_TRANSFER_ENCODING", "chunked").lower() != "chunked":
            raise RefusedError(HTTPStatus.NOT_IMPLEMENTED, "This transfer coding is not supported.")
        if version == "1.0" and "HTTP_TRANSFER_ENCODING" in environ:
            raise MALFORMED  # a proxy may not know chunked coding and see another end (RFC 9112 §6.1)
        self.waits_to_continue = version == "1.1" and environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        self.is_too_large = int(environ.get("CONTENT_LENGTH", 0)) > MAX_BODY_BYTES

    def add_body(self, part: bytes) -> None:
        self.length += len(part)
        self.received_bytes = 0
        self.waits_to_continue = False
        self.is_too_large = self.is_too_large or self.length > MAX_BODY_BYTES
        if not self.is_too_large:
            self.body.write(part)

    def end(self) -> None:
        """Set the length of a chunked body, the application's input, and the request's turn."""
        if self.environ.pop("HTTP_TRANSFER_ENCODING", None):
            self.environ["CONTENT_LENGTH"] = str(self.length)
        self.body.seek(0)
        self.environ["wsgi.input"] = self.body
        if self.environ["REQUEST_METHOD"] not in SAFE_METHODS:
            self.turn = Turn()


def _path(target: str) -> str:
    """The path of a target that is a whole URL (RFC 9112 §3.2.2). Others, such as `*`, are returned unchanged."""
    scheme, separator, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if separator and scheme.isalpha() else target


#: A cache: names of headers, and their keys in WSGI's environ.
_KEYS: dict[bytes, str] = {}


def _key(name: bytes) -> str:
    """The header's key in WSGI's environ. Empty if the header is dropped."""
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if len(_KEYS) < 500:  # not more, or clients could fill the memory
        _KEYS[name] = key
    return key
