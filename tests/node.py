"""Programs from npm, for tests that need Node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def install(packages: Path, directory: Path) -> Path:
    """Install the packages of a test directory's `package.json` in another directory, and return that directory.

    Without Node the test is skipped, or fails if REQUIRE_NODE is set.
    """
    for name in ("package.json", "package-lock.json"):
        shutil.copy(packages / name, directory)
    found = shutil.which("npm") and shutil.which("node")
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=30000"]
    installed = found and subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if not installed or installed.returncode:
        reason = installed.stderr if installed else "Node is not installed"
        if "REQUIRE_NODE" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return directory
