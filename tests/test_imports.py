"""Import cycles between a package and its own modules, which import-linter's `acyclic_siblings` doesn't find."""

from pathlib import Path

import grimp
import pytest

from .servers import ROOT

APPS = ("atatus_dash", "apikeys", "accounts")


def _circles(*packages: str) -> list[str]:
    """The imports that are part of a cycle, including those in functions and under `TYPE_CHECKING`."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    return [
        f"{importer} -> {imported}"
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
        if graph.chain_exists(importer=imported, imported=importer)
    ]


def test_no_two_files_and_no_more_import_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    assert _circles(*APPS) == []


def test_a_circle_is_seen_in_a_function_for_types_and_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "in_circles"
    package.mkdir()
    (package / "__init__.py").write_text("from .first import answer")
    (package / "first.py").write_text("def answer():\n    from .second import question")
    (package / "second.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import answer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert _circles("in_circles") == [
        "in_circles -> in_circles.first",
        "in_circles.first -> in_circles.second",
        "in_circles.second -> in_circles",
    ]
