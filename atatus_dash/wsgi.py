"""The WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

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

gc.disable()  # until all is loaded: almost nothing of it is garbage, and looking for it takes a tenth of the start
django.setup(set_prefix=False)

from accounts import bodies  # noqa: E402
from atatus_dash import guard, heartbeat  # noqa: E402 they import models, which need the apps


class WholeStream(LimitedStream):
    """A body of a known length. A shorter one was cut off on its way, and must not be used.

    Raises `OSError` for a shorter one. Django turns it into `UnreadablePostError`, which becomes a 400.
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
    """Reads `Content-Type` and leaves its charset to the parser of the body.

    Django looks up any codec that a client names and decodes query strings with it too. Some codecs fail to decode or
    encode, and Python caches every unknown name. Parameters with a codec of their own (RFC 2231) are dropped for the
    same reason.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        sent = meta.get("CONTENT_TYPE", "")
        if "*" in sent:
            sent = meta["CONTENT_TYPE"] = sent.partition(";")[0]
        self.content_type, self.content_params = parse_header_parameters(sent)


class Application(WSGIHandler):
    """Django's handler behind `guard`. Both refuse a body that was cut off.

    The first request starts the threads of `heartbeat`, if the server hasn't.
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

# What is loaded now stays in memory. Freezing it excludes it from full garbage collections. These took 30 ms each, and
# any client could cause them with a request of many parts.
reverse("home")  # loads all views
engines.all()
gc.collect()
gc.freeze()
gc.enable()
