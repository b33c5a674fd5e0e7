"""Makes the mistakes in code that runs while a module is imported, each in a process that imports the module anew.

The process is forked from one that has imported the libraries but nothing of ours, and starts with a copy of a
migrated database.
"""

import importlib
import json
import os
import shutil
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import coverage
import pytest

from .mutants import Module, Mutant


def libraries() -> list[str]:
    """The imported modules of libraries."""
    ours = str(Path(__file__).parent.parent.parent)
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    return [name for name, file in files.items() if not file.startswith(ours) or "site-packages" in file]


def load(names: Iterable[str]) -> None:
    """Import libraries. Modules that need settings or installed apps are imported by each process itself."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def find_lines(module: Module, tests: list[str], directory: Path) -> int:
    """Write to `lines.json` which lines of the module run while it is imported."""
    watch = coverage.Coverage(data_file=None, include=[str(module.path)], config_file=False)
    watch.start()
    status = _pytest(directory, "--collect-only", *tests)
    watch.stop()
    (directory / "lines.json").write_text(json.dumps(watch.get_data().lines(str(module.path))))
    return status


def run(module: Module, mutant: Mutant | None, tests: list[str], directory: Path) -> int:
    """The exit status of pytest. Without a mutant, only the tests that killed one are run, and must pass."""
    killers = directory / "killers"
    if mutant is not None:
        _mutate(module, mutant)
    else:
        tests = sorted(set(killers.read_text().splitlines())) if killers.exists() else ["--collect-only", *tests]
    migrated = directory / "migrated.sqlite3"
    if migrated.exists():
        tests = ["--reuse-db", "--no-migrations", *tests]
    return _pytest(directory, "-x", *tests, plugins=[_Plugin(migrated, killers)])


def _pytest(directory: Path, *arguments: str, plugins: Sequence[object] = ()) -> int:
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    options = ["-q", "--assert=plain", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "tests.mutation.examples"]
    return int(pytest.main([*options, f"--basetemp={directory / str(os.getpid())}", *arguments], plugins=plugins))


def _mutate(module: Module, mutant: Mutant) -> None:
    code = module.code(mutant)
    get_code = SourceFileLoader.get_code

    def mutated(self: SourceFileLoader, name: str) -> CodeType | None:
        return code if self.path == str(module.path) else get_code(self, name)

    setattr(SourceFileLoader, get_code.__name__, mutated)


def _uses_database(item: Any) -> bool:
    return "db" in item.fixturenames or item.get_closest_marker("django_db") is not None


class _Plugin:
    """Starts the tests with a copy of the migrated database, and notes the test that fails."""

    def __init__(self, migrated: Path, killers: Path) -> None:
        self._migrated = migrated
        self._killers = killers

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Tests without a database first, because they are fast."""
        items.sort(key=_uses_database)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            name, _, _ = report.nodeid.partition("[")  # a parametrized test may exist only with the mistake
            with self._killers.open("a") as killers:
                killers.write(f"{name}\n")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        result = yield
        if fixturedef.argname == "django_db_modify_db_settings" and self._migrated.exists():
            from django.conf import settings

            shutil.copy(self._migrated, settings.DATABASES["default"]["TEST"]["NAME"])
        return result
