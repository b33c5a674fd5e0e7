"""What the type checker is told to overlook."""

import re

from .servers import ROOT
from .test_imports import APPS

MOST = 10


def test_few_lines_are_kept_from_the_type_checker_and_each_says_why() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for app in APPS
        for path in sorted((ROOT / app).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "type: ignore" in line
    ]
    assert len(lines) <= MOST, "\n".join(lines)
    assert [line for line in lines if not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)] == []
