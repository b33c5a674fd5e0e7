"""Clients that other projects generate from `/v2/openapi.json` call every operation of a running server once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atatus_dash.api.schema.document import document, rendered
from tests import node
from tests.servers import Server, install, serving

from . import seed

pytestmark = pytest.mark.xdist_group("servers")

HERE = Path(__file__).parent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Server, Any]]:
    """A new server, and the ids and keys in its database."""
    installation = install(tmp_path, ALLOW_HTTP="1")
    seeded = installation.seed(seed.create)
    with serving(installation) as running:
        yield running, seeded


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(rendered("http://127.0.0.1")[0])
    return path


def every_operation() -> list[str]:
    return sorted(
        operation["operationId"]
        for item in document()["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    )


def run(command: list[str], directory: Path, **environment: str) -> str:
    """Its output. Run the command. If it fails, the test fails with the command's output."""
    ran = subprocess.run(
        command, cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_python_client_calls_every_operation(server: tuple[Server, Any], description: Path, tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    generate = [str(scripts / "openapi-python-client"), "generate", f"--path={description}", "--meta=none"]
    # The generator formats its output with Ruff, and warns without Ruff.
    path = os.pathsep.join([str(scripts), os.environ["PATH"]])
    run([*generate, "--output-path=atatus_client", "--fail-on-warning"], tmp_path, PATH=path)

    running, seeded = server
    program = [sys.executable, "-W", "error", str(HERE / "python_client.py")]
    printed = run(
        [*program, f"http://127.0.0.1:{running.port}", json.dumps(seeded)], tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert sorted(set(json.loads(printed))) == every_operation()


def test_the_typescript_client_calls_every_operation(
    server: tuple[Server, Any], description: Path, tmp_path: Path
) -> None:
    packages = node.install(HERE, tmp_path)
    for name in ("client.mts", "tsconfig.json"):
        shutil.copy(HERE / name, packages)
    binaries = packages / "node_modules" / ".bin"
    # Without the option, fields with a default are required in requests. TypeScript checks the types, because they are
    # in a `.ts`: it skips each `.d.ts`, of which most are its own.
    generate = [str(binaries / "openapi-typescript"), str(description), "--default-non-nullable=false"]
    run([*generate, "--output=schema.ts"], packages)
    run([str(binaries / "tsc"), "--project", "tsconfig.json"], packages)

    running, seeded = server
    program = ["node", "built/client.mjs", f"http://127.0.0.1:{running.port}", json.dumps(seeded)]
    called = json.loads(run(program, packages))
    # fetch refuses to send TRACE.
    assert sorted(set(called)) == [name for name in every_operation() if not name.endswith("_trace")]
