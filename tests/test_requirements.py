"""Lock files have the packages that are asked for, each with a version and hashes, and name no index."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ["requirements", "requirements-dev", "tests/gateways/requirements"]


class Locked(NamedTuple):
    version: str
    hashes: list[str]
    sources: list[str]  # the .in files that name it


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", requirement.partition("[")[0]).lower()


def _named(name: str) -> dict[str, str]:
    """The versions in a .in file by package, without its `-r` lines."""
    lines = (ROOT / f"{name}.in").read_text().splitlines()
    pairs = [re.split("[#;]", line)[0].strip().split("==") for line in lines if not line.startswith(("#", "-r "))]
    return {_name(package): version for package, version in pairs}


def _locked(name: str) -> dict[str, Locked]:
    text = (ROOT / f"{name}.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {
        _name(entry.partition("==")[0]): Locked(
            version=re.findall(r"^[^=\s]+==([^\s;]+)", entry)[0],
            hashes=re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry),
            sources=re.findall(r"-r (\S+\.in)", entry),
        )
        for entry in entries
    }


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_the_named_packages_in_the_named_versions_and_no_others(name: str) -> None:
    from_this_file = {
        package: locked.version for package, locked in _locked(name).items() if f"{name}.in" in locked.sources
    }

    assert from_this_file == _named(name)


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_the_lock_has_hashes(name: str) -> None:
    assert [package for package, locked in _locked(name).items() if not locked.hashes] == []


def test_the_tools_are_locked_beside_the_same_versions_that_the_product_runs_on() -> None:
    product, tools = _locked("requirements"), _locked("requirements-dev")

    assert {package: locked.version for package, locked in product.items()} == {
        package: tools[package].version for package in product
    }


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_package_index(name: str) -> None:
    assert (
        re.findall(r"--(?:index|extra-index|find-links|trusted)\S*|\w+://\S+", (ROOT / f"{name}.txt").read_text()) == []
    )


@pytest.mark.parametrize("lock", sorted(ROOT.glob("tests/*/package-lock.json")), ids=lambda lock: lock.parent.name)
def test_a_lock_of_npm_has_hashes_and_names_no_registry(lock: Path) -> None:
    packages = [package for path, package in json.loads(lock.read_text())["packages"].items() if path]

    assert packages
    assert [package for package in packages if "integrity" not in package or "resolved" in package] == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_named_package_has_a_reason(name: str) -> None:
    lines = (ROOT / f"{name}.in").read_text().splitlines()

    assert [line for line in lines if not re.match(r"#|-r |\S+==\S+( ; [^#]+)? +# \S", line)] == []


def test_every_command_that_installs_a_lock_requires_hashes() -> None:
    """pip always checks the hashes in a file. With the option, it refuses a line without one."""
    texts = [
        (ROOT / name).read_text() for name in ("Makefile", "Dockerfile", ".ci/run", "README.md", "docs/operations.md")
    ]
    installs = [line for text in texts for line in text.splitlines() if re.search(r"\bpip.? install\b", line)]

    assert len(installs) >= 6
    assert [line for line in installs if "--require-hashes" not in line] == []


def test_the_image_copies_existing_files_that_are_sent_to_the_builder() -> None:
    copies = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {name for sources in copies for name in sources.split()}
    sent = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert copied == set(sent)
    assert [name for name in copied if not (ROOT / name).exists()] == []
