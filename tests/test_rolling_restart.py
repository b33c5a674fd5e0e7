"""Two nodes on one PostgreSQL and one Redis behind nginx. Each is restarted in turn, and no request is lost."""

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .nginx.front import Front, in_front_of, needs_nginx
from .servers import Installation, Server, free_port, install, serving

pytestmark = [
    *needs_nginx,
    pytest.mark.services,
    pytest.mark.skipif(
        "REQUIRE_SERVICES" not in os.environ
        and not (os.environ.get("DATABASE_URL", "").startswith("postgres") and "REDIS_URL" in os.environ),
        reason="DATABASE_URL and REDIS_URL name no PostgreSQL and Redis",
    ),
]

REQUESTS, CLIENTS = 2_000, 8


@pytest.fixture
def database() -> Iterator[str]:
    """A separate PostgreSQL database."""
    server, name = urlsplit(os.environ["DATABASE_URL"]), f"rolling_{os.getpid()}"
    admin = server._replace(path="/postgres").geturl()
    subprocess.run(["psql", admin, "-qc", f"CREATE DATABASE {name}"], check=True)
    yield server._replace(path=f"/{name}").geturl()
    subprocess.run(["psql", admin, "-qc", f"DROP DATABASE {name} WITH (FORCE)"], check=True)


class Clients:
    """At least the given number of requests, until the test stops them. Every second request creates a project."""

    def __init__(self, front: Front, key: str) -> None:
        self.front, self.key = front, key
        self.answered: Counter[tuple[str, int | str]] = Counter()
        self.is_enough = threading.Event()

    def run(self) -> None:
        sent = 0
        while sent < REQUESTS / CLIENTS or not self.is_enough.is_set():
            sent += 1
            method = "POST" if sent % 2 else "GET"
            try:
                status: int | str = self._ask(method)
            except OSError as error:
                status = repr(error)
            self.answered[method, status] += 1

    def _ask(self, method: str) -> int:
        if method == "GET":
            return self.front.ask("/v2", X_API_KEY=self.key).status
        form: dict[str, Any] = {"body": b"name=web", "Content_Type": "application/x-www-form-urlencoded"}
        return self.front.ask("/v2/projects", method="POST", X_API_KEY=self.key, **form).status


class Nodes(ExitStack):
    """A server on each port."""

    def __init__(self, installation: Installation, ports: tuple[int, ...]) -> None:
        super().__init__()
        self.installation = installation
        self.servers = {port: self._start(port) for port in ports}

    def restart(self, port: int) -> None:
        """Stop the node as systemd would, start it, and wait until it is ready."""
        self.servers[port].stop()
        self.servers[port] = self._start(port)
        assert self.servers[port].get("/readyz").status == 200

    def _start(self, port: int) -> Server:
        return self.enter_context(serving(self.installation, port=port))


def test_no_request_is_lost_while_each_node_restarts_in_turn(database: str, tmp_path: Path) -> None:
    installation = install(
        tmp_path,
        DATABASE_URL=database,
        REDIS_URL=os.environ["REDIS_URL"],
        ALLOWED_HOSTS="localhost 127.0.0.1",
        TRUSTED_PROXIES="127.0.0.1/32",
    )
    key = installation.key("Rolling", "read_write", "--rate-limit", "1000000/minute")
    ports = free_port(), free_port()

    with (
        in_front_of(tmp_path, *ports) as front,
        ThreadPoolExecutor(CLIENTS) as pool,
        Nodes(installation, ports) as nodes,
    ):
        clients = Clients(front, key)
        running = [pool.submit(clients.run) for _ in range(CLIENTS)]
        try:
            for port in ports:
                nodes.restart(port)
        finally:
            clients.is_enough.set()
        for client in running:
            client.result()

    assert sum(clients.answered.values()) >= REQUESTS
    assert set(clients.answered) == {("GET", 200), ("POST", 201)}
    counted = subprocess.run(
        ["psql", database, "-Atc", "SELECT count(*) FROM accounts_project"], capture_output=True, text=True, check=True
    )
    assert int(counted.stdout) == clients.answered["POST", 201]
