"""Comments that silence the type checker."""

import re

import pytest

from .servers import ROOT
from .test_imports import APPS


@pytest.mark.parametrize(("folders", "most"), [(APPS, 10), (("tests",), 1)], ids=["program", "tests"])
def test_few_lines_are_kept_from_the_type_checker_and_each_says_why(folders: tuple[str, ...], most: int) -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#\stype: ignore", line)
    ]
    assert len(lines) <= most, "\n".join(lines)
    assert [line for line in lines if not re.search(r"#\stype: ignore\[[a-z-]+\]  # \w", line)] == []
