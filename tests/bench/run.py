"""The benchmark: CPU time of the server per request, as ratios of medians over interleaved runs.

make bench
BENCH_DATABASE_URL=postgres://… BENCH_REDIS_URL=redis://… make bench     the scaled-out set-up too
BENCH_MILLION=1 make bench                                              1,000,000 keys too (takes minutes)
"""

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from . import load

ROOT = Path(__file__).resolve().parent.parent.parent
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "4000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
KEYS = 1000

SEED = """
from accounts.models import User
from accounts.services import create_account
from apikeys import tokens
from apikeys.models import APIKey

total = {total}
account = create_account(name="Bench", owner=User.objects.create_user("bench@example.com"))
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
class Contestant:
    """A server with its requests, and what each round of them cost."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    headers: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    microseconds: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v2")
        name, _, value = self.headers[0].partition(": ")
        request.add_header(name, value)
        for _ in range(150):
            try:
                urllib.request.urlopen(request)  # noqa: S310  our own server
                break
            except OSError:
                time.sleep(0.2)
        else:
            raise SystemExit(f"{self.name} does not answer.")
        self._send(REQUESTS // 4)

    def run(self) -> None:
        assert self.process is not None
        before = load.cpu_seconds(self.process.pid)
        self._send(REQUESTS)
        self.microseconds.append((load.cpu_seconds(self.process.pid) - before) / REQUESTS * 1e6)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)

    @property
    def median(self) -> float:
        return statistics.median(self.microseconds)

    def _send(self, count: int) -> None:
        requests = [
            f"GET /v2 HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode("ascii") for header in self.headers
        ]
        if failures := load.send(self.port, requests, count):
            raise SystemExit(f"{self.name} refused {failures} of {count} requests.")


def _python(code: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode().split("\n")[:-1]


def _manage(environment: dict[str, str], *arguments: str) -> list[str]:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode().split("\n")[:-1]


def ours(name: str, port: int, database: str, *, redis: str = "", total: int = KEYS) -> Contestant:
    """`manage.py serve` on a database with `total` keys, of which 1,000 take turns."""
    environment = {
        "SECRET_KEY": secrets.token_hex(32),
        "DEBUG": "0",
        "ALLOW_HTTP": "1",
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "PORT": str(port),
    }
    _manage(environment, "migrate", "--verbosity=0")
    keys = _manage(environment, "shell", "--verbosity=0", "--command", SEED.format(total=total, keys=KEYS))
    headers = [f"X-API-KEY: {key}" for key in keys if key.startswith("atk_")]
    return Contestant(name, [sys.executable, "manage.py", "serve"], environment, port, headers)


def yardstick(name: str, port: int, view: str, headers: list[str], database: str = ":memory:") -> Contestant:
    """A view of `yardstick` under gunicorn's threads."""
    command = [
        *(sys.executable, "-m", "gunicorn", "--worker-class=gthread", "--threads=8", "--keep-alive=60"),
        *(f"--bind=127.0.0.1:{port}", "tests.bench.yardstick:application"),
    ]
    return Contestant(name, command, {"BENCH_VIEW": view, "BENCH_DATABASE": database}, port, headers)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        competitor = f"{folder}/competitor.sqlite3"
        competitor_keys = _python(SEED_COMPETITOR.format(keys=50), {"BENCH_DATABASE": competitor})
        bare = yardstick("bare DRF view", 8901, "bare", ["X-Nothing: 1"])
        contestants = [
            bare,
            ours("GET /v2, SQLite", 8902, f"sqlite:///{folder}/keys.sqlite3"),
            yardstick(
                "djangorestframework-api-key",
                8903,
                "api_key",
                [f"Authorization: Api-Key {key}" for key in competitor_keys],
                competitor,
            ),
        ]
        if database := os.environ.get("BENCH_DATABASE_URL"):
            contestants.append(
                ours("GET /v2, PostgreSQL and Redis", 8904, database, redis=os.environ["BENCH_REDIS_URL"])
            )
        if os.environ.get("BENCH_MILLION"):
            contestants.append(
                ours("GET /v2, SQLite, 1,000,000 keys", 8905, f"sqlite:///{folder}/million.sqlite3", total=1_000_000)
            )
        try:
            for contestant in contestants:
                contestant.start()
            for _ in range(ROUNDS):
                for contestant in contestants:
                    contestant.run()
        finally:
            for contestant in contestants:
                contestant.stop()
    print(f"CPU of the server per request, medians of {ROUNDS} interleaved runs of {REQUESTS} requests")
    for contestant in contestants:
        print(
            f"{contestant.name:34} {contestant.median:6.0f} µs   {contestant.median / bare.median:5.2f} × bare DRF"
            f"   ({min(contestant.microseconds):.0f} to {max(contestant.microseconds):.0f} µs)"
        )
    guarded = contestants[2].median
    print(f"{'ours / djangorestframework-api-key':34} {contestants[1].median / guarded:5.2f}")


if __name__ == "__main__":
    main()
