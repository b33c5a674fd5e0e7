"""Real servers for tests, each with its own database and port."""

import fcntl
import io
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from unittest import mock

from django.conf import global_settings
from django.core.management import call_command
from django.db import connections
from django.db.utils import ConnectionHandler
from django.test import override_settings
from environ import Env

from atatus_dash.management.commands.serve import collect_static_files

from .answers import Answer

ROOT = Path(__file__).resolve().parent.parent
#: Hides packages that no installation has.
INSTALLED = ROOT / "tests" / "installed"
PASSWORD = "correct horse battery staple"
#: A directory of all processes of a test run. None for tools, which don't share.
shared: Path | None = None

P = ParamSpec("P")
T = TypeVar("T")


def free_port() -> int:
    """A port that is free at every address. No outgoing connection takes it: these get ports from 32768 on (Linux)."""
    while True:
        port = 16_000 + secrets.randbelow(16_000)  # not by `random`, which starts alike in every process
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port


def wait_for(condition: Any, what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@dataclass
class Installation:
    """A database in its own directory, and `manage.py` with a matching environment."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.directory / "db.sqlite3"

    def environ(self, **overrides: str | None) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        # The key of this process, if it has one: what `connected` encrypts and signs, a server reads.
        key = os.environ.get("SECRET_KEY", "for-tests-" + "x" * 50)
        ours = {"SECRET_KEY": key, "DATABASE_URL": f"sqlite:///{self.database}"}
        merged = {**inherited, **ours, **self.environment, **overrides}
        return {name: value for name, value in merged.items() if value is not None}

    def manage(self, *arguments: str, stdin: str = "", **overrides: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environ(**overrides),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Models use its database, in this thread. pytest-django blocks only the database of the tests."""
        database: dict[str, Any] = {**Env.db_url_config(self.environ()["DATABASE_URL"])}
        kind = "sqlite3" if database["ENGINE"].endswith("sqlite3") else "postgresql"
        options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
        database |= {"ENGINE": f"atatus_dash.backends.{kind}", "OPTIONS": options if kind == "sqlite3" else {}}
        connection = ConnectionHandler({"default": database})["default"]
        of_tests, connections["default"] = connections["default"], connection
        try:
            with mock.patch.object(connection, "ensure_connection"):
                connection.connect()
                yield
        finally:
            connections["default"] = of_tests
            connection.close()

    def run(self, command: str, *arguments: str, **options: Any) -> str:
        """Run a command on its database within this process, with the tests' settings: a process takes a second.

        Returns what it prints.
        """
        printed = io.StringIO()
        with self.connected():
            call_command(command, *arguments, stdout=printed, **options)
        return printed.getvalue()

    def seed(self, create: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Create items in its database with a function of the tests, and return what the function returns.

        Nobody can sign in as a person it creates: a server doesn't know the fast hasher.
        """
        settings = {
            "SECRET_KEY": self.environ()["SECRET_KEY"],  # encrypts mail
            "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        }
        with self.connected(), override_settings(**settings):
            return create(*arguments, **named)

    def key(self, name: str = "Server", permission: str = "read_write", *options: str) -> str:
        named = ("--account", "acme", "--name", name, "--permission", permission)
        return self.run("create_api_key", *named, *options).splitlines()[-1]

    def requests_counted(self, name: str) -> int:
        """How many requests of the key with that name are in the database."""
        query = """
            SELECT COALESCE(SUM(requests), 0) FROM apikeys_usage
            JOIN apikeys_apikey ON apikeys_apikey.id = api_key_id WHERE name = ?
        """
        with closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute(query, (name,)).fetchone()[0])


def install(directory: Path, **environment: str) -> Installation:
    """A migrated database with the account Acme. For SQLite, it is a copy of one that is created once."""
    installation = Installation(directory, environment)
    if "DATABASE_URL" in environment:
        _fill(installation)
    else:
        installation.database.write_bytes(_filled_database())
    return installation


@cache
def _filled_database() -> bytes:
    if shared is None:
        return _new_database()
    file = shared / "servers.sqlite3"
    with (shared / "servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_bytes(_new_database())
    return file.read_bytes()


def _new_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory))
        _fill(installation)
        with closing(sqlite3.connect(installation.database)) as connection:
            return connection.serialize()


def _fill(installation: Installation) -> None:
    installation.run("migrate", verbosity=0)
    # Not with the fast hasher of tests, which a server doesn't know.
    with override_settings(ACCOUNT_OWNER_PASSWORD=PASSWORD, PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):
        installation.run("create_account", "Acme", "--owner", "owner@example.com")


@cache
def _collect_static_files() -> None:
    """Once in each process. Tests without a server use the sources, so the settings of installations are restored."""
    from atatus_dash import (
        settings as ours,  # needs the tests' environment, which tools such as `make bench` don't have
    )

    with override_settings(STATIC_ROOT=ours.STATIC_ROOT, STORAGES=ours.STORAGES):
        collect_static_files()


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str, key: str | None = None, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers={**({"X-API-KEY": key} if key else {}), **sent})
            return Answer.read(connection.getresponse())

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send the signal and wait for the end. Returns the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=20)
        return time.monotonic() - started


@contextmanager
def serving(
    installation: Installation,
    *arguments: str,
    port: int | None = None,
    python: str = sys.executable,
    by_command: bool = False,
    **overrides: str | None,
) -> Iterator[Server]:
    """A server, ready for requests. `by_command` starts it with `manage.py serve`, which takes a second longer.

    Without it, this is the process that `manage.py serve` becomes.
    """
    port = port or free_port()
    if by_command:
        started = [python, "manage.py", "serve", *arguments]
    else:
        _collect_static_files()
        started = [python, "-m", "atatus_dash.server"]
    path = [str(ROOT), overrides.get("PYTHONPATH"), str(INSTALLED)]
    overrides["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    log = installation.directory / f"serve-{port}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            started,
            cwd=ROOT,
            env=installation.environ(PORT=str(port), **overrides),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = Server(process, port, log)
        try:
            wait_for(server.is_up, "the server", 120)
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
