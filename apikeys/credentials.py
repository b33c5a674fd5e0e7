"""Keys as a request's headers and query string hold them. `atatus_dash.api.authentication` looks into bodies, too."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from . import tokens
from .gate import Place, Verdict
from .lookup import KeyRecord

FIELD = "api_key"
SCHEMES = ("bearer", "token")


class Credential(NamedTuple):
    """The key that a request came with, where it stood, and whether it may do what it was sent for."""

    key: KeyRecord
    place: Place
    verdict: Verdict


def in_headers(meta: Mapping[str, str]) -> list[str]:
    """Keys in `X-API-KEY` and `Authorization`. A server joins a header sent twice with a comma (RFC 9110 §5.2).

    `Authorization` may be about something else: with another scheme it holds no key.
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
                break  # another scheme, whose parameters are no keys
            elif scheme:
                values.append(scheme)
    return values


def with_commas(meta: Mapping[str, str]) -> list[str]:
    """What may be one key in a header if its commas are the key's own, as an imported key may have them."""
    if "," not in meta.get("HTTP_X_API_KEY", "") and "," not in meta.get("HTTP_AUTHORIZATION", ""):
        return []
    values = [meta.get("HTTP_X_API_KEY", "").strip()]
    scheme, _, rest = meta.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    values.append(rest.strip() if scheme.lower() in SCHEMES else f"{scheme} {rest}".strip())
    return [value for value in values if "," in value and " " not in value and tokens.may_be_a_key(value)]


def in_query_string(meta: Mapping[str, str]) -> list[str]:
    """Keys in the query. It may be a service's own, which has as many fields as it likes."""
    sent = meta.get("QUERY_STRING", "")
    if FIELD not in sent and "%" not in sent:  # where any letter of it may hide
        return []
    return stripped(value for name, value in parse_qsl(sent, keep_blank_values=True) if name == FIELD)


def stripped(values: Iterable[object]) -> list[str]:
    """Keys without what a file or a shell left around them, such as a line break."""
    return [text for value in values if isinstance(value, str) and (text := value.strip())]
