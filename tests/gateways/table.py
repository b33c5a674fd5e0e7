"""The table of docs/gateways.md: what each gateway does, case by case. The tests write it."""

from collections.abc import Iterator

from ..servers import ROOT
from .cases import CASES, Case, Difference
from .paths import PATHS, Family
from .programs import PROGRAMS
from .trials import TRIALS, Trial

PAGE = ROOT / "docs" / "gateways.md"
BEGIN, END = "<!-- table: written by tests/gateways -->\n", "<!-- end of table -->\n"

#: The number of each note, by its reason and link.
Notes = dict[tuple[str, str], int]


def groups() -> dict[str, list[Case | Trial | Family]]:
    """All cases, in the order of the page."""
    names = [*CASES, *(name for name in TRIALS if name not in CASES)]
    return {name: [*CASES.get(name, ()), *TRIALS.get(name, ())] for name in names} | {"Paths": [*PATHS]}


def table() -> str:
    notes: Notes = {}
    return "\n".join([*_rows(notes), "", *_notes(notes), ""])


def _rows(notes: Notes) -> Iterator[str]:
    yield f"| | {' | '.join(program.title for program in PROGRAMS.values())} |"
    yield f"|---|{'---|' * len(PROGRAMS)}"
    for name, tried in groups().items():
        yield f"| **{name}** |{' |' * len(PROGRAMS)}"
        for case in tried:
            cells = []
            for program in PROGRAMS:
                difference = case.differences.get(program)
                cells.append("yes" if difference is None else f"[{_number(notes, difference)}]")
            yield f"| {case.title} | {' | '.join(cells)} |"


def _number(notes: Notes, difference: Difference) -> int:
    return notes.setdefault((difference.reason, difference.link), len(notes) + 1)


def _notes(notes: Notes) -> Iterator[str]:
    for (reason, link), number in notes.items():
        yield f"{number}. {reason}" + (f" ([source]({link}))" if link else "")


def renewed(text: str) -> str:
    """The page with an up-to-date table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after
