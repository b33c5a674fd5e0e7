"""A short run of schemathesis, with the same requests each time. `make fuzz` sends others, for longer."""

from pathlib import Path

from tests.servers import serving

from . import run


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    installation, seeded = run.install(tmp_path)
    with serving(installation) as server:
        ran = run.schemathesis(
            f"http://127.0.0.1:{server.port}",
            seeded,
            "administrator",
            *("--seed=1", "--max-examples=1", "--phases=examples,coverage,fuzzing"),
        )
    assert ran.returncode == 0, ran.stdout
    assert "Tested: 66" in ran.stdout
    assert "Traceback" not in server.log.read_text()
