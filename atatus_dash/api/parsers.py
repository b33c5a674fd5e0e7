"""Parsers of bodies. The cost of parsing is limited before it begins; for forms, `form_limits` does so."""

import json
import math
import re
from typing import IO, Any

from django.conf import settings
from django.http import QueryDict
from django.utils.http import parse_header_parameters
from rest_framework import exceptions
from rest_framework.parsers import FormParser as DRFFormParser
from rest_framework.parsers import JSONParser as DRFJSONParser
from rest_framework.parsers import MultiPartParser as DRFMultiPartParser

from accounts.errors import Invalid

from ..form_limits import require_few_escapes

#: Values in one JSON body, at every depth. It is enough for 1,000 objects of nine members.
MAX_VALUES = 10_000
#: Arrays and objects within each other. Python's own limit depends on its version and on the depth of the call, and
#: code that walks through a value needs more of the stack than the parser does.
MAX_DEPTH = 64
#: Charsets of forms. Python has more codecs, but some don't decode text, some raise errors other than UnicodeError, and
#: one takes a second for 100 KB.
CHARSETS = {
    *("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-2", "iso-8859-9", "iso-8859-15"),
    *(
        "windows-1250",
        "windows-1251",
        "windows-1252",
        "koi8-r",
        "shift_jis",
        "euc-jp",
        "gbk",
        "gb18030",
        "big5",
        "euc-kr",
    ),
}

# A string, or an unfinished one up to the end. There is no backtracking: the quantifier is possessive, and the
# expression matches at every quote.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def _charset_of(media_type: str | None) -> str | None:
    """The codec of a form, or None for UTF-8. Unknown names are ignored, as Django does."""
    name = parse_header_parameters(media_type or "")[1].get("charset", "").lower()
    return name if name in CHARSETS else None


# JSON -------------------------------------------------------------------------------------------


class JSONParser(DRFJSONParser):
    """Reads JSON strictly: UTF-8, finite numbers, unique names in an object (RFC 8259 §4), bounded nesting."""

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return parse_json(stream.read())
        except RefusedJSONError as error:
            raise exceptions.ParseError(str(error) or "The body is not valid JSON.") from None


def parse_json(body: bytes) -> Any:
    """Raises `RefusedJSONError`, with an empty text for a syntax error, and `Invalid` for too many values."""
    _require_few_values(body)
    _require_shallow(body)
    try:
        text = body.decode("utf-8-sig")  # a parser may ignore a byte order mark (RFC 8259 §8.1)
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite)
    except RefusedJSONError:
        raise
    except ValueError:
        raise RefusedJSONError from None


def _require_few_values(body: bytes) -> None:
    """Raises `Invalid`. The contents of strings don't count, because they cost almost nothing."""
    if _values(body) > MAX_VALUES and _values(_without_strings(body)) > MAX_VALUES:
        raise Invalid(f"The body holds more than {MAX_VALUES:,} values.")


def _values(body: bytes) -> int:
    """An upper bound of the number of values: each follows a comma, or is the first in its array or object."""
    return sum(map(body.count, (b",", b"[", b"{")))


def _require_shallow(body: bytes) -> None:
    """Raises `RefusedJSONError`. Brackets in strings don't count."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_without_strings(body)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise RefusedJSONError("The JSON is nested too deeply.")
        if depth < 0:
            raise RefusedJSONError  # it is not valid


def _without_strings(body: bytes) -> bytes:
    """The body without its strings. A body with few values has at most two strings for each: a name and a value."""
    return _STRING.sub(b"", body, count=2 * MAX_VALUES)


class RefusedJSONError(ValueError):
    """Refused JSON, with a sentence for the client."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise RefusedJSONError("A JSON object has the same name twice.")
    "".join(result).encode()  # raises ValueError for half of a surrogate pair, which no answer could contain
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise RefusedJSONError(f"The number {text} is too large.")
    return number


def _refuse_constant(name: str) -> None:
    raise RefusedJSONError(f"{name} is not valid JSON.")


# Forms ------------------------------------------------------------------------------------------


class FormParser(DRFFormParser):
    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read()
        require_few_escapes(body)
        return QueryDict(body, encoding=_charset_of(media_type))


class MultiPartParser(DRFMultiPartParser):
    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        if not parse_header_parameters(media_type or "")[1].get("boundary"):
            raise exceptions.ParseError("The multipart body has no boundary: let your client write its Content-Type.")
        context = {**(parser_context or {}), "encoding": _charset_of(media_type) or settings.DEFAULT_CHARSET}
        return super().parse(stream, media_type, context)
