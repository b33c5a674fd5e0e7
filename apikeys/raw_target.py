"""The request target as the client sent it. Pure."""

from collections.abc import Mapping
from typing import Any


def raw_target(environ: Mapping[str, Any]) -> str | None:
    """The target in the request line as sent, its bytes read as Latin-1.

    None if the server doesn't provide it. `PATH_INFO` can't replace it, because it is decoded: `%2f` has become a
    slash, and a `#` and the text after it are lost. `manage.py serve` sets `REQUEST_URI`, gunicorn's own workers set
    `RAW_URI`.
    """
    return environ.get("REQUEST_URI") or environ.get("RAW_URI")
