"""Import cycles between a package and its own modules, which import-linter's `acyclic_siblings` doesn't find."""

from pathlib import Path

import grimp
import pytest

from .servers import ROOT

APPS = ("atatus_dash", "apikeys", "accounts")


def _cycles(*packages: str) -> list[str]:
    """The imports that are part of a cycle, including those in functions and under `TYPE_CHECKING`."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    return [
        f"{importer} -> {imported}"
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
        if graph.chain_exists(importer=imported, imported=importer)
    ]


def test_our_apps_have_no_import_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    assert _cycles(*APPS) == []


def test_an_import_cycle_is_found_in_a_function_for_types_and_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "in_a_cycle"
    package.mkdir()
    (package / "__init__.py").write_text("from .first import answer")
    (package / "first.py").write_text("def answer():\n    from .second import question")
    (package / "second.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import answer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert _cycles("in_a_cycle") == [
        "in_a_cycle -> in_a_cycle.first",
        "in_a_cycle.first -> in_a_cycle.second",
        "in_a_cycle.second -> in_a_cycle",
    ]
