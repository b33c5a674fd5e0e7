"""How a worker of `manage.py serve` stops: behind a proxy, and when its parent process was killed."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from .servers import Installation, Server, install, serving, wait_for

pytestmark = pytest.mark.xdist_group("servers")

PROXY: dict[str, Any] = {"TRUSTED_PROXIES": "127.0.0.1/32"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("leaving"), ALLOW_HTTP="1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_a_kept_connection_is_answered_once_more_and_closed(installation: Installation) -> None:
    key = installation.key("Kept", "read", "--rate-limit", "1000000/minute")
    with serving(installation, **PROXY) as server:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as kept:

            def ask() -> tuple[int, str | None]:
                kept.request("GET", "/v2", headers={"X-API-KEY": key, "X-Forwarded-For": "192.0.2.1"})
                response = kept.getresponse()
                response.read()
                return response.status, response.headers["Connection"]

            assert ask() == (200, None)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert ask() == (200, "close")
        server.process.wait(timeout=20)
    assert server.process.returncode == 0
    assert installation.requests_counted("Kept") == 2


def test_every_connection_during_a_stop_is_answered_or_refused(installation: Installation) -> None:
    outcomes: Counter[str] = Counter()
    over = threading.Event()

    def ask_on(server: Server) -> None:
        while not over.is_set():
            with closing(socket.socket()) as connection:
                connection.settimeout(10)
                try:
                    connection.connect(("127.0.0.1", server.port))
                except OSError:
                    outcomes["refused"] += 1
                    time.sleep(0.01)
                    continue
                try:
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    outcomes["answered" if connection.recv(1024) else "closed"] += 1
                except OSError:
                    outcomes["reset"] += 1

    with serving(installation, **PROXY) as server:
        threads = [threading.Thread(target=ask_on, args=(server,)) for _ in range(50)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        took = server.stop()
        over.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"answered", "refused"}
    assert took < 5


def test_a_reload_loses_no_request(installation: Installation) -> None:
    key = installation.key("Reloaded", "read", "--rate-limit", "1000000/minute")
    with serving(installation, **PROXY) as server:
        before = server.workers()
        server.process.send_signal(signal.SIGHUP)
        statuses = []
        deadline = time.monotonic() + 30
        while set(before) & set(server.workers()):
            assert time.monotonic() < deadline
            statuses += [server.get("/v2", key, X_Forwarded_For="192.0.2.1").status for _ in range(20)]
        assert server.workers()
    assert set(statuses) == {200}


SLOW_START = """
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "atatus_dash.wsgi":
            time.sleep(3)

sys.meta_path.insert(0, Slow())
"""


def test_at_a_reload_no_request_waits_until_new_workers_have_started(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_START)
    with serving(installation, **PROXY, PYTHONPATH=str(tmp_path)) as server:
        before = server.workers()
        server.process.send_signal(signal.SIGHUP)
        waits = []
        deadline = time.monotonic() + 40
        while set(before) & set(server.workers()):
            assert time.monotonic() < deadline
            for _ in range(20):
                began = time.monotonic()
                assert server.get("/healthz").status == 200
                waits.append(time.monotonic() - began)
                time.sleep(0.01)
    assert max(waits) < 2


def test_workers_whose_parent_was_killed_finish_count_and_exit(installation: Installation) -> None:
    key = installation.key("Orphaned", "read")
    with serving(installation, USAGE_FLUSH_SECONDS="60") as server:
        workers = server.workers()
        assert [server.get("/v2", key).status for _ in range(20)] == [200] * 20
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(timeout=10)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers to stop", 5)
        assert _is_free(server.port)
    assert installation.requests_counted("Orphaned") == 20
