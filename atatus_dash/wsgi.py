"""An ordinary WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

import os
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
        body = environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], _whole_number(length))
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
