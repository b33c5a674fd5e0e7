"""Reduces Bootstrap to what the pages use. Run `python -m tests.stylesheet` after a template uses another class.

All of it is 23 KB compressed, a third of a first page's budget. The used part is a sixth of that.
"""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHOLE = ROOT / "tests/vendor/bootstrap@5.3.9/bootstrap.min.css"
TRIMMED = ROOT / "static/css/bootstrap.css"

#: Classes that `accounts.templatetags.ui` sets on controls.
_OF_CONTROLS = {"form-control", "form-select"}
#: In a template: an attribute, or an argument of a component that becomes one.
_ATTRIBUTE = re.compile(r"\b(?:class|style)=\"([^\"]*)\"")
_TAG = re.compile(r"\{%.*?%\}")
_CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
_NOT = re.compile(r":not\([^)]*\)")


def trimmed() -> str:
    css = re.sub(r"/\*# .*?\*/", "", WHOLE.read_text())
    used = _used_classes()
    kept = "".join(_kept(css, used))
    animated = set(re.findall(r"animation:[^;}]*?([\w-]+)(?=[;}])", kept))
    return re.sub(r"@keyframes ([\w-]+)\{(?:[^{}]*\{[^}]*\})*\}", lambda found: found[0] * (found[1] in animated), kept)


def _used_classes() -> set[str]:
    texts = [path.read_text() for path in sorted((ROOT / "templates").rglob("*.html"))]
    values = [_TAG.sub(" ", value) for text in texts for value in _ATTRIBUTE.findall(text)]
    return _OF_CONTROLS | {name for value in values for name in re.findall(r"[\w-]+", value)}


def _kept(css: str, used: set[str]) -> Iterator[str]:
    """The rules that apply to the pages, each without the selectors that don't."""
    position = 0
    while (start := css.find("{", position)) != -1:
        end = _end(css, start)
        head, body = css[position:start], css[start + 1 : end]
        *preamble, selectors = re.split(r"(?<=\*/)|(?<=;)", head)
        yield from preamble
        if selectors.startswith("@keyframes"):
            yield f"{selectors}{{{body}}}"
        elif selectors.startswith("@"):
            if inner := "".join(_kept(body, used)):
                yield f"{selectors}{{{inner}}}"
        elif left := [one for one in selectors.split(",") if set(_CLASS.findall(_NOT.sub("", one))) <= used]:
            yield f"{','.join(left)}{{{body}}}"
        position = end + 1


def _end(css: str, start: int) -> int:
    depth = 0
    for found in re.finditer(r"[{}]", css[start:]):
        depth += 1 if found[0] == "{" else -1
        if not depth:
            return start + found.start()
    raise ValueError("A brace is not closed.")


if __name__ == "__main__":
    TRIMMED.write_text(trimmed())
