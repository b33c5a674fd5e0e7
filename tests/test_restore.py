"""Backups of an older version, restored as docs/operations.md says, and upgraded.

tests/data has a database of each kind from the commit 9df31b4: an account with two people, one of them with an
authenticator app in plain text, two imported keys, a project and a deployment.
"""

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .servers import PASSWORD, ROOT, Installation, serving

DATA = ROOT / "tests" / "data"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
NIGHTLY, BACKUP = "the-nightly-key-of-the-old-tests", "the-backup-key-of-the-old-tests"
#: Different in each restore: rows that `migrate` writes, and secrets that it encrypts.
UNLIKE = ("contenttypes", "auth.permission", "mfa.authenticator", "sessions", "usersessions")

pytestmark = pytest.mark.xdist_group("servers")


def _line(start: str) -> str:
    """The only line of the page's commands that begins with this text."""
    (line,) = re.findall(rf"^{re.escape(start)}.*$", OPERATIONS, re.MULTILINE)
    return str(line)


def _run(line: str, places: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A line of the page, with this test's paths instead of a server's."""
    for theirs, ours in {"sudo -u atatus-dash ": "", **places}.items():
        line = line.replace(theirs, ours)
    return subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)  # noqa: S602  our own docs


def _state(installation: Installation) -> list[dict[str, Any]]:
    excluded = [part for app in UNLIKE for part in ("--exclude", app)]
    rows = json.loads(installation.run("dumpdata", *excluded))
    return sorted(rows, key=lambda row: (row["model"], str(row["pk"])))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _token(page: bytes) -> str:
    found = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found
    return found[1].decode()


def _works_as_before(installation: Installation, later: str) -> None:
    """The old keys work, the key created after the backup doesn't, and the Owner can sign in."""
    assert "Encrypted with the newest key: 0." in installation.run("reencrypt")
    with serving(installation) as server:
        assert server.get("/readyz").status == 200
        who = server.get("/v2", NIGHTLY)
        assert (who.status, who.json["account"]["slug"]) == (200, "acme")
        assert [project["name"] for project in server.get("/v2/projects", BACKUP).json["results"]] == ["Website"]
        assert server.get("/v2", later).json == {"Message": "API key is invalid!"}
        page = server.get("/auth/login/")
        token = _token(page.body)
        form = f"csrfmiddlewaretoken={token}&login=olivia@example.com&password={PASSWORD.replace(' ', '+')}"
        cookie = page.headers["set-cookie"].partition(";")[0]
        form_type = {"Content_Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        answer = server.get("/auth/login/", method="POST", body=form, **form_type)
        assert (answer.status, answer.headers["location"]) == (302, "/")


def _installation(directory: Path, database: str) -> Installation:
    return Installation(directory, {"ALLOW_HTTP": "1", "DATABASE_URL": database})


needs_sqlite3 = pytest.mark.skipif(
    shutil.which("sqlite3") is None and "REQUIRE_SERVICES" not in os.environ, reason="sqlite3 is not installed"
)


@needs_sqlite3
def test_an_old_backup_of_sqlite_is_restored_as_it_was(tmp_path: Path) -> None:
    here = tmp_path / "lib"
    here.mkdir()
    places = {"/var/lib/atatus-dash": str(here), "/var/backups/atatus-dash": str(tmp_path)}
    with closing(sqlite3.connect(here / "db.sqlite3")) as connection:
        connection.executescript((DATA / "9df31b4.sqlite3.sql").read_text())
    installation = _installation(here, f"sqlite:///{here}/db.sqlite3")

    saved = _run(_line("(umask 077; sudo -u atatus-dash sqlite3 "), places)
    assert saved.returncode == 0, saved.stderr
    assert _mode(tmp_path / "db.sqlite3") == 0o600
    installation.run("migrate", verbosity=0)
    before = _state(installation)
    later = installation.key("Later")
    for _ in ("once", "once more"):
        restored = _run(_line("sudo -u atatus-dash sh -c 'cd /var/lib/atatus-dash && aside="), places)
        assert restored.returncode == 0, restored.stderr
    assert len(list(here.glob("aside-*/db.sqlite3"))) == 2
    installation.run("migrate", verbosity=0)

    assert _state(installation) == before
    _works_as_before(installation, later)


@contextmanager
def _database(name: str) -> Iterator[str]:
    """An empty PostgreSQL database of a test."""
    server = urlsplit(os.environ["DATABASE_URL"])
    admin = server._replace(path="/postgres").geturl()
    subprocess.run(["psql", admin, "-qc", f"CREATE DATABASE {name}"], check=True)
    try:
        yield server._replace(path=f"/{name}").geturl()
    finally:
        subprocess.run(["psql", admin, "-qc", f"DROP DATABASE {name} WITH (FORCE)"], check=True)


@pytest.mark.services
@pytest.mark.skipif(
    "REQUIRE_SERVICES" not in os.environ and not os.environ.get("DATABASE_URL", "").startswith("postgres"),
    reason="DATABASE_URL names no PostgreSQL",
)
def test_an_old_backup_of_postgresql_is_restored_as_it_was_or_not_at_all(tmp_path: Path) -> None:
    backup, restore = _line("(umask 077; pg_dump "), _line("pg_restore ")
    with _database(f"old_{os.getpid()}") as old, _database(f"new_{os.getpid()}") as new:
        places = {
            "postgres://atatus@db.example.com/atatus_restored": new,
            "postgres://atatus@db.example.com/atatus": old,
            "atatus-dash.dump": str(tmp_path / "atatus-dash.dump"),
        }
        installation = _installation(tmp_path, old)
        subprocess.run(["psql", old, "-qf", str(DATA / "9df31b4.postgresql.sql")], check=True, capture_output=True)
        assert _run(backup, places).returncode == 0
        assert _mode(tmp_path / "atatus-dash.dump") == 0o600
        installation.run("migrate", verbosity=0)
        before = _state(installation)
        later = installation.key("Later")

        with_later = _state(installation)
        into_itself = _run(restore, {**places, "postgres://atatus@db.example.com/atatus_restored": old})
        assert into_itself.returncode != 0
        assert _state(installation) == with_later

        restored = _run(restore, places)
        assert restored.returncode == 0, restored.stderr
        installation = _installation(tmp_path, new)
        installation.run("migrate", verbosity=0)
        assert _state(installation) == before
        _works_as_before(installation, later)
