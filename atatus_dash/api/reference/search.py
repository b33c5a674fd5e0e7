"""Finds operations, fields, errors and guides by words."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..problems import CATALOGUE
from . import guides
from .operations import Field, Operation, Reference

#: Results, and characters of the search text.
MAX_RESULTS, MAX_LENGTH = 30, 100

#: A pasted error message ends with it.
PUNCTUATION = "!?.,:;…"

OPERATION = "Operation"


class Entry(NamedTuple):
    kind: str
    title: str
    detail: str
    #: The path of its page below the start page, with an anchor.
    path: str
    #: Further words that find it.
    text: str = ""

    def rank(self, words: Sequence[str]) -> int | None:
        """Smaller is better. None if a word isn't found."""
        if self.title.lower() == " ".join(words):
            return 0
        texts = (self.title, self.detail, f"{self.title} {self.detail} {self.text}")
        ranks = enumerate((text.lower() for text in texts), start=1)
        return next((rank for rank, text in ranks if all(word in text for word in words)), None)


def find(reference: Reference, typed: str) -> list[Entry]:
    """What matches all words, best first: by the whole title, by its words, by the path or place, by the text."""
    return _ranked(_index(reference), typed)[:MAX_RESULTS]


def find_operations(reference: Reference, typed: str) -> list[Entry]:
    """The operations whose title, method and path match all words, best first."""
    return _ranked([entry._replace(text="") for entry in _operations(reference)], typed)


def _ranked(entries: Sequence[Entry], typed: str) -> list[Entry]:
    words = [word for one in typed[:MAX_LENGTH].lower().split() if (word := one.rstrip(PUNCTUATION))]
    ranked = [(rank, entry) for entry in entries if words and (rank := entry.rank(words)) is not None]
    return [entry for _, entry in sorted(ranked, key=lambda one: one[0])]


@lru_cache(maxsize=1)
def _index(reference: Reference) -> Sequence[Entry]:
    return (*_operations(reference), *_problems(), *_guides(), *_fields(reference))


def _operations(reference: Reference) -> Iterator[Entry]:
    for resource in reference.resources:
        for one in resource.operations:
            path = f"{resource.slug}#{one.slug}"
            yield Entry(OPERATION, one.title, f"{one.method} {one.path}", path, one.description)


def _fields(reference: Reference) -> Iterator[Entry]:
    """Every field of a resource once: in a request that has it, or else in the first response that has it."""
    for resource in reference.resources:
        found: dict[str, tuple[Operation, Field]] = {}
        for one in resource.operations:
            for field in (*one.in_path, *one.in_query, *one.in_headers, *one.body):
                found.setdefault(field.name, (one, field))
        for one in resource.operations:
            for field in (field for answer in one.answers for field in (*answer.headers, *_all(answer.fields))):
                found.setdefault(field.name, (one, field))
        for name, (one, field) in found.items():
            words = " ".join((field.description, *field.values))
            yield Entry("Field", name, f"{one.method} {one.path}", f"{resource.slug}#{one.slug}", words)


def _all(fields: Sequence[Field]) -> Iterator[Field]:
    """The fields and those in them."""
    for field in fields:
        yield field
        yield from _all(field.fields)


def _problems() -> Iterator[Entry]:
    for one in CATALOGUE:
        codes = ", ".join(map(str, one.statuses))
        yield Entry("Error", one.title, f"{codes} {one.name}", f"errors#{one.name}", f"{one.meaning} {one.remedy}")


def _guides() -> Iterator[Entry]:
    for guide in guides.all_guides():
        for anchor, title, text in guides.sections(guide.text):
            if anchor:
                yield Entry("Guide", title, guide.title, f"guides/{guide.name}#{anchor}", text)
            else:
                # Its name is as in the field, such as `pagination`.
                yield Entry("Guide", guide.title, guide.summary, f"guides/{guide.name}", f"{guide.name} {text}")
