"""The blocks of a guide: files to save, commands to paste, and what they print.

A block of `python`, `js` or `yaml` is a file, named by the comment in its first line. The blocks of `sh` are pasted
into one shell, one after the other. A block of `json` or `text` is the output of the last commands, where `…` stands
for any text, and a member `"…": "…"` of an object for any other members.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMANDS = {"sh"}
FILES = {"python", "js", "yaml"}
OUTPUTS = {"json", "text"}

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name in the first line, such as `# client.py` or `// client.mjs`."""
        named = re.match(r"(?:#|//) ([\w./-]+\.\w+)\n", self.text)
        return named[1] if named and self.language in FILES else None


def read(page: Path) -> list[Block]:
    """The blocks of a page, in order. Raises `ValueError` for a fence that only Markdown understands."""
    found: list[Block] = []
    language, begun = None, 0
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if fence[1] or fence[2] != "```":
            raise ValueError(f"{page.name}, line {number}: write a fence as three backticks at the line's beginning")
        if language is None:
            language, begun = fence[3], number
        else:
            found.append(Block(language, "\n".join([*lines[begun : number - 1], ""]), begun))
            language = None
    if language is not None:
        raise ValueError(f"{page.name}, line {begun}: the block has no end")
    return found


def is_printed(language: str, stated: str, output: str) -> bool:
    """Whether the output matches a block of that language."""
    if language == "text":
        return _matches(stated.strip(), output.strip())
    try:
        return _is_like(json.loads(stated), json.loads(output))
    except ValueError:
        return False


def _matches(expected: str, text: str) -> bool:
    return re.fullmatch(re.escape(expected).replace("…", ".*"), text, re.DOTALL) is not None


def _is_like(expected: Any, value: Any) -> bool:
    match expected:
        case str() if isinstance(value, str):
            return _matches(expected, value)
        case dict() if isinstance(value, dict):
            named = [name for name in value if name in expected or "…" not in expected]
            return named == [name for name in expected if name != "…"] and all(
                _is_like(expected[name], value[name]) for name in named
            )
        case list() if isinstance(value, list):
            return len(expected) == len(value) and all(map(_is_like, expected, value))
        case _:
            return bool(expected == value) and type(expected) is type(value)
