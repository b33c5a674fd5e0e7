"""The mutants of `make mutate`."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

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

#: The module and its tests are not libraries, although they are outside the repository.
RUN = """
import json
from pathlib import Path
from tests.mutation import at_import
from tests.mutation.__main__ import Module, _survivors
libraries = at_import.libraries
at_import.libraries = lambda: [name for name in libraries() if name not in ("example", "test_example", "conftest")]
Path("work").mkdir()
print(json.dumps(_survivors(Module(Path("example.py").absolute()), ["test_example.py"], Path("work").absolute())))
"""

Survivors = Callable[[dict[str, str]], object]

DOUBLE = {
    "example.py": "def double(number):\n    return number * 2\n",
    "test_example.py": "from example import double\n\ndef test_double():\n    assert double(2) in (4, 6)\n",
}


@pytest.fixture
def survivors_of(tmp_path: Path) -> Survivors:
    def run(files: dict[str, str]) -> object:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        # Without the plugins that it doesn't use: importing schemathesis takes a second.
        plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_django.plugin"}
        environ = os.environ | {"PYTHONPATH": str(ROOT)} | plugins
        done = subprocess.run(
            [sys.executable, "-c", RUN], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.long
def test_mistakes_are_made_in_functions_that_the_garbage_collector_no_longer_sees(survivors_of: Survivors) -> None:
    """As `tests/environment.py` does for everything that is imported."""
    conftest = "import gc\n\ndef pytest_collection_finish():\n    gc.freeze()\n"
    assert survivors_of({**DOUBLE, "conftest.py": conftest}) == ["double: 2 -> 3"]


@pytest.mark.long
def test_a_mistake_that_can_not_be_made_does_not_count_as_noticed(survivors_of: Survivors) -> None:
    conftest = """
from tests.mutation.plugin import Mutation

Mutation._remember_functions = lambda self: self.__dict__.update(_functions={("double", 1): []}, _caches=[])
"""
    assert "make mutate itself" in str(survivors_of({**DOUBLE, "conftest.py": conftest}))


@pytest.mark.long
def test_a_super_class_that_is_no_longer_called_is_noticed(survivors_of: Survivors) -> None:
    example = """
class Parent:
    def __init__(self):
        self.is_ready = True

class Child(Parent):
    def __init__(self):
        super().__init__()
"""
    test = "from example import Child\n\ndef test_child():\n    assert Child().is_ready\n"
    assert survivors_of({"example.py": example, "test_example.py": test}) == []


@pytest.mark.long
def test_a_mistake_may_change_the_parameters_of_the_test_that_notices_it(survivors_of: Survivors) -> None:
    test = """
import example, pytest

@pytest.mark.parametrize("name", example.NAMES)
def test_name(name):
    assert name == "one"
"""
    assert survivors_of({"example.py": 'NAMES = ["one"]\n', "test_example.py": test}) == []
