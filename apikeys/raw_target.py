"""What a client asked for, byte for byte. Pure."""

from collections.abc import Mapping
from typing import Any


def raw_target(environ: Mapping[str, Any]) -> str | None:
    """The target in the request's first line as it was sent, its bytes read as Latin-1; None if the server doesn't say.

    `PATH_INFO` is decoded: in it `%2f` is a slash, and nothing is left of a `#` and what follows it. `manage.py serve`
    says `REQUEST_URI`, gunicorn's own workers say `RAW_URI`.
    """
    return environ.get("REQUEST_URI") or environ.get("RAW_URI")
