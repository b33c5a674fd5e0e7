"""What is known of a request's body before it is read. Pure."""

from collections.abc import Mapping
from typing import Any

from .errors import LengthRequired

#: Bytes that anybody may send as often as they like: what they cost to parse is next to nothing.
SMALL = 16 * 1024


def length(meta: Mapping[str, Any]) -> int:
    """How many bytes the body has, as Django reads the header."""
    try:
        return int(meta.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def require_whole(meta: Mapping[str, Any]) -> None:
    """Refuse a body that is still in chunks: some servers pass on what a cut connection left of it.

    `manage.py serve` gives it a length when all of it is there. Raises `LengthRequired`.
    """
    if "HTTP_TRANSFER_ENCODING" in meta:
        raise LengthRequired("Send the body with a Content-Length, not in chunks.")
