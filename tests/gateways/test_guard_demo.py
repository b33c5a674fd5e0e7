"""`manage.py guard_demo`, which `make guard` runs: the two printed calls, pasted into a shell."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from django.core.management.base import CommandError
from pytest_django import Settings

from accounts.models import Account

from ..servers import ROOT, Installation, free_port, install, wait_for
from .conftest import require


def call(line: str) -> str:
    return subprocess.run(["sh", "-c", f"{line} --silent"], capture_output=True, text=True, check=True).stdout


def listens(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.long
def test_the_printed_calls_work_as_pasted_and_ctrl_c_stops_everything(tmp_path: Path) -> None:
    require("caddy")
    port, gateway = free_port(), free_port()
    database = tmp_path / "guard.sqlite3"
    database.write_bytes(b"of an earlier demonstration")
    environ = Installation(tmp_path, {}).environ(ALLOW_HTTP="1", PORT=str(port), DATABASE_URL=f"sqlite:///{database}")
    log = tmp_path / "output.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "manage.py", "guard_demo", "--new-database", "--gateway-port", str(gateway)],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: demo.poll() is not None or "Ctrl-C" in log.read_text(), "the demonstration", 60)
        said = log.read_text()
        assert demo.poll() is None, said
        refused, passed = re.findall(r"^ +(curl .*)$", said, re.MULTILINE)
        answer = call(refused)
        assert answer.startswith("HTTP/1.1 401 ")
        assert '{"Message":"API key is required!"}' in answer
        answer = call(passed)
        assert answer.startswith("HTTP/1.1 200 ")
        assert '"X-Account": "acme"' in answer
        assert "atk_" not in answer
        assert listens(port)
        assert re.search(rf"http://127.0.0.1:{port}/accounts/acme/services/svc_\w+/", said)
    finally:
        os.kill(demo.pid, signal.SIGINT)
        demo.wait(timeout=30)
    assert "Stopped." in log.read_text()
    assert not listens(port)
    assert not listens(gateway)


def test_a_port_in_use_is_reported_before_anything_starts_or_is_deleted(tmp_path: Path, settings: Settings) -> None:
    require("caddy")
    installation = install(tmp_path)
    settings.PORT = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError) as reported:
            installation.run("guard_demo", "--new-database", f"--gateway-port={port}")
    assert str(reported.value) == f"Port {port} is in use. Choose another one: make guard GATEWAY_PORT={port + 1}"
    with installation.connected():
        assert Account.objects.get().slug == "acme"
