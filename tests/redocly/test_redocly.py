"""Redocly's linter finds nothing in `/v2/openapi.json`."""

import subprocess
from pathlib import Path

import orjson
import pytest

from atatus_dash.api.schema.document import document, rendered
from tests import node

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def redocly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node.install(HERE, tmp_path_factory.mktemp("redocly")) / "node_modules" / ".bin" / "redocly"


def lint(redocly: Path, directory: Path, content: bytes) -> subprocess.CompletedProcess[str]:
    (directory / "openapi.json").write_bytes(content)
    command = [str(redocly), "lint", f"--config={HERE / 'redocly.yaml'}", "openapi.json"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing(redocly: Path, tmp_path: Path) -> None:
    content, _ = rendered("https://keys.acme.test")  # it refuses example.com
    linted = lint(redocly, tmp_path, content)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_linter_finds_an_operation_without_a_summary(redocly: Path, tmp_path: Path) -> None:
    paths = {"/v2": {"get": {**document()["paths"]["/v2"]["get"], "summary": ""}}}
    servers = [{"url": "https://keys.acme.test"}]
    linted = lint(redocly, tmp_path, orjson.dumps({**document(), "servers": servers, "paths": paths}))
    assert linted.returncode != 0
    assert "operation-summary" in linted.stdout
