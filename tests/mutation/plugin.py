"""Runs the near tests of a module once for each of its mutants: a plugin of pytest.

Tests are collected and run once, which shows that they pass and which lines each of them runs. Then a process is forked
for each mutant, in which a function gets the code of the mutant, and the tests that run its lines are run until one
fails. A mistake that is made while the module is imported needs a pytest of its own, which is told of it by MUTANT.
"""

import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import pytest
from django.db import connections

from .mutants import Module, Mutant

KILLED = 9


class Mutation:
    """The mutants of one module, and their results."""

    def __init__(self, path: Path, tests: list[str]) -> None:
        self.module = Module(path)
        self.tests = tests
        self.survivors: list[str] = []
        self.has_passed = False
        self._has_failed = False
        self._is_mutant = False
        self._copies = Path(tempfile.mkdtemp())

    def pytest_collection_finish(self) -> None:
        """What made a mutant fail is not kept for other runs."""
        from hypothesis.configuration import set_hypothesis_home_dir

        set_hypothesis_home_dir(self._copies)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            if self._is_mutant:
                os._exit(KILLED)
            self._has_failed = True

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        covering, seconds = self._run_unchanged(session)
        self.has_passed = bool(session.items) and not self._has_failed
        if not self.has_passed:
            return True
        from pytest_django.plugin import blocking_manager_key  # pytest wants to import its plugins itself

        with session.config.stash[blocking_manager_key].unblock():
            self._database = connections["default"].settings_dict
            connections.close_all()
        _, status = os.waitpid(self._fork(self._in_fork, session, None, session.items, 600), 0)
        self.has_passed = status == 0  # what fails in a fork by itself would kill every mutant
        if not self.has_passed:
            return True
        running: dict[int, Mutant] = {}
        for number, mutant in enumerate(self.module.mutants):
            while len(running) >= (os.cpu_count() or 1):
                self._wait(running)
            items = sorted({item for line in mutant.lines for item in covering[line]}, key=lambda item: seconds[item])
            if mutant.function is None:
                running[self._fork(self._in_pytest, number)] = mutant
            elif items:
                patience = 10 + round(3 * sum(seconds[item] for item in items))
                running[self._fork(self._in_fork, session, mutant, items, patience)] = mutant
            else:
                self.survivors.append(f"{mutant.name}  (no test runs it)")
        while running:
            self._wait(running)
        shutil.rmtree(self._copies)
        return True

    def _run_unchanged(self, session: pytest.Session) -> tuple[Any, Any]:
        """The tests that run each line, and how long each test takes."""
        covering: defaultdict[int, list[pytest.Item]] = defaultdict(list)
        seconds: dict[pytest.Item, float] = {}
        by_name = {item.nodeid: item for item in session.items}
        watch = coverage.Coverage(data_file=None, include=[str(self.module.path)], config_file=False)
        watch.start()
        for item, after in zip(session.items, [*session.items[1:], session.items[0]], strict=True):
            watch.switch_context(item.nodeid)
            started = time.monotonic()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            seconds[item] = time.monotonic() - started
        watch.stop()
        for line, names in watch.get_data().contexts_by_lineno(str(self.module.path)).items():
            covering[line] = [by_name[name] for name in names if name]
        return covering, seconds

    def _fork(self, run: Any, *arguments: Any) -> int:
        if (pid := os.fork()) == 0:
            try:
                os._exit(run(*arguments))
            finally:
                os._exit(KILLED)  # what broke out of pytest
        return pid

    def _wait(self, running: dict[int, Mutant]) -> None:
        pid, status = os.wait()
        mutant = running.pop(pid)
        for copy in self._copies.glob(f"{pid}.*"):
            copy.unlink()
        if status == 0:
            self.survivors.append(mutant.name)

    def _in_pytest(self, number: int) -> int:
        """The number of the mutant is that of its place in `mutants`."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.mutation.at_import", "-p", "no:randomly"]
        environ = {**os.environ, "MUTANT": f"{self.module.path}:{number}"}
        return subprocess.run([*command, *self.tests], env=environ, capture_output=True, timeout=300).returncode

    def _in_fork(self, session: pytest.Session, mutant: Mutant | None, items: list[pytest.Item], patience: int) -> int:
        signal.alarm(patience)  # its default is the end of the process
        self._is_mutant = True
        session.config.pluginmanager.unregister(name="terminalreporter")
        if mutant is not None:
            self._change(mutant)
        if Path(self._database["NAME"]).is_file():  # no test may have asked for a database
            copy = self._copies / f"{os.getpid()}.sqlite3"
            shutil.copy(self._database["NAME"], copy)
            self._database["NAME"] = str(copy)
        session._setupstate.teardown_exact(items[0])
        for item, after in zip(items, [*items[1:], items[0]], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
        return 0

    def _change(self, mutant: Mutant) -> None:
        """Give the function the mutant's code, however it is decorated and by whatever name others know it."""
        old = _find(compile(self.module.tree, str(self.module.path), "exec"), mutant.qualname)
        new = _find(self.module.code(mutant), mutant.qualname)
        functions = [
            each for each in gc.get_objects() if isinstance(each, FunctionType) and _is_same(each.__code__, old)
        ]
        assert functions, f"{mutant.qualname} is nowhere"
        for function in functions:
            function.__code__ = new
        for each in gc.get_objects():
            if isinstance(each, functools._lru_cache_wrapper):
                each.cache_clear()


def _find(code: CodeType, qualname: str) -> CodeType:
    (found,) = (each for each in _nested(code) if each.co_qualname == qualname)
    return found


def _nested(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _nested(each)


def _is_same(one: CodeType, other: CodeType) -> bool:
    return (one.co_filename, one.co_qualname, one.co_firstlineno) == (
        other.co_filename,
        other.co_qualname,
        other.co_firstlineno,
    )
