"""The benchmark: CPU time of the server per request, as ratios of medians over interleaved runs, and its duration.

A gateway's authorization request is compared with a plain Django view, `GET /v2` with a DRF view. If nginx is
installed, requests through nginx are measured too, with the same authorization requests.

make bench
BENCH_DATABASE_URL=postgres://… BENCH_REDIS_URL=redis://… make bench     the scaled-out set-up too
BENCH_MILLION=1 make bench                                              1,000,000 keys too (takes minutes)
"""

import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import load, nginx

ROOT = Path(__file__).resolve().parent.parent.parent
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "4000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
KEYS = 1000

SEED = """
from accounts.models import User
from accounts.services import create_account
from apikeys import tokens
from apikeys.models import APIKey, Service

total = {total}
account = create_account(name="Bench", owner=User.objects.create_user("bench@example.com"))
print(Service.objects.create(account=account, name="Bench", gateways=["127.0.0.1/32"]).id)
for start in range(0, total, 20_000):
    rows = []
    for number in range(start, min(start + 20_000, total)):
        secret = tokens.generate()
        rows.append(APIKey(account=account, name=f"Key {{number}}", permission="read",
                           digest=tokens.digest(secret), mask=tokens.mask(secret), rate_limit="1000000/minute"))
        if number % ({total} // {keys}) == 0:
            print(secret)
    APIKey.objects.bulk_create(rows)
"""

SEED_COMPETITOR = """
import os
os.environ["BENCH_VIEW"] = "api_key"
from tests.bench import yardstick
from django.core.management import call_command
from rest_framework_api_key.models import APIKey
call_command("migrate", verbosity=0)
for number in range({keys}):
    print(APIKey.objects.create_key(name=str(number))[1])
"""


@dataclass
class Server:
    """A process that several of the compared servers share."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(150):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.2)
        raise SystemExit(f"{self.name} does not answer.")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)


@dataclass
class Contestant:
    """Requests to a server, the CPU time of each round, and the duration of each request."""

    name: str
    server: Server
    path: str
    #: Header lines of the requests, used in rotation.
    headers: list[str]
    #: The headers that a client sends to a gateway.
    clients_headers: list[str]
    yardstick: "Contestant | None" = None
    microseconds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def warm_up(self) -> None:
        self._send(REQUESTS // 4)

    def run(self) -> None:
        assert self.server.process is not None
        before = load.cpu_seconds(self.server.process.pid)
        self.seconds += self._send(REQUESTS)
        self.microseconds.append((load.cpu_seconds(self.server.process.pid) - before) / REQUESTS * 1e6)

    @property
    def median(self) -> float:
        return statistics.median(self.microseconds)

    def percentile(self, percent: int) -> float:
        """In milliseconds."""
        return statistics.quantiles(self.seconds, n=100)[percent - 1] * 1e3

    def report(self) -> str:
        of = self.yardstick or self
        return (
            f"{self.name:36} {self.median:6.0f} µs  {self.median / of.median:5.2f} ×"
            f"   p50 {self.percentile(50):5.2f} ms   p99 {self.percentile(99):5.2f} ms"
            f"  {self.percentile(99) / of.percentile(99):5.2f} ×   of {of.name}"
            f"   ({min(self.microseconds):.0f} to {max(self.microseconds):.0f} µs)"
        )

    def _send(self, count: int) -> list[float]:
        requests = [
            f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode("ascii")
            for header in self.headers
        ]
        try:
            return load.send(self.server.port, requests, count)
        except (load.RefusedError, OSError) as error:
            raise SystemExit(f"{self.name} failed: {error}") from None


def _python(code: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode().split("\n")[:-1]


def _manage(environment: dict[str, str], *arguments: str) -> list[str]:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode().split("\n")[:-1]


def ours(name: str, port: int, database: str, *, redis: str = "", total: int = KEYS) -> list[Contestant]:
    """`manage.py serve` on a database with `total` keys, 1,000 of them in rotation: `GET /v2`, then a gateway."""
    environment = {
        "SECRET_KEY": secrets.token_hex(32),
        "DEBUG": "0",
        "ALLOW_HTTP": "1",
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "PORT": str(port),
    }
    _manage(environment, "migrate", "--verbosity=0")
    lines = _manage(environment, "shell", "--verbosity=0", "--command", SEED.format(total=total, keys=KEYS))
    headers = [f"X-API-KEY: {key}" for key in lines if key.startswith("atk_")]
    service = next(line for line in lines if line.startswith("svc_"))
    server = Server(name, [sys.executable, "manage.py", "serve"], environment, port)
    return [
        Contestant(f"GET /v2, {name}", server, "/v2", headers, headers),
        Contestant(
            f"gateway, {name}",
            server,
            f"/v2/verify/{service}/auth-request",
            [f"{GATEWAY}\r\n{header}" for header in headers],
            headers,
        ),
    ]


#: Headers that a gateway adds to a request.
GATEWAY = "\r\n".join(
    [
        *("X-Original-Method: GET", "X-Original-URI: /reports/daily?limit=10"),
        *("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "User-Agent: curl/8.5.0", "Accept: */*"),
    ]
)


def yardstick(name: str, port: int, view: str, headers: list[str], database: str = ":memory:") -> Contestant:
    """A view of `yardstick` under gunicorn's threads."""
    command = [
        *(sys.executable, "-m", "gunicorn", "--worker-class=gthread", "--threads=8", "--keep-alive=60"),
        *(f"--bind=127.0.0.1:{port}", "tests.bench.yardstick:application"),
    ]
    server = Server(name, command, {"BENCH_VIEW": view, "BENCH_DATABASE": database}, port)
    return Contestant(name, server, "/v2", headers, headers)


def main() -> None:
    port = int(os.environ.get("BENCH_PORT", "8901"))
    with tempfile.TemporaryDirectory() as folder:
        competitor = f"{folder}/competitor.sqlite3"
        competitor_keys = _python(SEED_COMPETITOR.format(keys=50), {"BENCH_DATABASE": competitor})
        bare = yardstick("bare DRF view", port, "bare", ["X-Nothing: 1"])
        plain = yardstick("plain Django view", port + 1, "plain", ["X-Nothing: 1"])
        other = yardstick(
            "djangorestframework-api-key",
            port + 2,
            "api_key",
            [f"Authorization: Api-Key {key}" for key in competitor_keys],
            competitor,
        )
        measured = ours("SQLite", port + 3, f"sqlite:///{folder}/keys.sqlite3")
        api = measured[0]
        if database := os.environ.get("BENCH_DATABASE_URL"):
            measured += ours("PostgreSQL and Redis", port + 4, database, redis=os.environ["BENCH_REDIS_URL"])
        if os.environ.get("BENCH_MILLION"):
            million = f"sqlite:///{folder}/million.sqlite3"
            measured += ours("SQLite, 1,000,000 keys", port + 5, million, total=1_000_000)
        for contestant in measured:
            contestant.yardstick = bare if contestant.path == "/v2" else plain
        other.yardstick = bare
        contestants = [bare, plain, other, *measured]
        servers = list({contestant.server.port: contestant.server for contestant in contestants}.values())
        try:
            for server in servers:
                server.start()
            for contestant in contestants:
                contestant.warm_up()
            for _ in range(ROUNDS):
                for contestant in contestants:
                    contestant.run()
            asked = [each for each in measured if each.yardstick is plain]
            through_nginx = list(_through_nginx(port + 10, Path(folder), [plain, *asked]))
        finally:
            for server in servers:
                server.stop()
    print(f"CPU of the server per request, medians of {ROUNDS} interleaved runs of {REQUESTS} requests, and times")
    for contestant in contestants:
        print(contestant.report())
    print(f"{'ours / djangorestframework-api-key':36} {api.median / other.median:5.2f}")
    for line in through_nginx:
        print(line)


def _through_nginx(port: int, folder: Path, asked: list[Contestant]) -> Iterator[str]:
    """Times of requests through nginx, without an authorization request or with one to each of `asked`."""
    if nginx.NGINX.path is None:
        yield "Requests through nginx are not measured: nginx is not installed."
        return
    routes = [nginx.Route("no authorization request", port, None, ["X-Nothing: 1"])]
    for number, contestant in enumerate(asked, 1):
        address = contestant.path, contestant.server.port
        routes.append(nginx.Route(contestant.name, port + 2 * number, address, contestant.clients_headers))
    with ExitStack() as running:
        for route in routes:
            running.enter_context(route.running(folder / str(route.port)))
        for _ in range(ROUNDS):
            for connections in nginx.CONNECTIONS:
                for route in routes:
                    try:
                        route.run(connections, REQUESTS // 2)
                    except (load.RefusedError, OSError) as error:
                        raise SystemExit(f"{route.name} through nginx failed: {error}") from None
        yield from nginx.report(routes)


if __name__ == "__main__":
    main()
