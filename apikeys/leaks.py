"""The contents of a report of leaked keys. Pure: imports no models."""

import re
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from django.utils.encoding import iri_to_uri

from accounts import redaction

#: Longer URLs are dropped.
MAX_URL_LENGTH = 2_000

_SOURCE = re.compile(r"[a-z0-9_]{1,50}")


class Leak(NamedTuple):
    """A key, and where it was found, if that is known and can be trusted."""

    secret: str
    url: str = ""
    source: str = ""

    @classmethod
    def found(cls, secret: str, *, url: object, source: object) -> Self:
        """A leak with the URL and the source that a trusted reporter names. What can't be shown safely is dropped."""
        named = source if isinstance(source, str) and _SOURCE.fullmatch(source) else ""
        return cls(secret, url=_shown(url) if isinstance(url, str) else "", source=named)


def _shown(url: str) -> str:
    """The URL for people, percent-encoded and with keys masked, or an empty string.

    A part before an `@` could look like the host that the URL leads to, so such a URL is dropped.
    """
    try:
        url = iri_to_uri(url.strip())  # also encodes quotes, and characters that reverse or hide text
        parts = urlsplit(url)
    except ValueError:
        return ""
    is_shown = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    return redaction.redact(url) if is_shown and len(url) <= MAX_URL_LENGTH else ""
