"""One guard, one upstream and each gateway once, for all tests here."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from apikeys.guard import snippets

from ..nginx.front import SELF_SIGNED, in_front_of
from ..servers import Installation, Server, free_port, install, serving, wait_for
from . import seed
from .client import CLIENT, Connection, Reply
from .programs import CONFIGURATIONS, PROGRAMS, Program
from .relay import Relay
from .upstream import Received, Upstream

#: A proxy trusted by the guard: a load balancer in front of the gateways, which trust it too, or nginx behind them.
PROXY = "127.0.0.9"

#: Statuses of the service and the guard. A gateway may close the connection after its own.
ANSWERED = (200, 401, 403, 429)


@dataclass
class Guard:
    """`manage.py serve` on a private address, behind a relay to which gateways send authorization requests."""

    installation: Installation
    server: Server
    relay: Relay
    upstream: Upstream
    service: str
    #: Another service, which lets preflights pass and accepts keys in the query string.
    browsers: str
    #: … and one where every method counts as reading below /reports.
    reading: str
    keys: dict[str, str]
    certificate: Path
    private_key: Path

    @contextmanager
    def in_maintenance(self, *options: str) -> Iterator[None]:
        """Refuse authorization requests during the block."""
        self.installation.run("maintenance", "on", "--guard", *options)
        wait_for(lambda: self._status() == 503, "maintenance", 5)
        try:
            yield
        finally:
            self.installation.run("maintenance", "on")
            wait_for(lambda: self._status() == 401, "the end of maintenance", 5)

    def _status(self) -> int:
        """That of an authorization request without a key."""
        headers = {"X_Original_Method": "GET", "X_Original_URI": "/", "X_Forwarded_Proto": "https"}
        path = f"/v2/verify/{self.service}/auth-request"
        return self.server.get(path, X_Forwarded_For=CLIENT, **headers).status


@dataclass
class Gateway:
    """A running gateway, with the guard and the service behind it."""

    name: str
    port: int
    directory: Path
    guard: Guard
    #: By the client's address.
    kept: dict[str, Connection] = field(default_factory=dict)

    @property
    def relay(self) -> Relay:
        return self.guard.relay

    @property
    def upstream(self) -> Upstream:
        return self.guard.upstream

    def key(self, name: str) -> str:
        """The secret of the key with that name. Each gateway has its own limited keys."""
        keys = self.guard.keys
        return keys[name] if name in keys else keys[f"{name}-{self.name}"]

    def connected(self, *, source: str = CLIENT) -> Connection:
        return Connection(self.port, self.guard.certificate, source=source)

    def request(
        self,
        method: str,
        target: str,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        *,
        key: str | None = None,
        source: str = CLIENT,
    ) -> Reply:
        """Send one request. Clears the recorded requests of the guard and the service first."""
        self.reset()
        if key is not None:
            headers = (("X-API-KEY", self.key(key)), *headers)
        with ExitStack() as stack:
            connection = stack.enter_context(self._idle_connection(source))
            reply = connection.request(method, target, headers, body)
            if reply.status in ANSWERED and connection.is_idle:
                stack.pop_all()
                self.kept[source] = connection
        return reply

    def _idle_connection(self, source: str) -> Connection:
        """That of the last request, as programs do. A new one takes longer than a request."""
        if kept := self.kept.pop(source, None):
            if kept.is_idle:
                return kept
            kept.close()
        return self.connected(source=source)

    def close(self) -> None:
        for connection in self.kept.values():
            connection.close()

    @contextmanager
    def guard_away(self) -> Iterator[None]:
        self.relay.stop()
        try:
            yield
        finally:
            self.relay.start()

    def reset(self) -> None:
        self.relay.requests.clear()
        self.upstream.received.clear()

    def received(self) -> Received | None:
        """The request that the service got since the last `request`; None if there was none."""
        assert len(self.upstream.received) < 2
        return self.upstream.received[0] if self.upstream.received else None

    def log(self) -> str:
        return (self.directory / "output.log").read_text(errors="replace")[-3000:]


@pytest.fixture(scope="session")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    directory = tmp_path_factory.mktemp("guard")
    # HAProxy looks for the private key under this name.
    certificate, private_key = directory / "fullchain.pem", directory / "fullchain.pem.key"
    command = SELF_SIGNED.replace("localhost", "api.example.com").split()
    command += ["-keyout", str(private_key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    installation = install(
        directory,
        ALLOWED_HOSTS="keys.example.com 127.0.0.1",
        TRUSTED_PROXIES=f"{PROXY}/32",
        FAILED_AUTH_LIMIT="1000000/minute",
        THREADS="4",
    )
    seeded = installation.seed(seed.create)
    with serving(installation) as server:
        relay, upstream = Relay(server.port), Upstream()
        yield Guard(installation, server, relay, upstream, **seeded, certificate=certificate, private_key=private_key)
        relay.stop()
        upstream.stop()


@dataclass
class ThroughNginx:
    """The guard behind deploy/nginx.conf. The relay is behind nginx, and asks from the address of a proxy."""

    guard: Guard
    values: dict[str, str]


@pytest.fixture(scope="session")
def through_nginx(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThroughNginx]:
    directory = tmp_path_factory.mktemp("through-nginx")
    (directory / "gateways").mkdir()
    (directory / "gateways" / "listed.conf").write_text("allow 127.0.0.1;\n")
    relay = Relay(guard.server.port, PROXY)
    with in_front_of(directory, relay.port) as nginx:
        values = {
            "guard_url": f"https://localhost:{nginx.https_port}",
            "guard_address": f"127.0.0.1:{nginx.https_port}",
            "guard_ca": str(nginx.certificate),
        }
        yield ThroughNginx(replace(guard, relay=relay), values)
    relay.stop()


@contextmanager
def running(
    program: Program, guard: Guard, *, guard_url: str | None = None, service: str | None = None, **values: str
) -> Iterator[Gateway]:
    """Start the gateway with its file from deploy/gateways/. `values` are for placeholders that only some have."""
    assert program.path is not None, f"{program.binary} is not installed"
    with tempfile.TemporaryDirectory(prefix=f"{program.name}-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        port = free_port()
        values = {
            "service": service or guard.service,
            "certificate": str(guard.certificate),
            "certificate_key": str(guard.private_key),
            "host": "api.example.com",
            **snippets.addresses("guard", guard_url or f"http://127.0.0.1:{guard.relay.port}"),
            **snippets.addresses("upstream", f"http://127.0.0.1:{guard.upstream.port}"),
            **values,
        }
        texts = {
            path.name: snippets.fill(path.read_text(), values)
            for path in (CONFIGURATIONS / program.name).iterdir()
            if path.is_file()
        }
        for shipped, ours in program.shipped.items():
            filled = shipped.format(port=port, directory=directory)
            assert any(filled in text for text in texts.values()), f"{filled!r} is in no file of {program.name}"
            texts = {
                file: text.replace(filled, ours.format(port=port, directory=directory)) for file, text in texts.items()
            }
        for file, text in {**texts, **program.frame(directory)}.items():
            (directory / file).write_text(text)
        arguments = [argument.format(port=port, directory=directory) for argument in program.arguments]
        log = directory / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program.path, *arguments],
                cwd=directory,
                env={
                    **os.environ,
                    "HOME": str(directory),
                    "XDG_DATA_HOME": str(directory),
                    # Caddy and Traefik trust the machine's certificates.
                    **({"SSL_CERT_FILE": values["guard_ca"]} if "guard_ca" in values else {}),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(lambda: process.poll() is not None or _is_ready(port, guard.certificate), program.name, 60)
            assert process.poll() is None, log.read_text()
            with closing(Gateway(program.name, port, directory, guard)) as gateway:
                yield gateway
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(port: int, certificate: Path) -> bool:
    """Whether it serves with our certificate. Traefik listens before it has read its dynamic configuration."""
    try:
        with Connection(port, certificate) as connection:
            return connection.request("GET", "/").status == 401
    except (OSError, HTTPException):
        return False


class Running:
    """The started gateways, each once per set of values. The guard starts with the first."""

    def __init__(self, request: pytest.FixtureRequest, stack: ExitStack) -> None:
        self._request = request
        self._stack = stack
        self._started: dict[Any, Gateway] = {}

    def get(self, name: str, **values: str) -> Gateway:
        require(name)
        return self._get(name, self._request.getfixturevalue("guard"), values)

    def through_nginx(self, name: str) -> Gateway:
        require("nginx")
        require(name)
        found: ThroughNginx = self._request.getfixturevalue("through_nginx")
        return self._get(name, found.guard, found.values)

    def _get(self, name: str, guard: Guard, values: Mapping[str, str]) -> Gateway:
        wanted = (name, *sorted(values.items()))
        if wanted not in self._started:
            self._started[wanted] = self._stack.enter_context(running(PROGRAMS[name], guard, **values))
        return self._started[wanted]


def require(name: str) -> None:
    """Skip the test if the program is missing, unless it was requested."""
    program = PROGRAMS[name]
    if program.path is None:
        if "REQUIRE_GATEWAYS" in os.environ:
            pytest.fail(f"{program.binary} is not installed")
        pytest.skip(f"{program.binary} is not installed")


@pytest.fixture(scope="session")
def gateways(request: pytest.FixtureRequest) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(request, stack)


@pytest.fixture(params=list(PROGRAMS))
def gateway(request: pytest.FixtureRequest, gateways: Running) -> Gateway:
    """The gateway, in front of an application on a private address."""
    return gateways.get(request.param)
