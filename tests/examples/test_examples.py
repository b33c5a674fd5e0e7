"""The examples of docs/examples, run as real services in front of a running guard."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from .. import node
from ..answers import Answer
from ..gateways.listener import Listener
from ..gateways.relay import pass_on
from ..servers import ROOT, free_port, install, serving, wait_for
from . import seed

pytestmark = pytest.mark.xdist_group("gateways")

EXAMPLES = ROOT / "docs" / "examples"
HERE = Path(__file__).parent

AWAY = {"Message": "The API key can't be checked at the moment. Please try again later."}

#: How to run each service, with the address of the only proxy that it trusts.
COMMANDS = {
    "django": [
        *(sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--threads", "4"),
        *("--access-logfile", "-", "tests.examples.django_service:application"),
    ],
    "fastapi": [
        *(sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}"),
        *("--forwarded-allow-ips", "{proxy}", "tests.examples.fastapi_service:app"),
    ],
    "express": ["node", str(HERE / "express_service.mjs")],
}


class Relay(Listener):
    """A proxy between the services and the guard: it records what is sent, and can stop or hang."""

    def __init__(self, guard_port: int) -> None:
        self.guard_port = guard_port
        self.hangs = False
        self.sent = b""
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.guard_port)) as guard:
            threading.Thread(target=pass_on, args=(guard, connection), daemon=True).start()
            while part := connection.recv(65536):
                self.sent += part
                if not self.hangs:
                    guard.sendall(part)


def test_every_example_is_run() -> None:
    assert {path.stem.removesuffix("_guard") for path in EXAMPLES.glob("*.*")} == set(COMMANDS)


@dataclass
class Guard:
    relay: Relay
    service: str
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.port}/v2/verify/{self.service}"


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    installation = install(tmp_path_factory.mktemp("guard"), FAILED_AUTH_LIMIT="1000000/minute")
    service, keys = installation.seed(seed.create, COMMANDS)
    with serving(installation) as server:
        relay = Relay(server.port)
        yield Guard(relay, service, keys)
        relay.stop()


@dataclass
class Service:
    """A running service, and the guard to which it sends its requests."""

    name: str
    port: int
    log: Path
    guard: Guard

    def get(self, path: str, key: str | None = None, *, method: str = "GET", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["X-API-KEY"] = self.guard.keys[key]
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, headers=sent)
            return Answer.read(connection.getresponse())

    def authorization_request(self) -> dict[str, str]:
        """The last authorization request."""
        *_, body = self.guard.relay.sent.split(b"\r\n\r\n")
        sent: dict[str, str] = json.loads(body)
        return sent


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Express, from npm."""
    return node.install(HERE, tmp_path_factory.mktemp("packages"))


@contextmanager
def running(name: str, guard: Guard, directory: Path, *, packages: Path | None, proxy: str) -> Iterator[Service]:
    port = free_port()
    log = directory / f"{name}-{port}.log"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "GUARD": guard.url,
        "PROXIES": proxy,
        "PORT": str(port),
        "PACKAGES": str(packages),
        "EXAMPLE": str(EXAMPLES / "express_guard.mjs"),
        "PYTHONPATH": str(EXAMPLES),
    }
    with log.open("wb") as output:
        command = [part.format(port=port, proxy=proxy) for part in COMMANDS[name]]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    service = Service(name, port, log, guard)

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return service.get("/").status in (401, 503)
        except OSError:
            return False

    try:
        wait_for(is_up, name, 60)
        yield service
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module", params=list(COMMANDS))
def services(
    request: pytest.FixtureRequest, guard: Guard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Service]]:
    """The same service three times: behind a proxy on this machine, with a proxy elsewhere, with an unknown ID."""
    name = request.param
    packages = request.getfixturevalue("packages") if name == "express" else None
    directory = tmp_path_factory.mktemp(name)
    with ExitStack() as stack:
        yield {
            place: stack.enter_context(running(name, its_guard, directory, packages=packages, proxy=proxy))
            for place, its_guard, proxy in (
                ("behind", guard, "127.0.0.1"),
                ("alone", guard, "192.0.2.1"),
                ("unknown", replace(guard, service="svc_0000000000000000"), "192.0.2.1"),
            )
        }


@pytest.fixture
def service(services: dict[str, Service]) -> Service:
    return services["alone"]


def test_a_valid_key_passes_and_the_service_knows_its_account(service: Service) -> None:
    answer = service.get("/reports/today", "read")
    assert answer.status == 200
    assert answer.json["account"] == "acme"
    assert answer.json["api_key"].startswith("key_")
    assert answer.headers["ratelimit-policy"] == '"default";q=600;w=60'
    assert answer.headers["ratelimit"].startswith('"default";r=')
    key = service.guard.keys["read"]
    for header in (key, f"Bearer {key}", f"token {key}"):
        assert service.get("/", Authorization=header).status == 200


def test_without_a_valid_key_it_is_401_in_json_with_a_challenge(service: Service) -> None:
    answer = service.get("/reports")
    assert (answer.status, answer.json) == (401, {"Message": "API key is required!"})
    assert answer.headers["www-authenticate"] == 'Bearer realm="atatus"'
    answer = service.get("/reports", X_API_KEY="atk_nonsense")
    assert (answer.status, answer.json) == (401, {"Message": "API key is invalid!"})
    assert answer.headers["www-authenticate"] == 'Bearer realm="atatus", error="invalid_token"'


def test_a_path_or_a_method_without_permission_is_403(service: Service) -> None:
    assert service.get("/reports/today", "reports").status == 200
    answer = service.get("/admin", "reports")
    assert (answer.status, answer.json["Message"]) == (403, "This API key has no access to this path.")
    answer = service.get("/reports", "read", method="POST")
    assert (answer.status, answer.json["Message"]) == (403, "This API key does not have the Write permission.")


@pytest.mark.parametrize("target", ["/reports/..%2fadmin", "/reports/%2e%2e/admin", "/reports//admin", "//reports"])
def test_the_guard_checks_the_path_as_it_was_sent(service: Service, target: str) -> None:
    answer = service.get(target, "reports")
    assert (answer.status, answer.json["Message"]) == (403, "This path is ambiguous.")
    assert service.authorization_request()["path"] == target


def test_the_guard_gets_no_query(service: Service) -> None:
    assert service.get("/reports/a%20b?token=secret", "reports").status == 200
    assert service.authorization_request()["path"] == "/reports/a%20b"


def test_over_the_limit_it_is_429_with_retry_after(service: Service) -> None:
    assert service.get("/", service.name).status == 200
    answer = service.get("/", service.name)
    assert (answer.status, answer.json["Message"]) == (429, "Too many requests. Please slow down.")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["ratelimit"].startswith('"default";r=0;')


def test_an_unavailable_guard_is_503_and_requests_pass_as_soon_as_it_is_back(service: Service) -> None:
    service.guard.relay.stop()
    try:
        answer = service.get("/", "read")
    finally:
        service.guard.relay.start()
    assert (answer.status, answer.json, answer.headers["retry-after"]) == (503, AWAY, "5")
    assert service.get("/", "read").status == 200


def test_a_hanging_guard_is_503_after_four_seconds(service: Service) -> None:
    service.guard.relay.hangs = True
    started = time.monotonic()
    try:
        answer = service.get("/", "read")
    finally:
        service.guard.relay.hangs = False
        service.guard.relay.close_connections()
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert 3.5 < time.monotonic() - started < 7


def test_a_service_that_may_not_ask_refuses_every_request(services: dict[str, Service]) -> None:
    """The guard's 401 is about the service, so the client gets a 503 instead."""
    answer = services["unknown"].get("/", "read")
    assert (answer.status, answer.json, answer.headers["retry-after"]) == (503, AWAY, "5")
    assert "www-authenticate" not in answer.headers


def test_connections_to_the_guard_are_kept_open(service: Service) -> None:
    service.get("/", "read")
    accepted = service.guard.relay.accepted
    assert [service.get("/", "read").status for _ in range(5)] == [200] * 5
    assert service.guard.relay.accepted == accepted


def test_behind_a_proxy_the_client_is_the_last_address_that_is_not_a_proxy(services: dict[str, Service]) -> None:
    behind = services["behind"]
    assert behind.get("/", "network", X_Forwarded_For="203.0.113.7").status == 200
    assert behind.get("/", "network", X_Forwarded_For="198.51.100.1, 203.0.113.7").status == 200
    assert behind.get("/", "network", X_Forwarded_For="203.0.113.7, 198.51.100.1").status == 403


def test_without_a_trusted_proxy_a_forwarded_address_is_ignored(service: Service) -> None:
    assert service.get("/", "network", X_Forwarded_For="203.0.113.7").status == 403
    assert service.get("/", "local", X_Forwarded_For="203.0.113.7").status == 200


def test_the_key_is_not_logged(service: Service) -> None:
    service.get("/seen-in-the-log", "read")
    service.guard.relay.stop()
    try:
        service.get("/seen-in-the-log", "read")
    finally:
        service.guard.relay.start()
    wait_for(lambda: service.log.read_text().count("/seen-in-the-log") >= 2, "the log")
    assert "atk_" not in service.log.read_text()
