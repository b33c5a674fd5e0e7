"""An ordinary WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

import os
from contextlib import suppress
from io import BytesIO
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import LimitedStream, WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")

django.setup(set_prefix=False)

from atatus_dash import heartbeat  # noqa: E402  needs the apps loaded

#: As much of a body as we take off the client's hands; nginx sends no more.
TAKEN = 2 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE


class WholeStream(LimitedStream):
    """A body of a known length. One that ends before it was cut off on its way, and is never acted on.

    Raises `OSError`, which Django makes an `UnreadablePostError` and we a 400.
    """

    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__(stream, limit)
        self._missing = limit

    def read(self, size: int | None = -1, /) -> bytes:
        return self._counted(super().read(size))

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._counted(super().readline(size))

    def _counted(self, part: bytes) -> bytes:
        self._missing -= len(part)
        if not part and self._missing > 0:
            self._missing = 0
            raise OSError("The body ended before its length.")
        return part


class Application(WSGIHandler):
    """Django's handler, and what it leaves to others about bodies.

    It takes a body sent in chunks for none, because it has no length: such a one is read here. And a server
    closes a connection whose body was left unread, which a client or proxy that is still sending takes for a
    failure instead of reading our refusal: such a body is read to its end here.
    """

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_TRANSFER_ENCODING" in environ:
            _give_length(environ)
        length = environ.get("CONTENT_LENGTH")
        if not length or length == "0":
            return super().__call__(environ, start_response)
        body = environ["wsgi.input"] = WholeStream(environ["wsgi.input"], _whole_number(length))
        response = super().__call__(environ, start_response)
        _drain(body)
        return response


def _give_length(environ: dict[str, Any]) -> None:
    """Read a body without a length, if the server ends such a one by itself, up to the byte that makes it too large."""
    if environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            _drain(environ["wsgi.input"])
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))


def _drain(stream: Any) -> None:
    left = TAKEN
    with suppress(OSError):
        while left > 0 and (part := stream.read(min(left, 65536))):
            left -= len(part)


def _whole_number(text: str) -> int:
    """As Django reads the header."""
    try:
        return int(text)
    except ValueError:
        return 0


application = Application()

heartbeat.start()
