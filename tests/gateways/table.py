"""The table of docs/gateways.md: what each gateway does, case by case. Written by the test run."""

from collections.abc import Iterator

from ..servers import ROOT
from .cases import CASES, But, Case
from .programs import PROGRAMS
from .trials import TRIALS, Trial

PAGE = ROOT / "docs" / "gateways.md"
BEGIN, END = "<!-- table: written by tests/gateways -->\n", "<!-- end of table -->\n"


def groups() -> dict[str, list[Case | Trial]]:
    """Everything that is tried, in the order of the page."""
    names = [*CASES, *(name for name in TRIALS if name not in CASES)]
    return {name: [*CASES.get(name, ()), *TRIALS.get(name, ())] for name in names}


def table() -> str:
    notes: dict[But, int] = {}
    return "\n".join([*_rows(notes), "", *_notes(notes), ""])


def _rows(notes: dict[But, int]) -> Iterator[str]:
    yield f"| | {' | '.join(program.title for program in PROGRAMS.values())} |"
    yield f"|---|{'---|' * len(PROGRAMS)}"
    for name, tried in groups().items():
        yield f"| **{name}** |{' |' * len(PROGRAMS)}"
        for case in tried:
            cells = []
            for program in PROGRAMS:
                but = case.but.get(program)
                cells.append("yes" if but is None else f"[{notes.setdefault(but, len(notes) + 1)}]")
            yield f"| {case.title} | {' | '.join(cells)} |"


def _notes(notes: dict[But, int]) -> Iterator[str]:
    for but, number in notes.items():
        link = f" ([source]({but.link}))" if but.link else ""
        yield f"{number}. {but.reason}{link}"


def renewed(text: str) -> str:
    """The page with its table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after
