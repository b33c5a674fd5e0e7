"""`make mutate`: checks whether the tests near a module fail for each small mistake in it.

It lists the mistakes that no test notices. No library does it here: mutmut 3.8 leaves out every decorated function,
and so each service under `@transaction.atomic`. It also leaves out code that runs while a module is imported, such as
the tables of the policy.
Cosmic Ray 8.7 starts Python for each mutant and writes it into the source file. mutatest has had no release since 2022.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import pytest

from . import at_import
from .forks import Forks
from .mutants import Module, Mutant
from .plugin import Mutation

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def main(wanted: list[str]) -> int:
    modules = tomllib.loads((HERE / "modules.toml").read_text())
    if len(wanted) != 1:
        command = [sys.executable, "-m", "tests.mutation"]
        return max(subprocess.run([*command, name], cwd=ROOT, check=False).returncode for name in wanted or modules)
    (name,) = wanted
    if (needed := modules[name].get("needs")) and not os.environ.get(needed):
        print(f"{name}: left out, because its tests need {needed}.")
        return 0
    started = time.monotonic()
    module = Module(ROOT / name)
    with tempfile.TemporaryDirectory() as directory:
        only = modules[name].get("only", "")
        survivors = _survivors(module, [*modules[name]["tests"], "-k", only], Path(directory))
    if isinstance(survivors, str):
        print(f"{name}: fails without any mistake: {survivors}.")
        return 1
    may_live = modules[name].get("may_live", {})
    killed, seconds = len(module.mutants) - len(survivors), time.monotonic() - started
    print(f"{name}: {killed} of {len(module.mutants)} mutants killed, in {seconds:.0f} s.")
    for survivor in survivors:
        print(f"  {'may live' if survivor in may_live else 'LIVES'}: {survivor}")
    for gone in may_live.keys() - set(survivors):
        print(f"  no longer lives, so delete it from modules.toml: {gone}")
    return int(set(survivors) != may_live.keys())


def _survivors(module: Module, tests: list[str], directory: Path) -> list[str] | str:
    """The mistakes that no test notices, in the order of the source. Or the test that fails without any mistake."""
    statuses: dict[str | None, int] = {}

    def ended(pid: int, mutant: Mutant | None, status: int) -> None:
        statuses[mutant.name if mutant else None] = status

    forks = Forks(ended)
    forks.start(None, _in_functions, module, tests, directory)
    forks.wait()
    if statuses[None]:
        return "pytest"
    failing, survivors, unmade, unrun, libraries = json.loads((directory / "found.json").read_text())
    if failing:
        return str(failing)
    at_import.load(libraries)
    forks.start(None, at_import.find_lines, module, tests, directory)
    forks.wait()
    lines = set(json.loads((directory / "lines.json").read_text()))
    for mutant in module.mutants:
        if mutant.name in unmade or (mutant.name in unrun and lines.intersection(mutant.lines)):
            forks.start(mutant, at_import.run, module, mutant, tests, directory)
        elif mutant.name in unrun:
            survivors.append(mutant.name)
    forks.wait()
    forks.start(None, at_import.run, module, None, tests, directory)
    forks.wait()
    if statuses[None]:
        return "a test in a process of its own"
    return [each.name for each in module.mutants if each.name in survivors or statuses.get(each.name) == 0]


def _in_functions(module: Module, tests: list[str], directory: Path) -> int:
    mutation = Mutation(module, directory)
    options = ["-qq", "-p", "no:randomly", "-p", "tests.mutation.examples", f"--basetemp={directory / 'functions'}"]
    status = pytest.main([*options, *tests], plugins=[mutation])
    found = [mutation.failing, mutation.survivors, mutation.unmade, mutation.unrun, at_import.libraries()]
    (directory / "found.json").write_text(json.dumps(found))
    return int(status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
