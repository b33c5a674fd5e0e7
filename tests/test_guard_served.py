"""The guard on real servers: targets byte for byte, and exact limits over two nodes."""

import http.client
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from accounts.models import Account

from . import factories
from .answers import Answer
from .servers import Installation, install, serving

pytestmark = pytest.mark.xdist_group("servers")

GATEWAY = {
    "X-Original-Method": "GET",
    "X-Original-URI": "/reports",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
}


def make_service(installation: Installation) -> str:
    """A service whose gateways are on this machine."""
    with installation.connected():
        return factories.make_service(Account.objects.get(slug="acme"), "Reports", gateways=["127.0.0.1"]).id


def ask(port: int, path: str, key: str, method: str = "GET", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": "localhost", "X-API-Key": key, **GATEWAY, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        return Answer.read(connection.getresponse())


@dataclass
class Guard:
    port: int
    service: str
    #: For `/reports/*` of the service.
    key: str


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    installation = install(tmp_path_factory.mktemp("guard"))
    service = make_service(installation)
    key = installation.key("Bound", "read", "--access", f"{service}:/reports/*")
    with serving(installation) as server:
        yield Guard(server.port, service, key)


def test_a_served_guard_judges_the_target_as_it_was_sent(guard: Guard) -> None:
    prefix = f"/v2/verify/{guard.service}/ext-authz"
    for method in ("GET", "HEAD", "OPTIONS"):
        status, headers, body = ask(guard.port, f"{prefix}/reports/a%20b", guard.key, method)
        assert (status, headers["x-account"], body) == (200, "acme", b"")
    for target in ("/reports/..%2fadmin", "/reports/%2e%2e/admin", "/reports//a", "/reports/..;/admin"):
        status, headers, _ = ask(guard.port, prefix + target, guard.key)
        assert (status, headers["x-guard-message"]) == (403, "This path is ambiguous.")
    assert ask(guard.port, f"{prefix}/admin", guard.key)[1]["x-guard-message"].endswith("no access to this path.")
    assert ask(guard.port, f"{prefix}*", guard.key, "OPTIONS")[0] == 403
    asked = f"/v2/verify/{guard.service}/auth-request"
    assert ask(guard.port, asked, guard.key, "POST", **{"Content-Length": "0"})[0] == 200
    assert ask(guard.port, asked, guard.key, **{"X-Original-URI": "/reports/..%2fadmin"})[0] == 403
    with socket.create_connection(("127.0.0.1", guard.port)) as connection:
        lines = [f"GET {asked} HTTP/1.1", "Host: x", f"X-API-Key: {guard.key}"]
        lines += [f"{name}: {value}" for name, value in {**GATEWAY, "X-Original-URI": "/admin"}.items()]
        lines += ["X_Original_URI: /reports/a", "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 403")


def test_a_served_guard_refuses_a_target_that_came_twice(guard: Guard) -> None:
    head = (
        f"GET /v2/verify/{guard.service}/auth-request HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"X-API-Key: {guard.key}\r\n"
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Original-Method: GET\r\n"
    )
    twice = [("/reports/a", "/admin"), ("/reports/a", "/reports/b"), ("", "/reports/a"), ("/reports/a", "")]
    for first, second in twice:
        with closing(socket.create_connection(("127.0.0.1", guard.port), timeout=10)) as client:
            client.sendall(f"{head}X-Original-URI: {first}\r\nX-Original-URI: {second}\r\n\r\n".encode())
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"X-Original-URI is not one undecoded target." in answer


@pytest.fixture
def database() -> Iterator[str]:
    """A separate PostgreSQL database."""
    server, name = urlsplit(os.environ["DATABASE_URL"]), f"guard_{os.getpid()}"
    admin = server._replace(path="/postgres").geturl()
    subprocess.run(["psql", admin, "-qc", f"CREATE DATABASE {name}"], check=True)
    yield server._replace(path=f"/{name}").geturl()
    subprocess.run(["psql", admin, "-qc", f"DROP DATABASE {name} WITH (FORCE)"], check=True)


@pytest.mark.services
@pytest.mark.skipif(
    "REQUIRE_SERVICES" not in os.environ
    and not (os.environ.get("DATABASE_URL", "").startswith("postgres") and "REDIS_URL" in os.environ),
    reason="DATABASE_URL and REDIS_URL name no PostgreSQL and Redis",
)
def test_two_nodes_share_one_exact_limit_and_refuse_a_revoked_key_immediately(tmp_path: Path, database: str) -> None:
    shared = {"DATABASE_URL": database, "REDIS_URL": os.environ["REDIS_URL"], "ALLOW_HTTP": "1"}
    installation = install(tmp_path, **shared)
    service = make_service(installation)
    key = installation.key("Limited", "read", "--rate-limit", "100/hour")
    paths = ["/v2", f"/v2/verify/{service}/auth-request"]
    with serving(installation) as one, serving(installation) as two, ThreadPoolExecutor(8) as pool:

        def send(number: int) -> int:
            port = (one, two)[number % 2].port
            return ask(port, paths[number // 2 % 2], key)[0]

        assert Counter(pool.map(send, range(400))) == {200: 100, 429: 300}
        other = installation.key("Revoked", "read")
        assert Counter(pool.map(lambda n: ask((one, two)[n % 2].port, paths[1], other)[0], range(40))) == {200: 40}
        installation.run("revoke_api_key", other)
        assert Counter(pool.map(lambda n: ask((one, two)[n % 2].port, paths[1], other)[0], range(20))) == {401: 20}
