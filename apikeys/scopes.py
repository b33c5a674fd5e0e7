"""A key's access: everything, or selected services, each whole or by path. Pure.

Patterns are compared with the decoded path, so a request target must mean the same path whatever the service does:
decode it once or twice, resolve dot segments, merge slashes, drop `;parameters`, read a backslash as a slash or
normalize letters. Any other target is ambiguous, and is refused wherever a path decides (`read_path`). Paths are
case-sensitive.
"""

import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from unicodedata import is_normalized, normalize
from urllib.parse import unquote_to_bytes

#: Stands for `/v2` itself in the place of a service's id.
API = "api"

#: The maximum size of an access. It is loaded with its key on every request.
MAX_SERVICES = 50
MAX_PATHS = 50  # of one service
MAX_PATTERN_LENGTH = 200  # characters
MAX_LENGTH = 10_000  # characters, as stored

SERVICE = re.compile(r"svc_[0-9A-Za-z]{1,36}", re.ASCII)
#: What the service of an entry can be, for JSON Schema.
SERVICE_PATTERN = f"^({SERVICE.pattern}|{API})$"

# A readable target: visible ASCII, two hexadecimal digits after each %, no encoded slash.
_TARGET = re.compile(r"/[!-$&-~]*(?:%(?!2[Ff])[0-9A-Fa-f]{2}[!-$&-~]*)*", re.ASCII)

# What makes a decoded path ambiguous. Windows code pages turn U+2044, U+2215 and U+2216 into slashes, and Japanese and
# Korean ones turn the yen and won signs into backslashes. Windows, like any service that strips spaces, reads a segment
# of dots and spaces as a dot segment.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f-\x9f\xa5%\\;?#\u2044\u20a9\u2215\u2216\ud800-\udfff]|//|/[\s.]+(?:/|\Z)")


class Entry(NamedTuple):
    """One service (`svc_…` or `api`), with all paths if `paths` is None."""

    service: str
    paths: tuple[str, ...] | None = None


#: None means everything, including services that are created later. An empty tuple means nothing.
Access = tuple[Entry, ...] | None


class Refusal(StrEnum):
    """Why the access rule refuses a request, as the client sees it."""

    API = "This API key has no access to this API."
    SERVICE = "This API key has no access to this service."
    PATH = "This API key has no access to this path."
    AMBIGUOUS = "This path is ambiguous."


def refusal(access: str | None, service: str, target: str = "", *, reading_paths: str = "[]") -> Refusal | None:
    """Why a key with this access may not send this request to a service; None if it may.

    `access` and `reading_paths` are as stored, `target` is the raw request target. It is read only if the key has paths
    of this service, or the service has reading paths: then an ambiguous target is refused for every key.
    """
    paths = None
    if access is not None:
        services = _services(access)
        if service not in services:
            return Refusal.API if service == API else Refusal.SERVICE
        paths = services[service]
    if paths is None and reading_paths == "[]":
        return None
    path = read_path(target)
    if path is None:
        return Refusal.AMBIGUOUS
    return Refusal.PATH if paths is not None and not paths.match(path) else None


def is_reading(reading_paths: str, target: str) -> bool:
    """Whether every method counts as reading at this target. An ambiguous target matches no reading path."""
    if reading_paths == "[]":
        return False
    path = read_path(target)
    return path is not None and _reading_paths(reading_paths).match(path)


def read_path(target: str) -> str | None:
    """The decoded path of a raw request target; None if it is ambiguous, or not a path.

    Ambiguous are: dot segments, `//`, `;`, backslashes, a raw `#`, control characters, unencoded spaces and non-ASCII
    letters, a `%` without two hexadecimal digits, an encoded slash, question mark, number sign or percent sign (the
    path would be encoded twice), invalid UTF-8, and text that is not in Unicode's form NFC or whose form NFKC would be
    ambiguous. A target in absolute form (a whole URL) is not a path.
    """
    path = target.partition("?")[0]
    if not _TARGET.fullmatch(path):
        return None
    if "%" in path:
        try:
            path = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            return None
    return path if _is_unambiguous(path) else None


def _is_unambiguous(path: str) -> bool:
    if _AMBIGUOUS.search(path):
        return False
    if path.isascii():
        return True
    if not is_normalized("NFC", path):  # before NFKC, which takes long to sort many combining marks
        return False
    compatible = normalize("NFKC", path)
    return compatible.count("/") == path.count("/") and not _AMBIGUOUS.search(compatible)


def parse(value: object) -> Access:
    """Parse the API's form: null, or a list such as `[{"service": "svc_…", "paths": ["/a/*"]}]`.

    Keeps the order and removes duplicate paths. Raises `ValueError` with a message for people.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(
            'Write a list such as [{"service": "svc_…", "paths": ["/reports/*"]}], or null for everything.'
        )
    if len(value) > MAX_SERVICES:
        raise ValueError(f"A key can list at most {MAX_SERVICES} services.")
    access = tuple(_parse_entry(item) for item in value)
    seen = set()
    for entry in access:
        if entry.service in seen:
            raise ValueError(f"List {entry.service} once, with all of its paths.")
        seen.add(entry.service)
    if len(store(access) or "") > MAX_LENGTH:
        raise ValueError(f"This is longer than {MAX_LENGTH:,} characters. List fewer or shorter paths.")
    return access


def parse_options(texts: Sequence[str]) -> Access:
    """Parse the commands' form: texts such as `api`, `none` or `svc_…[:/path,…]`.

    No text means everything. Paths with a comma can't be written this way. Raises `ValueError` with a message for
    people.
    """
    if not texts:
        return None
    if "none" in texts:
        if len(texts) > 1:
            raise ValueError("Use “none” alone.")
        return ()
    items: list[object] = []
    for text in texts:
        service, has_paths, paths = text.partition(":")
        items.append({"service": service, "paths": paths.split(",")} if has_paths else {"service": service})
    return parse(items)


def parse_patterns(value: object) -> tuple[str, ...]:
    """Parse a list of patterns, each `/path` or `/path/*`. Keeps the order and removes duplicates.

    Raises `ValueError` with a message for people.
    """
    if not isinstance(value, list):
        raise ValueError("Write a list of paths, such as /reports or /reports/*.")
    if len(value) > MAX_PATHS:
        raise ValueError(f"A service can have at most {MAX_PATHS} paths.")
    return tuple(dict.fromkeys(_parse_pattern(text) for text in value))


def store(access: Access) -> str | None:
    """The JSON text of an access, as stored. Equal accesses have equal texts."""
    return None if access is None else json.dumps(as_json(access), separators=(",", ":"))


def load(stored: str | None) -> Access:
    """The access of a stored text, which was validated before it was stored."""
    return None if stored is None else _load(stored)


def entry_of(stored: str | None, service: str) -> Entry | None:
    """The entry of a service in a stored access. None if the access is everything, or doesn't list the service."""
    return next((entry for entry in load(stored) or () if entry.service == service), None)


def as_json(access: Access) -> list[dict[str, object]] | None:
    """The API's form of an access."""
    if access is None:
        return None
    return [
        {"service": service} if paths is None else {"service": service, "paths": list(paths)}
        for service, paths in access
    ]


def as_options(access: Access) -> list[str]:
    """The commands' form of an access."""
    if access is None:
        return []
    return [service if paths is None else f"{service}:{','.join(paths)}" for service, paths in access] or ["none"]


def in_short(stored: str | None) -> list[str]:
    """A stored text for people and audit log entries: the commands' form, or `everything`."""
    return as_options(load(stored)) or ["everything"]


def covers(wider: Access, narrower: Access) -> bool:
    """Whether `wider` allows everything that `narrower` allows."""
    if wider is None or narrower is None:
        return wider is None
    opened = dict(wider)
    return all(service in opened and _covers_paths(opened[service], paths) for service, paths in narrower)


def covers_patterns(wider: Iterable[str], narrower: Iterable[str]) -> bool:
    """Whether `wider` matches every path that `narrower` matches."""
    # Infinitely many paths match /a/*, and no set of narrower patterns matches all of them. So one pattern must.
    wide = tuple(wider)
    return all(any(_covers_pattern(outer, inner) for outer in wide) for inner in narrower)


class _Paths(NamedTuple):
    """Patterns, prepared for fast comparison with a path."""

    exact: frozenset[str]
    beginnings: tuple[str, ...]  # each ends in a slash

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "_Paths":
        patterns = tuple(patterns)
        return cls(
            frozenset(pattern.removesuffix("/*") for pattern in patterns),
            tuple(pattern[:-1] for pattern in patterns if pattern.endswith("/*")),
        )

    def match(self, path: str) -> bool:
        return path in self.exact or path.startswith(self.beginnings)


@lru_cache(maxsize=4096)
def _services(stored: str) -> dict[str, _Paths | None]:
    return {service: None if paths is None else _Paths.of(paths) for service, paths in _load(stored)}


@lru_cache(maxsize=1024)
def _reading_paths(stored: str) -> _Paths:
    return _Paths.of(json.loads(stored))


def _load(stored: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(item["service"], tuple(item["paths"]) if "paths" in item else None) for item in json.loads(stored)
    )


def _parse_entry(item: object) -> Entry:
    if not isinstance(item, dict) or not isinstance(service := item.get("service"), str):
        raise ValueError('Write each entry as {"service": "svc_…"}, with "paths" if it is not the whole service.')
    if unknown := sorted(str(name) for name in item if name not in ("service", "paths")):
        raise ValueError(f"An entry has a service and paths, and no {_quoted(unknown[0])}.")
    if service != API and not SERVICE.fullmatch(service):
        raise ValueError(f"{_quoted(service)} is not a service. Write its ID, such as svc_…, or api.")
    if "paths" not in item:
        return Entry(service)
    if service == API:
        raise ValueError("api takes no paths: leave them out.")
    try:
        paths = parse_patterns(item["paths"])
    except ValueError as error:
        raise ValueError(f"{service}: {error}") from None
    if not paths:
        raise ValueError(f"{service}: list a path, or leave paths out for the whole service.")
    return Entry(service, paths)


def _parse_pattern(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError("Write each path as text, such as /reports or /reports/*.")
    # Macs enter letters in decomposed form. A few letters get longer when they are composed.
    if len(text) > MAX_PATTERN_LENGTH or len(pattern := normalize("NFC", text)) > MAX_PATTERN_LENGTH:
        raise ValueError(f"A path can have at most {MAX_PATTERN_LENGTH} characters.")
    if not pattern.startswith("/"):
        raise ValueError(f"{_quoted(text)} is not a path. A path begins with a slash.")
    if "*" in pattern.removesuffix("/*"):
        raise ValueError(f"{_quoted(text)}: use * only at the end, after a slash, such as /reports/*.")
    if "%" in pattern:
        raise ValueError(f"{_quoted(text)}: write the path without percent-encoding.")
    if not _is_unambiguous(pattern):
        raise ValueError(f"{_quoted(text)} is ambiguous: leave out “.” and “..”, “//”, “;”, “?”, “#” and “\\”.")
    return pattern


def _quoted(text: str) -> str:
    """The text in quotes, for a sentence: shortened, without line breaks and unprintable characters."""
    return f"“{text[:100] if text.isprintable() else ascii(text[:100])[1:-1]}”"


def _covers_paths(wider: tuple[str, ...] | None, narrower: tuple[str, ...] | None) -> bool:
    if wider is None or narrower is None:
        return wider is None
    return covers_patterns(wider, narrower)


def _covers_pattern(wider: str, narrower: str) -> bool:
    if not wider.endswith("/*"):
        return wider == narrower
    beginning = wider[:-1]
    return narrower == beginning[:-1] or narrower.startswith(beginning)
