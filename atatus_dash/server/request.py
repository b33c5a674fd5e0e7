"""One request: from what the parser tells of it to what WSGI asks for.

- `REQUEST_URI` is the target of the request byte for byte;
- a header with an underscore in its name is dropped: WSGI can't tell `X_Forwarded_For` from `X-Forwarded-For`.
"""

from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

#: A request line and all its headers together. Each alone may have the 8 KiB that nginx lets through.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
#: As much of a body as the application reads of any. A larger one comes without its bytes, to be refused by its length.
MAX_BODY_BYTES = 2 * 1024 * 1024


class RefusedError(Exception):
    """A request that the server answers by itself."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


HEAD_TOO_LONG = RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's line and headers are too long.")

MALFORMED = RefusedError(HTTPStatus.BAD_REQUEST, "The request is malformed.")


class Request:
    """A request, as far as it has come."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.target = b""
        self.headers = 0
        self.header_bytes = 0
        #: Bytes that have come since the last that meant something: of a head without end, or of a trailer.
        self.received_bytes = 0
        self.has_head = False
        self.body = bytearray()
        #: Bytes of the body so far.
        self.length = 0
        self.is_too_large = False
        #: Whether the client sends the body when it is told to continue.
        self.waits_to_continue = False
        #: Whether the client keeps the connection after it.
        self.keeps_connection = False

    def add_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            return  # a trailer, which nobody asked for
        self.headers += 1
        self.header_bytes += len(name) + len(value) + len(": \r\n")
        if self.headers > MAX_HEADERS:
            return  # to be refused
        key = _KEYS.get(name) or _key(name)
        if key:
            text = value.decode("latin-1").rstrip(" \t")
            if key in self.environ:
                text = f"{self.environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{text}"
            self.environ[key] = text

    def end_head(self, method: str, version: str) -> None:
        """Fill in what WSGI asks for. Raises `RefusedError`."""
        self.has_head = True
        self.received_bytes = 0
        environ = self.environ
        environ["REQUEST_METHOD"] = method
        environ["SERVER_PROTOCOL"] = f"HTTP/{version}"
        environ["REQUEST_URI"] = target = self.target.decode("latin-1")
        path, _, environ["QUERY_STRING"] = target.partition("#")[0].partition("?")
        if not path.startswith("/"):
            if "HTTP_X_FORWARDED_URI" in environ:
                # Gateways written in Go take what their client sent, such as `a:http://guard/healthz`, for the address
                # to ask at, and any 200 for a yes.
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
            raise MALFORMED  # a proxy that knows no chunks would see the end of the body elsewhere (RFC 9112 §6.1)
        self.waits_to_continue = version == "1.1" and environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        self.is_too_large = int(environ.get("CONTENT_LENGTH", 0)) > MAX_BODY_BYTES

    def add_body(self, part: bytes) -> None:
        self.length += len(part)
        self.received_bytes = 0
        self.waits_to_continue = False
        self.is_too_large = self.is_too_large or self.length > MAX_BODY_BYTES
        if not self.is_too_large:
            self.body += part

    def end(self) -> None:
        """Give a body that came in chunks its length, and the application what there is to read."""
        if self.environ.pop("HTTP_TRANSFER_ENCODING", None):
            self.environ["CONTENT_LENGTH"] = str(self.length)
        self.environ["wsgi.input"] = BytesIO(self.body)


def _path(target: str) -> str:
    """The path of a target that is a whole address (RFC 9112 §3.2.2); of others, such as `*`, all there is."""
    scheme, separator, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if separator and scheme.isalpha() else target


#: Names of headers that came before, as WSGI writes them.
_KEYS: dict[bytes, str] = {}


def _key(name: bytes) -> str:
    """How WSGI writes the name of a header; empty for one that is dropped."""
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if len(_KEYS) < 500:  # or clients could fill the memory with names
        _KEYS[name] = key
    return key
