"""Regular expressions for what validators accept, in the syntax that JSON Schema, Python and Rust share. Pure.

They leave out rules that no expression can state, such as that a text contains no API key. Tests compare them with the
validators.
"""

from typing import Any

from accounts import validators as accounts_validators
from apikeys import rates
from apikeys import validators as apikeys_validators

#: Entity tags. None has a comma in it, because that would read as two tags (RFC 9110, section 8.8.3).
_TAG = '(W/)?"[!#-+.-~-]*"'
ENTITY_TAGS = rf"^{_TAG}([ \t]*,[ \t]*{_TAG})*$"

#: An `Idempotency-Key`, bare or as a structured field's string (RFC 9651, section 3.3.3).
IDEMPOTENCY_KEY = r"""^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"""

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"({_BYTE}\.){{3}}{_BYTE}"
_GROUP = "[0-9A-Fa-f]{1,4}"
# Eight groups, or `::` in place of some (RFC 4291, section 2.2).
_IPV6 = "|".join(
    [
        f"({_GROUP}:){{7}}{_GROUP}",
        f"({_GROUP}:){{1,7}}:",
        *(f"({_GROUP}:){{1,{7 - after}}}(:{_GROUP}){{1,{after}}}" for after in range(1, 7)),
        f":(:{_GROUP}){{1,7}}",
        "::",
    ]
)
#: An address, or a network in CIDR notation.
NETWORK = rf"^({_IPV4}(/([12]?[0-9]|3[0-2]))?|({_IPV6})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"


# The invisible characters, for a class in brackets. Those beyond U+FFFF are written unescaped, because the three
# syntaxes share no escape for them, and one by one, because programs that read expressions in UTF-16 refuse ranges of
# them.
_BEYOND = [0x110BD, 0x110CD, *range(0x13430, 0x13440), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)]
_BEYOND += [0xE0001, *range(0xE0020, 0xE0080)]
_INVISIBLE = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b\u200e-\u200f"
    r"\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb" + "".join(map(chr, _BEYOND))
)
_VISIBLE = rf"[^\s{_INVISIBLE}]"
#: A text of one line that is not blank. White space around it, including line breaks, is removed.
LINE = rf"^{_VISIBLE}[^{_INVISIBLE}]*\s*$|^\s+{_VISIBLE}[^{_INVISIBLE}]*\s*$"
#: A text of several lines that is not blank.
TEXT = rf"^\s*{_VISIBLE}([^{_INVISIBLE}]|[\t\n\r])*\s*$"

# Separators, and letters that become one when normalized (NFKC), such as a fullwidth slash.
_REFUSED_IN_PATHS = (
    rf"/*%\\;?#\u00a5\u00bc-\u00be\u037e\u2044\u2047-\u2049\u20a9\u2100\u2101\u2105\u2106\u2150-\u215f\u2189\u2215\u2216"
    r"\u33a7\u33a8\u33ae\u33af\u33c6\u33de\u33df\ufe14\ufe16\ufe54\ufe56\ufe5f\ufe68\ufe6a"
    rf"\uff03\uff05\uff0f\uff1b\uff1f\uff3c\uffe5\uffe6{_INVISIBLE}"
)
_DOTS = r".\u2024-\u2026\ufe19\ufe30\ufe52\uff0e"
_SEGMENT = rf"[^{_REFUSED_IN_PATHS}]*[^{_DOTS}\s{_REFUSED_IN_PATHS}][^{_REFUSED_IN_PATHS}]*"
#: `/reports` or `/reports/*`: no segment is only dots and spaces.
PATH = rf"^/(({_SEGMENT})(/{_SEGMENT})*(/\*?)?|\*)?$"

_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
#: An origin with an optional path.
UPSTREAM = rf"^https?://([0-9A-Za-z_][0-9A-Za-z_.-]*|\[({_IPV6})\])(:{_PORT})?(/[0-9A-Za-z_.~/-]*)?$"

#: A method, in upper or lower case.
METHOD = "^[A-Za-z][A-Za-z-]{0,19}$"

#: Validators with what they accept, the most exact first.
_OF_VALIDATORS = (
    (apikeys_validators.rate_limit, f"^({rates.PATTERN.pattern})$"),
    (apikeys_validators.upstream, UPSTREAM),
    (accounts_validators.one_line, LINE),
    (accounts_validators.plain_text, TEXT),
)


def of(field: Any) -> str | None:
    """What a serializer's field accepts: its own pattern, or the pattern of its most exact validator."""
    if pattern := getattr(field, "pattern", None):
        return str(pattern)
    return next((pattern for validator, pattern in _OF_VALIDATORS if validator in field.validators), None)


def or_empty(pattern: str, *, spaces: bool) -> str:
    """The pattern, or a text that is empty or has only spaces."""
    return rf"^\s*$|{pattern}" if spaces else f"^$|{pattern}"
