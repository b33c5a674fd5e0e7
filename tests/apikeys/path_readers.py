"""Readers of paths, one for each way in which web servers, frameworks and file systems read them.

They are independent of `apikeys.scopes`, whose tests compare it with them. Each step is an operation that such a
program may apply to a path, in any order and any number of times.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

Step = Callable[[str], str]

#: One character of valid UTF-8. Other bytes are decoded leniently, as old decoders do.
OVERLONG = re.compile(rb"[\xc0\xc1]([\x80-\xbf])|\xe0\x80([\x80-\xbf])|\xf0\x80\x80([\x80-\xbf])")


def decoded(path: str) -> str:
    """Percent-decoded once. Malformed escapes stay, and overlong forms become the character that they encode."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), path.encode(errors="surrogatepass"))
    short = OVERLONG.sub(
        lambda found: bytes([(found[0][-2] & 3) << 6 | found[0][-1] & 63]), raw
    )  # %c0%af is a slash to them
    return short.decode(errors="replace")


def decoded_by_segment(path: str) -> str:
    """For programs that first split the path: an encoded slash is then an ordinary character of its segment."""
    return each_segment(lambda segment: decoded(segment).replace("/", "<slash>"))(path)


def each_segment(change: Step) -> Step:
    return lambda path: "/".join(change(segment) for segment in path.split("/"))


def decoded_as_iis(path: str) -> str:
    return re.sub("%u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), path)


def with_dots_resolved(path: str) -> str:
    """RFC 3986, 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")
    for number, segment in enumerate(segments):
        is_last = number == len(segments) - 1
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
            if is_last:
                kept.append("")
        elif segment == ".":
            if is_last:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept)


#: Steps that change no pattern, because patterns contain nothing that they would change.
STRUCTURAL: dict[str, Step] = {
    "decoded": decoded,
    "%u decoded": decoded_as_iis,
    "dots resolved": with_dots_resolved,
    "dots resolved, or not at all above the root": lambda path: re.sub(r"/[^/]+/\.\.(?=/|$)", "", path) or "/",
    "slashes merged": lambda path: re.sub("/+", "/", path),
    "backslashes as slashes": lambda path: path.replace("\\", "/"),
    "parameters dropped": each_segment(lambda segment: segment.partition(";")[0]),
    "all from the first ; dropped": lambda path: path.partition(";")[0],
    "cut at a NUL": lambda path: path.partition("\0")[0],
    "cut at a ?": lambda path: path.partition("?")[0],
    "cut at a #": lambda path: path.partition("#")[0],
    "without control characters": lambda path: re.sub(r"[\x00-\x1f\x7f-\x9f]", "", path),
    "without scheme and host": lambda path: re.sub(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*", "", path),
}

#: Steps that change letters of patterns and paths in the same way, so that both still mean the same path.
FOLDING: dict[str, Step] = {
    "NFC": lambda path: unicodedata.normalize("NFC", path),
    "NFD": lambda path: unicodedata.normalize("NFD", path),
    "NFKC": lambda path: unicodedata.normalize("NFKC", path),
    "NFKD": lambda path: unicodedata.normalize("NFKD", path),
    "by the best fit of a Windows code page": lambda path: path.translate(str.maketrans("⁄∕／∖＼¥₩．％", r"///\\\\.%")),
    "a + as a space": lambda path: path.replace("+", " "),
    "segments stripped": each_segment(str.strip),
    "segments without dots and spaces at their end": each_segment(lambda segment: segment.rstrip(" .")),
    "without a slash at the end": lambda path: path.rstrip("/") or "/",
}
STEPS = {**STRUCTURAL, **FOLDING}

#: Steps that change only a raw target, before it is decoded.
BEFORE: dict[str, Step] = {**STRUCTURAL, "as Latin-1": lambda path: path.encode(errors="replace").decode("latin-1")}
DECODING = {"once": decoded, "by segment": decoded_by_segment}


def read(path: str, steps: Iterable[str]) -> str:
    return reduce(lambda text, step: STEPS[step](text), steps, path)


class Service(NamedTuple):
    """How one service reads a path. It decodes at some point: without that, a path with a % has no meaning."""

    before: list[str]
    decoding: str
    after: list[str]

    def read(self, target: str) -> str:
        steps = sorted(self.before, key=lambda step: step in STRUCTURAL)  # bytes become text before anything else
        path = reduce(lambda text, step: BEFORE[step](text), steps, target.split("?")[0])
        return read(DECODING[self.decoding](path), self.after)

    def read_pattern(self, pattern: str) -> str:
        if pattern.endswith("/*"):
            return read(pattern[:-2], self.after).rstrip("/") + "/*"
        return read(pattern, self.after)

    def is_within(self, target: str, patterns: Iterable[str]) -> bool:
        known = [unicodedata.normalize("NFC", pattern) for pattern in patterns]
        return is_in(self.read(target), [self.read_pattern(pattern) for pattern in known])


def is_in(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path matches one of the patterns, segment by segment."""
    segments = path.split("/")
    for pattern in patterns:
        *parents, last = pattern.split("/")
        if segments == [*parents, last] or (last == "*" and segments[: len(parents)] == parents):
            return True
    return False
