"""The guides for callers, `docs/api/*.md`, as pages of the reference."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings

FOLDER = settings.BASE_DIR / "docs" / "api"
#: The list of the guides. Its order is that of the navigation.
LIST = "README.md"
#: This server, as the guides and the OpenAPI description name it.
EXAMPLE_ORIGIN = "https://keys.example.com"


class Guide(NamedTuple):
    #: The name of its file without the suffix.
    name: str
    title: str
    summary: str
    #: Everything after the summary, as Markdown.
    text: str


@lru_cache(maxsize=1)
def all_guides() -> Sequence[Guide]:
    names = re.findall(r"\]\(([\w-]+)\.md\)", (FOLDER / LIST).read_text())
    return tuple(_read(name) for name in dict.fromkeys(names))


def _read(name: str) -> Guide:
    title, _, text = (FOLDER / f"{name}.md").read_text().partition("\n")
    summary, _, text = text.strip().partition("\n\n")
    return Guide(name, title.removeprefix("# "), " ".join(summary.split()), text)


def sections(text: str) -> list[tuple[str, str, str]]:
    """Anchor, title and text of each part of a guide. The first has no title."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    titles = ["", *parts[1::2]]
    return [(anchor(title), title, part) for title, part in zip(titles, parts[::2], strict=True)]


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub generates it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
