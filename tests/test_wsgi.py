"""What the application does once: when it is loaded, and at its first request."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import Installation, install

SCRIPT = "import gc, atatus_dash.wsgi; print(gc.get_freeze_count(), len(gc.get_objects()))"


def test_what_is_loaded_at_the_start_is_left_out_of_garbage_collection() -> None:
    """A full collection would traverse all loaded objects in 30 ms, and any client could cause one."""
    environment = {**os.environ, "SECRET_KEY": "x", "DATABASE_URL": "sqlite:///:memory:"}
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=environment, capture_output=True, check=True)
    frozen, walked = map(int, done.stdout.split())
    assert frozen > 50_000
    assert walked < 10_000


#: A WSGI server in one line: it calls `/v2` once, prints the status, and exits.
ASK_ONCE = """
import json, sys, threading
from wsgiref.util import setup_testing_defaults
from atatus_dash.wsgi import application
print(json.dumps([thread.name for thread in threading.enumerate()]))
environ = {"PATH_INFO": "/v2", "HTTP_HOST": "localhost", "HTTP_X_API_KEY": sys.argv[1], "REMOTE_ADDR": "127.0.0.1"}
setup_testing_defaults(environ)
for part in application(environ, lambda status, headers: print(status)):
    pass
print(json.dumps(sorted(thread.name for thread in threading.enumerate())))
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("wsgi"), ALLOW_HTTP="1")


def _ask_once(installation: Installation, key: str) -> list[str]:
    command = [sys.executable, "-c", ASK_ONCE, key]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        command, cwd=root, env=installation.environ(), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def _lasting(threads: str) -> list[str]:
    """The threads that a process keeps. A due job has a thread for a moment, and its lease has another."""
    return [name for name in json.loads(threads) if not name.startswith(("job-", "lease-"))]


def test_no_thread_is_started_by_loading_the_application_but_by_its_first_request(installation: Installation) -> None:
    before, _, after = _ask_once(installation, installation.key("Threads"))
    assert json.loads(before) == ["MainThread"]
    assert _lasting(after) == ["MainThread", "heartbeat", "mail", "probe"]


def test_another_wsgi_server_counts_its_only_request(installation: Installation) -> None:
    _, status, _ = _ask_once(installation, installation.key("Counted"))
    assert status == "200 OK"
    assert installation.requests_counted("Counted") == 1


def test_another_wsgi_server_obeys_maintenance_from_its_first_request(installation: Installation) -> None:
    key = installation.key("Maintenance")
    installation.run("maintenance", "on")
    try:
        _, status, _ = _ask_once(installation, key)
    finally:
        installation.run("maintenance", "off")
    assert status == "503 Service Unavailable"
