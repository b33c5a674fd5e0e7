"""`make fuzz`: runs schemathesis with all checks against a new server with data."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import django

from tests.servers import ROOT, Installation, serving

HERE = Path(__file__).parent
#: Of the server. The limits are more than schemathesis can send, because a 429 would hide what a request does.
ENVIRONMENT = {
    "ALLOW_HTTP": "1",
    "API_RATE_LIMIT": "1000000000/minute",
    "FAILED_AUTH_LIMIT": "1000000000/minute",
}


def schemathesis(
    url: str, keys: Mapping[str, tuple[str, str]], key: str, *options: str, hooks: str = "tests.fuzz.hooks"
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with one of the keys that `seed` created, in a separate directory, because it leaves files."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={HERE / 'schemathesis.toml'}"),
        *("run", f"{url}/v2/openapi.json", "--checks=all", "--generation-database=none", "--no-color", *options),
    ]
    # Little else, because for each request it reads all variables.
    environment = {
        "PATH": os.environ["PATH"],
        "SCHEMATHESIS_HOOKS": hooks,
        "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),  # its tables of Unicode take seconds
        "PYTHONPATH": str(ROOT),
        "FUZZ_KEY_ID": keys[key][0],
        "FUZZ_KEY": keys[key][1],
        "FUZZ_CHANGED_KEY_ID": keys["changed"][0],
    }
    with tempfile.TemporaryDirectory() as directory:
        return subprocess.run(command, cwd=directory, env=environment, text=True, check=False, stdout=subprocess.PIPE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--key", choices=["administrator", "read", "write"], default="administrator")
    parser.add_argument("--database", help="a DATABASE_URL of an empty database, instead of SQLite")
    options = parser.parse_args()
    print(f"Seed {options.seed}. This takes {options.minutes:g} minutes.", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as directory:
        database = {"DATABASE_URL": options.database} if options.database else {}
        installation = Installation(Path(directory), {**ENVIRONMENT, **database})
        os.environ.update(installation.environ(DJANGO_SETTINGS_MODULE="atatus_dash.settings"))
        django.setup()
        from . import seed  # needs the environment

        keys = seed.create()
        with serving(installation, by_command=True) as server:
            ran = schemathesis(
                f"http://127.0.0.1:{server.port}",
                keys,
                options.key,
                f"--max-time={options.minutes * 60:.0f}",
                f"--seed={options.seed}",
            )
            print(ran.stdout)  # noqa: T201
            log = server.log.read_text()
    if "Traceback" in log:
        print(log)  # noqa: T201
        return 1
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
