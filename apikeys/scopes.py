"""What a key opens: everything, or chosen services, each whole or by path. Pure.

A path is judged by its decoded text, so a request target has to read the same whatever the service does with it:
decode it once or twice, resolve dot segments, merge slashes, drop `;parameters`, take a backslash for a slash or
normalize its letters. Any other target is ambiguous, and is refused wherever a path decides (`read_path`). Case is
left alone: paths that differ in it are two paths.
"""

import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from unicodedata import is_normalized, normalize
from urllib.parse import unquote_to_bytes

#: The service that is `/v2` itself.
API = "api"

#: How much an access may hold. It is read with its key on every request.
MAX_SERVICES = 50
MAX_PATHS = 50  # of one service
MAX_PATTERN_LENGTH = 200  # characters
MAX_LENGTH = 10_000  # characters, as it is stored

_SERVICE = re.compile(r"svc_[0-9A-Za-z]{1,36}", re.ASCII)

# What may be read at all: visible ASCII, each % before two hexadecimal digits, no encoded slash.
_TARGET = re.compile(r"/[!-$&-~]*(?:%(?!2[Ff])[0-9A-Fa-f]{2}[!-$&-~]*)*", re.ASCII)

# What makes a decoded path ambiguous. U+2044, U+2215 and U+2216 become slashes in Windows' code pages, the signs of
# yen and won a backslash in the Japanese and the Korean one. A segment of dots and spaces is one of dots on Windows,
# and for whoever strips its spaces.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f-\x9f\xa5%\\;?#\u2044\u20a9\u2215\u2216\ud800-\udfff]|//|/[\s.]+(?:/|\Z)")


class Entry(NamedTuple):
    """One service (`svc_…` or `api`), whole where `paths` is None."""

    service: str
    paths: tuple[str, ...] | None = None


#: None is everything, and services that are created later. An empty tuple is nothing.
Access = tuple[Entry, ...] | None


class Refusal(StrEnum):
    """Why a key may not do what was asked, as the client is told."""

    API = "This API key has no access to this API."
    SERVICE = "This API key has no access to this service."
    PATH = "This API key has no access to this path."
    AMBIGUOUS = "This path is ambiguous."


def refusal(access: str | None, service: str, target: str = "", *, reading_paths: str = "[]") -> Refusal | None:
    """Why a key with this access may not ask this of a service; None if it may.

    `access` and `reading_paths` are as they are stored, `target` is the raw target of the request. It is read only
    if the key has paths there, or the service has reading paths: then an ambiguous one is refused to every key.
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
    """Whether every method counts as reading there. An ambiguous target is in no reading path."""
    if reading_paths == "[]":
        return False
    path = read_path(target)
    return path is not None and _reading_paths(reading_paths).match(path)


def read_path(target: str) -> str | None:
    """The decoded path of a raw request target; None for one that is ambiguous, or no path at all.

    Ambiguous are: dot segments, `//`, `;`, backslashes, raw `#`, control characters, spaces and letters beyond ASCII
    that stand there raw, a `%` without two hexadecimal digits, an encoded slash, question mark, number sign or percent
    sign (the path would be encoded twice), bytes that are no UTF-8, and text that isn't in Unicode's form C or whose
    form KC would be ambiguous. A target in absolute form is no path.
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
    if not is_normalized("NFC", path):  # asked first: marks in disorder would take long to sort
        return False
    compatible = normalize("NFKC", path)
    return compatible.count("/") == path.count("/") and not _AMBIGUOUS.search(compatible)


def parse(value: object) -> Access:
    """Read the form of the API: null, or a list such as `[{"service": "svc_…", "paths": ["/a/*"]}]`.

    Keeps the order, and each path once. Raises `ValueError` with a sentence for people.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(
            'Write a list such as [{"service": "svc_…", "paths": ["/reports/*"]}], or null for everything.'
        )
    if len(value) > MAX_SERVICES:
        raise ValueError(f"A key may list {MAX_SERVICES} services at most.")
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
    """Read the form of the commands: `api`, `none` or `svc_…[:/path,…]`, one a text. Without any it is everything.

    A path with a comma in it can't be written this way. Raises `ValueError` with a sentence for people.
    """
    if not texts:
        return None
    if "none" in texts:
        if len(texts) > 1:
            raise ValueError("“none” stands alone.")
        return ()
    items: list[object] = []
    for text in texts:
        service, has_paths, paths = text.partition(":")
        items.append({"service": service, "paths": paths.split(",")} if has_paths else {"service": service})
    return parse(items)


def parse_patterns(value: object) -> tuple[str, ...]:
    """Read a list of patterns, each `/path` or `/path/*`; keeps each once, in order.

    Raises `ValueError` with a sentence for people.
    """
    if not isinstance(value, list):
        raise ValueError("Write a list of paths, such as /reports or /reports/*.")
    if len(value) > MAX_PATHS:
        raise ValueError(f"A service may have {MAX_PATHS} paths at most.")
    return tuple(dict.fromkeys(_parse_pattern(text) for text in value))


def store(access: Access) -> str | None:
    """The JSON text of an access, as it is kept: equal for equal ones."""
    return None if access is None else json.dumps(as_json(access), separators=(",", ":"))


def load(stored: str | None) -> Access:
    """The access of a stored text, which is trusted to have been parsed once."""
    return None if stored is None else _load(stored)


def entry_of(stored: str | None, service: str) -> Entry | None:
    """What a stored access lists of a service; None for everything, and for nothing of it."""
    return next((entry for entry in load(stored) or () if entry.service == service), None)


def as_json(access: Access) -> list[dict[str, object]] | None:
    """The form of the API."""
    if access is None:
        return None
    return [
        {"service": service} if paths is None else {"service": service, "paths": list(paths)}
        for service, paths in access
    ]


def as_options(access: Access) -> list[str]:
    """The form of the commands."""
    if access is None:
        return []
    return [service if paths is None else f"{service}:{','.join(paths)}" for service, paths in access] or ["none"]


def in_short(stored: str | None) -> list[str]:
    """A stored text for people and audit events: the form of the commands, or `everything`."""
    return as_options(load(stored)) or ["everything"]


def covers(wider: Access, narrower: Access) -> bool:
    """Whether whatever `narrower` opens, `wider` opens too."""
    if wider is None or narrower is None:
        return wider is None
    opened = dict(wider)
    return all(service in opened and _covers_paths(opened[service], paths) for service, paths in narrower)


def covers_patterns(wider: Iterable[str], narrower: Iterable[str]) -> bool:
    """Whether whatever path `narrower` matches, `wider` matches too."""
    # Infinitely many paths match /a/*, and no number of patterns below it matches all of them. So it takes one.
    wide = tuple(wider)
    return all(any(_covers_pattern(outer, inner) for outer in wide) for inner in narrower)


class _Paths(NamedTuple):
    """Patterns, made ready to be compared with a path."""

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
    if service != API and not _SERVICE.fullmatch(service):
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
    # Macs type letters in their decomposed form. A few letters grow when they are composed.
    if len(text) > MAX_PATTERN_LENGTH or len(pattern := normalize("NFC", text)) > MAX_PATTERN_LENGTH:
        raise ValueError(f"A path may have {MAX_PATTERN_LENGTH} characters at most.")
    if not pattern.startswith("/"):
        raise ValueError(f"{_quoted(text)} is not a path: it has to begin with a slash.")
    if "*" in pattern.removesuffix("/*"):
        raise ValueError(f"{_quoted(text)}: a * may stand only at the end, after a slash, such as /reports/*.")
    if "%" in pattern:
        raise ValueError(f"{_quoted(text)}: write the path without percent-encoding.")
    if not _is_unambiguous(pattern):
        raise ValueError(f"{_quoted(text)} is ambiguous: leave out “.” and “..”, “//”, “;”, “?”, “#” and “\\”.")
    return pattern


def _quoted(text: str) -> str:
    """The text in a sentence, without line breaks and other things that no sentence may hold."""
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
