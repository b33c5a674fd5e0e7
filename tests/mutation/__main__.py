"""`make mutate`: whether the tests near a module fail for each small mistake in it. Names those that no test notices.

No library does it here: mutmut 3.8 leaves out every decorated function, so each service under `@transaction.atomic`,
and what a module does while it is imported, such as the tables of the policy. Cosmic Ray 8.7 starts Python for each
mutant and writes it into the source file. mutatest has had no release since 2022.
"""

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from .plugin import Mutation

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def main(wanted: list[str]) -> int:
    modules = tomllib.loads((HERE / "modules.toml").read_text())
    if len(wanted) != 1:
        command = [sys.executable, "-m", "tests.mutation"]
        return max(subprocess.run([*command, name], cwd=ROOT, check=False).returncode for name in wanted or modules)
    (name,) = wanted
    started = time.monotonic()
    mutation = Mutation(ROOT / name, modules[name]["tests"])
    pytest.main(["-qq", "-p", "no:randomly", *mutation.tests], plugins=[mutation])
    if not mutation.has_passed:
        print(f"{name}: its tests fail without any mistake, here or in a forked process.")
        return 1
    return _tell(name, mutation, modules[name].get("may_live", {}), time.monotonic() - started)


def _tell(name: str, mutation: Mutation, may_live: dict[str, str], seconds: float) -> int:
    survivors = set(mutation.survivors)
    killed = len(mutation.module.mutants) - len(survivors)
    print(f"{name}: {killed} of {len(mutation.module.mutants)} mutants killed, in {seconds:.0f} s.")
    for survivor in mutation.survivors:
        print(f"  {'may live' if survivor in may_live else 'LIVES'}: {survivor}")
    for gone in may_live.keys() - survivors:
        print(f"  no longer lives, so delete it from modules.toml: {gone}")
    return int(survivors != may_live.keys())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
