"""An ordinary WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

import gc
import os
from http.client import responses
from typing import Any

import django
from django.core.handlers.wsgi import LimitedStream, WSGIHandler, WSGIRequest
from django.template import engines
from django.urls import reverse
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")

django.setup(set_prefix=False)

from accounts import bodies  # noqa: E402
from atatus_dash import guard, heartbeat  # noqa: E402  they need the apps loaded


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
    """Django's handler, after `guard`. For both, a body that was cut off is none.

    Its first request starts the threads that write usage and read the maintenance state, if the server hasn't.
    """

    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        heartbeat.start()
        if length := bodies.length(environ):
            environ["wsgi.input"] = WholeStream(environ["wsgi.input"], length)
        if environ["PATH_INFO"].startswith(guard.PREFIX) and (answer := guard.answer(environ)) is not None:
            start_response(f"{answer.status} {responses[answer.status]}", answer.headers)
            return [answer.body]
        return super().__call__(environ, start_response)


application = Application()

# What is loaded by now stays. Frozen, it is no longer walked by every full collection, which took 30 ms each time and
# which anybody could bring about by sending something with many parts.
reverse("home")  # loads every view
engines.all()
gc.collect()
gc.freeze()
