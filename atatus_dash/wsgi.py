"""An ordinary WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

import gc
import os
from contextlib import suppress
from io import BytesIO
from typing import Any

import django
from django.core.handlers.wsgi import LimitedStream, WSGIHandler, WSGIRequest
from django.template import engines
from django.urls import reverse
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")

django.setup(set_prefix=False)

from accounts import bodies  # noqa: E402
from atatus_dash import form_limits, heartbeat  # noqa: E402  they need the apps loaded
from atatus_dash.middleware import is_trusted  # noqa: E402

#: As much of a body as we take off the client's hands; nginx sends no more.
TAKEN = form_limits.LARGEST_FORM


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


class Request(WSGIRequest):
    """Reads `Content-Type` and leaves its charset to who reads the body.

    Django looks up whatever codec a client names, and reads query strings with it, too: some fail at reading or
    writing, and Python remembers each unknown name. So parameters that name a codec of their own (RFC 2231) are
    dropped as well.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        sent = meta.get("CONTENT_TYPE", "")
        if "*" in sent:
            sent = meta["CONTENT_TYPE"] = sent.partition(";")[0]
        self.content_type, self.content_params = parse_header_parameters(sent)


class Application(WSGIHandler):
    """Django's handler, and what it leaves to others about bodies.

    It takes a body sent in chunks for none, because it has no length. And a server closes a connection whose body
    was left unread, which a client or proxy that is still sending takes for a failure instead of reading our
    refusal: a body of a known length is read to its end here.

    Its first request starts the threads that write usage and read the maintenance state, if the server hasn't.
    """

    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        heartbeat.start()
        if "HTTP_TRANSFER_ENCODING" in environ:
            _give_length(environ)
        length = environ.get("CONTENT_LENGTH")
        if not length or length == "0":
            return super().__call__(environ, start_response)
        body = environ["wsgi.input"] = WholeStream(environ["wsgi.input"], bodies.length(environ))
        response = super().__call__(environ, start_response)
        _drain(body)
        return response


def _give_length(environ: dict[str, Any]) -> None:
    """Take a trusted proxy's body out of its chunks (RFC 9112 §7.1.3), up to the byte that makes it too large.

    From anybody else it stays as it is, unread, and is a 411: one that was cut off looks like a whole one, because
    granian ends it without a word. What a proxy sends is whole if the proxy reads a request before it passes it on.
    """
    if not environ.get("wsgi.input_terminated") or not is_trusted(environ.get("REMOTE_ADDR", "").partition("%")[0]):
        return
    del environ["HTTP_TRANSFER_ENCODING"]
    if not environ.get("CONTENT_LENGTH"):
        body = environ["wsgi.input"].read(TAKEN + 1)
        if len(body) > TAKEN:
            _drain(environ["wsgi.input"])
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))


def _drain(stream: Any) -> None:
    left = TAKEN
    with suppress(OSError):
        while left > 0 and (part := stream.read(min(left, 65536))):
            left -= len(part)


application = Application()

# What is loaded by now stays. Frozen, it is no longer walked by every full collection, which took 30 ms each time and
# which anybody could bring about by sending something with many parts.
reverse("home")  # loads every view
engines.all()
gc.collect()
gc.freeze()
