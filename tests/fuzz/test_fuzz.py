"""A short run of schemathesis, with the same requests each time. `make fuzz` sends others, for longer."""

from pathlib import Path

import pytest

from tests.servers import Installation, serving

from . import run, seed


@pytest.mark.long
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    installation = Installation(tmp_path, run.ENVIRONMENT)
    keys = installation.seed(seed.create)
    with serving(installation) as server:
        ran = run.schemathesis(
            f"http://127.0.0.1:{server.port}",
            keys,
            "administrator",
            *("--seed=1", "--max-examples=1", "--phases=examples,coverage,fuzzing"),
            hooks="tests.fuzz.short_hooks",
        )
    assert ran.returncode == 0, ran.stdout
    assert "Tested: 66" in ran.stdout
    assert "Traceback" not in server.log.read_text()
