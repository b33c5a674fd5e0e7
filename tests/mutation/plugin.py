"""A plugin of pytest that makes the mistakes in functions of a module, each in a forked process.

Tests are collected and run once, which shows that they pass and which lines each of them runs. Then a process is forked
for each mutant. In it, a function gets the code of the mutant, and the tests that execute its lines run until one
fails: first those that killed a mutant of the same function, then the fastest.
"""

import functools
import gc
import os
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import pytest

from .forks import BROKEN, Forks
from .mutants import Module, Mutant

KILLED = 9


class Mutation:
    """`survivors` are the mutants that no test killed.

    `unmade` are mutants in code that runs while the module is imported, which this plugin doesn't make. `unrun` are
    mutants whose lines no test executes, except perhaps during import. `directory` gets a copy of the database for each
    process.
    """

    def __init__(self, module: Module, directory: Path) -> None:
        self.module = module
        self.survivors: list[str] = []
        self.unmade: list[str] = []
        self.unrun: list[str] = []
        #: The test that fails without any mistake, empty if all pass.
        self.failing = ""
        self._is_mutant = False
        self._kills: Counter[tuple[str, str]] = Counter()
        self._directory = directory

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            if self._is_mutant:
                self._own_file("killer").write_text(report.nodeid)
                os._exit(KILLED)
            self.failing = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        covering, seconds = self._run_unchanged(session)
        if self.failing:
            return True
        from pytest_django.plugin import blocking_manager_key  # pytest wants to import its plugins itself

        with session.config.stash[blocking_manager_key].unblock():
            from django.db import connections

            self._database = connections["default"].settings_dict
            connections.close_all()
        if Path(self._database["NAME"]).is_file():  # perhaps no test has requested a database
            shutil.copy(self._database["NAME"], self._directory / "migrated.sqlite3")
        self._remember_functions()
        forks = Forks(self._ended)
        for mutant in self.module.mutants:
            covered = {item for line in mutant.lines for item in covering[line]}
            items = sorted(covered, key=lambda item: (-self._kills[mutant.qualname, item.nodeid], seconds[item]))
            if not self._can_change(mutant):
                self.unmade.append(mutant.name)
            elif not items:
                self.unrun.append(mutant.name)
            else:
                patience = 10 + round(3 * sum(seconds[item] for item in items))
                forks.start(mutant, self._in_fork, session, mutant, items, patience)
        forks.wait()
        # A test that fails in a fork without any mistake would have killed every mutant.
        killers = {name for _, name in self._kills}
        if items := [each for each in session.items if each.nodeid in killers]:
            forks.start(None, self._in_fork, session, None, items, 600)
        forks.wait()
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

    def _ended(self, pid: int, mutant: Mutant | None, status: int) -> None:
        if mutant is None and status:
            self.failing = "a test in a forked process"
        elif mutant is not None and status == 0:
            self.survivors.append(mutant.name)
        elif mutant is not None and status == BROKEN << 8:
            self.failing = f"make mutate itself at {mutant.name}"
        for file in self._directory.glob(f"{pid}.*"):
            if file.suffix == ".killer" and mutant:
                self._kills[mutant.qualname, file.read_text()] += 1
            elif file.suffix == ".killer":
                self.failing = f"{file.read_text()} (in a forked process)"
            file.unlink()

    def _own_file(self, suffix: str) -> Path:
        """A file of this process, deleted when it has ended."""
        return self._directory / f"{os.getpid()}.{suffix}"

    def _in_fork(self, session: pytest.Session, mutant: Mutant | None, items: list[pytest.Item], patience: int) -> int:
        signal.alarm(patience)  # its default is the end of the process
        self._is_mutant = True
        session.config.pluginmanager.unregister(name="terminalreporter")
        if mutant is not None:
            self._change(mutant)
        migrated = self._directory / "migrated.sqlite3"
        if migrated.exists():
            self._database["NAME"] = str(shutil.copy(migrated, self._own_file("sqlite3")))
        session._setupstate.teardown_exact(items[0])
        for item, after in zip(items, [*items[1:], items[0]], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
        return 0

    def _remember_functions(self) -> None:
        """All functions of the module, by their code, and all caches. Searched only once, because it takes a while."""
        gc.unfreeze()  # what tests/environment.py froze, which gc.get_objects() leaves out
        gc.collect()
        self._functions: defaultdict[tuple[str, int], list[FunctionType]] = defaultdict(list)
        self._caches = []
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename == str(self.module.path):
                self._functions[each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
            elif isinstance(each, functools._lru_cache_wrapper):
                self._caches.append(each)
        gc.freeze()  # a collection in a fork would copy all memory

    def _can_change(self, mutant: Mutant) -> bool:
        """Not in code that runs while the module is imported, and not the removal of a function's only `super()`."""
        if mutant.function is None:
            return False
        new = _find(self.module.code(mutant), mutant.qualname)
        functions = self._functions[mutant.qualname, new.co_firstlineno]
        return all(each.__code__.co_freevars == new.co_freevars for each in functions)

    def _change(self, mutant: Mutant) -> None:
        """Give the function the mutant's code, whatever its decorators are and wherever else it was imported."""
        new = _find(self.module.code(mutant), mutant.qualname)
        functions = self._functions[mutant.qualname, new.co_firstlineno]
        assert functions, f"{mutant.qualname} is nowhere"
        for function in functions:
            function.__code__ = new
        for cache in self._caches:
            cache.cache_clear()


def _find(code: CodeType, qualname: str) -> CodeType:
    (found,) = (each for each in _nested(code) if each.co_qualname == qualname)
    return found


def _nested(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _nested(each)
