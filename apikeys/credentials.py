"""Finds keys in a request's headers and query string. `atatus_dash.api.authentication` reads bodies too."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from . import tokens
from .gate import Place, Verdict
from .lookup import KeyRecord

FIELD = "api_key"
SCHEMES = ("bearer", "token")


class Credential(NamedTuple):
    """The key of a request, where it was sent, and whether the request is allowed."""

    key: KeyRecord
    place: Place
    verdict: Verdict


def in_headers(meta: Mapping[str, str]) -> list[str]:
    """Keys in `X-API-KEY` and `Authorization`.

    If a header is sent twice, a server joins the values with a comma (RFC 9110 §5.2). `Authorization` with another
    scheme has no key.
    """
    values = []
    if sent := meta.get("HTTP_X_API_KEY"):
        values = [value for part in sent.split(",") if (value := part.strip())]
    if sent := meta.get("HTTP_AUTHORIZATION"):
        for part in sent.split(","):
            scheme, *words = part.split() or [""]
            if scheme.lower() in SCHEMES:
                values += words
            elif words:
                break  # another scheme: its parameters are not keys
            elif scheme:
                values.append(scheme)
    return values


def with_commas(meta: Mapping[str, str]) -> list[str]:
    """Header values with a comma that may be one key: an imported key may contain commas."""
    if "," not in meta.get("HTTP_X_API_KEY", "") and "," not in meta.get("HTTP_AUTHORIZATION", ""):
        return []
    values = [meta.get("HTTP_X_API_KEY", "").strip()]
    scheme, _, rest = meta.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    values.append(rest.strip() if scheme.lower() in SCHEMES else f"{scheme} {rest}".strip())
    return [value for value in values if "," in value and " " not in value and tokens.may_be_a_key(value)]


def in_query_string(meta: Mapping[str, str]) -> list[str]:
    """Keys in the query string. A service's own query may have any number of fields."""
    sent = meta.get("QUERY_STRING", "")
    if FIELD not in sent and "%" not in sent:  # any letter of the name may be percent-encoded
        return []
    return stripped(value for name, value in parse_qsl(sent, keep_blank_values=True) if name == FIELD)


def stripped(values: Iterable[object]) -> list[str]:
    """Keys without whitespace around them, such as a line break from a file or a shell."""
    return [text for value in values if isinstance(value, str) and (text := value.strip())]
