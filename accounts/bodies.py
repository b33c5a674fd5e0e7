"""Checks on a request's body before it is read. Pure: imports no models."""

from collections.abc import Mapping
from typing import Any

from .errors import LengthRequired

#: Up to this size, in bytes, bodies are not limited: parsing them costs almost nothing.
SMALL = 16 * 1024


def length(meta: Mapping[str, Any]) -> int:
    """The body's length in bytes, as Django reads `Content-Length`."""
    try:
        return int(meta.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def require_whole(meta: Mapping[str, Any]) -> None:
    """Refuse a chunked body: some servers pass on an incomplete one after the connection was lost.

    `manage.py serve` replaces chunks by a `Content-Length` once the body is complete. Raises `LengthRequired`.
    """
    if "HTTP_TRANSFER_ENCODING" in meta:
        raise LengthRequired("Send the body with a Content-Length, not in chunks.")
