"""`manage.py guard_demo`: runs a sample service behind a gateway on this machine, for `make guard`."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.urls import reverse

from accounts import policy
from accounts.models import Account
from accounts.policy import KeyPermission
from apikeys.guard import configurations
from apikeys.models import Service
from apikeys.services import create_api_key, create_service

INITIATOR = "Demonstration"
HEADERS = ("X-Account", "X-Api-Key-Id", "X-Api-Key-Name", "X-Api-Key-Permission", "X-Request-ID")

#: Seconds within which a program has to listen on its port.
START_SECONDS = 30


class Sample(BaseHTTPRequestHandler):
    """The sample service: answers every request with its method, path and the guard's headers."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        identity = {name: self.headers[name] for name in HEADERS if name in self.headers}
        body = f"{json.dumps({'method': self.command, 'path': self.path, **identity}, indent=2)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the caller sees the answers."""


class Command(BaseCommand):
    help = "Show the guard on an empty database: a sample service behind Caddy, a key, and two calls. Ctrl-C stops it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--gateway-port", type=int, default=8080, help="Where Caddy listens. Default: 8080.")
        parser.add_argument("--new-database", action="store_true", help="Delete the SQLite database first.")

    def handle(self, *args: Any, **options: Any) -> None:
        caddy = shutil.which("caddy", path=Path(sys.executable).parent) or shutil.which("caddy")
        if caddy is None:
            raise CommandError("Caddy is not installed. make guard installs it.")
        port: int = options["gateway_port"]
        for wanted, name in ((port, "GATEWAY_PORT"), (settings.PORT, "PORT")):
            if _listens(wanted):
                raise CommandError(f"Port {wanted} is in use. Choose another one: make guard {name}={wanted + 1}")
        if options["new_database"]:  # after the ports, both of which a first `make guard` may use
            _delete_database()
        call_command("migrate", verbosity=0)
        people = StringIO()
        call_command("demo", stdout=people)
        sample = ThreadingHTTPServer(("127.0.0.1", 0), Sample)
        threading.Thread(target=sample.serve_forever, daemon=True).start()
        service, secret = _create_service(f"http://127.0.0.1:{sample.server_port}")
        connection.close()
        # A shell starts background processes with SIGINT ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        started: list[subprocess.Popen[bytes]] = []
        try:
            with tempfile.TemporaryDirectory(prefix="guard-") as folder:
                file = Path(folder, "Caddyfile")
                file.write_text(_caddyfile(service, port))
                started.append(_start("The server", settings.PORT, [sys.executable, "manage.py", "serve"], folder))
                arguments = [caddy, "run", "--config", str(file), "--adapter", "caddyfile"]
                started.append(_start("Caddy", port, arguments, folder))
                self._print_instructions(service, secret, port, people.getvalue())
                _wait(lambda: any(process.poll() is not None for process in started))
                raise CommandError("One of the programs stopped, so the demonstration stops too.")
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")
        finally:
            for process in reversed(started):
                _stop(process)
            sample.shutdown()

    def _print_instructions(self, service: Service, secret: str, port: int, people: str) -> None:
        site = settings.PUBLIC_URL or f"http://127.0.0.1:{settings.PORT}"
        page = site + reverse("apikeys:service", args=[service.account.slug, service.id])
        call = f"curl -i http://127.0.0.1:{port}/reports/today"
        self.stdout.write(
            "A sample service runs behind Caddy, which asks this server about every request.\n\n"
            f"Without a key, 401:\n\n  {call}\n\n"
            f'With a key, 200, and the service gets the account in a header:\n\n  {call} -H "X-API-KEY: {secret}"\n\n'
            f"The service's page shows these requests and the configuration of Caddy and other gateways:\n\n"
            f"  {page}\n\n{people.split(chr(10) * 2 + 'Mail')[0].strip()}\n\nPress Ctrl-C to stop."
        )
        self.stdout.flush()


def _delete_database() -> None:
    """Delete SQLite's files. Raises `CommandError` for another database."""
    if connection.vendor != "sqlite":
        raise CommandError("--new-database is for SQLite.")
    connection.close()
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{connection.settings_dict['NAME']}{end}").unlink(missing_ok=True)


def _create_service(upstream: str) -> tuple[Service, str]:
    actor = policy.system(Account.objects.get().ref, INITIATOR)
    service = create_service(actor=actor, name="Sample service", gateways=["127.0.0.1"], upstream=upstream)
    return service, create_api_key(actor=actor, name="Sample key", permission=KeyPermission.READ).secret


def _caddyfile(service: Service, port: int) -> str:
    """The shipped configuration, but over plain HTTP, because there is no certificate for this machine."""
    guard = f"http://127.0.0.1:{settings.PORT}"
    gateway = configurations.GATEWAYS["caddy"]
    host = "127.0.0.1"
    file, *_ = configurations.files(gateway, service=service.id, guard=guard, upstream=service.upstream, host=host)
    lines = [line for line in file.text.split("\n") if not line.strip().startswith("tls ")]
    return "\n".join(lines).replace(f"https://{host} {{", f"http://{host}:{port} {{\n\tbind 127.0.0.1")


def _start(name: str, port: int, arguments: list[str], folder: str) -> "subprocess.Popen[bytes]":
    """Start a program and wait until it listens. Raises `CommandError` with its output if it fails to."""
    log = Path(folder, f"{port}.log")
    with log.open("wb") as output:
        # In its own process group, so that Ctrl-C reaches only this process, which stops the others in order.
        process = subprocess.Popen(  # noqa: S603  our own programs
            arguments, cwd=settings.BASE_DIR, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
    try:
        _wait(lambda: process.poll() is not None or _listens(port), START_SECONDS)
        if process.poll() is not None or not _listens(port):
            raise CommandError(f"{name} didn't start:\n{log.read_text(errors='replace').strip()}")
    except BaseException:
        _stop(process)
        raise
    return process


def _wait(until: Callable[[], bool], seconds: float = float("inf")) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.1)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
