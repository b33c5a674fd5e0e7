"""The request target as the client sent it. Pure."""

from collections.abc import Mapping
from typing import Any


def raw_target(environ: Mapping[str, Any]) -> str | None:
    """The target in the request line as sent, its bytes read as Latin-1. None if the server doesn't provide it.

    `PATH_INFO` is decoded: it turns `%2f` into a slash, and drops a `#` and what follows it. `manage.py serve` sets
    `REQUEST_URI`, gunicorn's own workers set `RAW_URI`.
    """
    return environ.get("REQUEST_URI") or environ.get("RAW_URI")
