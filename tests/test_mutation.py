"""The mutants of `make mutate`."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .mutation import at_import
from .mutation.mutants import Module
from .servers import ROOT

SOURCE = '''"""A docstring stays."""
LIMIT = 3
Item = TypeVar("Item", bound=Base)


@decorated
def count(items, *, most=LIMIT):
    """So does this."""
    assert items is not None
    if not items or len(items) > most:
        raise ValueError("too many", "most", f"{most}", f"{most} items")
    save(items, at=now)
    return [each + 1 for each in items if each]
'''

MUTANTS = [
    "module: 3 -> 4",
    "count: not items or len(items) > most -> not items and len(items) > most",
    "count: not items -> items",
    "count: len(items) > most -> len(items) >= most",
    "count: raise ValueError('too many', 'most', f'{most}', f'{most} items') -> pass",
    "count: 'most' -> 'most mutated'",
    "count: f'{most}' -> 'mutated'",
    "count: save(items, at=now) -> pass",
    "count: at=now -> nothing",
    "count: return [each + 1 for each in items if each] -> None",
    "count: each + 1 -> each - 1",
    "count: 1 -> 2",
    "count: each -> not each",
]


@pytest.fixture
def module(tmp_path: Path) -> Module:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    return Module(path)


def test_a_module_has_a_mutant_for_each_small_mistake(module: Module) -> None:
    assert sorted(mutant.name for mutant in module.mutants) == sorted(MUTANTS)


def test_only_code_that_runs_at_import_is_outside_a_function(module: Module) -> None:
    assert [mutant.name for mutant in module.mutants if mutant.function is None] == ["module: 3 -> 4"]


def test_a_mutant_is_in_the_tree_only_while_it_is_tested(module: Module) -> None:
    before = ast.unparse(module.tree)
    made = set()
    for mutant in module.mutants:
        with mutant.made():
            made.add(ast.unparse(module.tree))
        assert ast.unparse(module.tree) == before
    assert len(made - {before}) == len(MUTANTS)


def test_every_module_and_test_that_is_named_exists() -> None:
    named = tomllib.loads((ROOT / "tests/mutation/modules.toml").read_text())
    paths = {*named, *(path for each in named.values() for path in each["tests"])}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


# A run of them -----------------------------------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
from tests.mutation.__main__ import Module, _survivors
directory = Path(sys.argv[1])
(directory / "work").mkdir()
print(json.dumps(_survivors(Module(directory / "doubling.py"), [str(directory)], directory / "work")))
"""


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A module, with a test that lets one of its three mutants live."""
    (tmp_path / "doubling.py").write_text("def double(number):\n    return number * 2\n")
    (tmp_path / "test_doubling.py").write_text(
        "from doubling import double\n\ndef test_double():\n    assert double(2) in (4, 6)\n"
    )
    return tmp_path


def survivors_of(directory: Path) -> object:
    command = [sys.executable, "-c", RUN, str(directory)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_mistakes_are_made_in_functions_that_the_garbage_collector_no_longer_sees(doubling: Path) -> None:
    """As `conftest.py` makes it do for all that is imported."""
    (doubling / "conftest.py").write_text("import gc\n\ndef pytest_collection_finish():\n    gc.freeze()\n")
    assert survivors_of(doubling) == ["double: 2 -> 3"]


def test_a_mistake_that_was_not_made_does_not_count_as_noticed(doubling: Path) -> None:
    (doubling / "conftest.py").write_text(
        "from tests.mutation.plugin import Mutation\n\nMutation._remember_functions = lambda self: "
        "self.__dict__.update(_functions={('double', 1): []}, _caches=[])\n"
    )
    assert "make mutate itself" in str(survivors_of(doubling))


def test_a_mistake_may_change_the_parameters_of_the_test_that_notices_it(tmp_path: Path) -> None:
    plugin = at_import._Plugin(tmp_path / "migrated.sqlite3", tmp_path / "killers")
    name = "tests/test_doubling.py::test_double"
    plugin.pytest_runtest_logreport(
        pytest.TestReport(f"{name}[1 mutated]", (name, 1, name), {}, "failed", None, "call")
    )
    assert (tmp_path / "killers").read_text() == f"{name}\n"
