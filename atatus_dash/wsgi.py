"""An ordinary WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

import os
from io import BytesIO
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")

django.setup(set_prefix=False)

from atatus_dash import heartbeat  # noqa: E402  needs the apps loaded


class Application(WSGIHandler):
    """Django's handler, which also reads bodies sent in chunks; Django itself reads nothing that has no length."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_TRANSFER_ENCODING" in environ:
            _give_length(environ)
        return super().__call__(environ, start_response)


def _give_length(environ: dict[str, Any]) -> None:
    """Read a body without a length, if the server ends such a one by itself, up to the byte that makes it too large."""
    if environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))


application = Application()

heartbeat.start()
