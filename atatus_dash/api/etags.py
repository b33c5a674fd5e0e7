"""ETags and conditional requests (RFC 9110, §8.8.3 and §13): a program can't undo a change that it hasn't seen.

A tag is a digest of the item as GET shows it. So it changes with every field, whatever changed it, and is the same on
all nodes. Fields that change with each use of the item don't count. The tag of an item with such fields is weak,
because it may stay the same while the response differs (§8.8.1).

`If-Match` is compared weakly, although §13.1.1 asks for the strong comparison: otherwise nothing could protect an item
with a weak tag, and a proxy that compresses answers makes every tag weak.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.http import parse_etags

from accounts.errors import Invalid, PreconditionFailed

from .renderers import JSONRenderer

#: The methods whose `If-Match` is checked in the transaction of their change.
CHANGING = ("PUT", "PATCH", "DELETE")

_IF_MATCH, _IF_NONE_MATCH = "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"


def etag(data: Mapping[str, Any], volatile_fields: Sequence[str]) -> str:
    """The tag of an item, from its representation."""
    counted = {name: value for name, value in data.items() if name not in volatile_fields}
    tag = f'"{hashlib.sha256(JSONRenderer().render(counted)).hexdigest()[:32]}"'
    return f"W/{tag}" if volatile_fields else tag


def has_preconditions(meta: Mapping[str, str]) -> bool:
    return _IF_MATCH in meta or _IF_NONE_MATCH in meta


def require_match(meta: Mapping[str, str], etag: str) -> None:
    """Raises `PreconditionFailed` if `If-Match` was sent without this tag, and `Invalid` if it has no tag at all.

    A malformed header must not be ignored: its sender wanted to protect the item.
    """
    if _IF_MATCH not in meta:
        return
    if not parse_etags(meta[_IF_MATCH]):
        sentence = "Send the item's ETag in double quotes, as GET returns it, several with commas, or *."
        raise Invalid("If-Match is malformed.", errors={"If-Match": [sentence]})
    if not _lists(meta[_IF_MATCH], etag):
        raise PreconditionFailed("This item has changed since you read it. Get it again, with its new ETag.")


def is_known(meta: Mapping[str, str], etag: str) -> bool:
    """Whether `If-None-Match` has the tag: the client already has this version (304), or wants to keep it (412)."""
    return _lists(meta.get(_IF_NONE_MATCH, ""), etag)


def _lists(sent: str, etag: str) -> bool:
    tags = {tag.removeprefix("W/") for tag in parse_etags(sent)}
    return "*" in tags or etag.removeprefix("W/") in tags
