"""What the application does once: when it is loaded, and at its first request."""

import json
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from .servers import ROOT, Installation, install

#: A WSGI server in a few lines: it calls `/v2` once and prints what the tests below assert.
ASK_ONCE = """
import gc, json, sys, threading
from wsgiref.util import setup_testing_defaults
from atatus_dash.wsgi import application
garbage = [gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects())]
before = [thread.name for thread in threading.enumerate()]
environ = {"PATH_INFO": "/v2", "HTTP_HOST": "localhost", "HTTP_X_API_KEY": sys.argv[1], "REMOTE_ADDR": "127.0.0.1"}
setup_testing_defaults(environ)
statuses = []
for part in application(environ, lambda status, headers: statuses.append(status)):
    pass
after = sorted(thread.name for thread in threading.enumerate())
print(json.dumps([*garbage, before, *statuses, after]))
"""


class Asked(NamedTuple):
    collects_garbage: bool
    frozen: int
    walked: int
    threads_before: list[str]
    status: str
    threads_after: list[str]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("wsgi"), ALLOW_HTTP="1")


@pytest.fixture(scope="module")
def asked(installation: Installation) -> Asked:
    return _ask_once(installation, installation.key("Counted"))


def _ask_once(installation: Installation, key: str) -> Asked:
    command = [sys.executable, "-c", ASK_ONCE, key]
    done = subprocess.run(
        command, cwd=ROOT, env=installation.environ(), capture_output=True, text=True, check=True, timeout=60
    )
    answer: list[Any] = json.loads(done.stdout)
    return Asked(*answer)


def test_what_is_loaded_at_the_start_is_left_out_of_garbage_collection(asked: Asked) -> None:
    """A full collection would traverse all loaded objects in 30 ms, and any client could cause one."""
    assert asked.collects_garbage
    assert asked.frozen > 50_000
    assert asked.walked < 10_000


def test_no_thread_is_started_by_loading_the_application_but_by_its_first_request(asked: Asked) -> None:
    assert asked.threads_before == ["MainThread"]
    # A due job has a thread for a moment, and its lease has another.
    lasting = [name for name in asked.threads_after if not name.startswith(("job-", "lease-"))]
    assert lasting == ["MainThread", "heartbeat", "mail", "probe"]


def test_another_wsgi_server_counts_its_only_request(installation: Installation, asked: Asked) -> None:
    assert asked.status == "200 OK"
    assert installation.requests_counted("Counted") == 1


def test_another_wsgi_server_obeys_maintenance_from_its_first_request(installation: Installation) -> None:
    key = installation.key("Maintenance")
    installation.run("maintenance", "on")
    try:
        assert _ask_once(installation, key).status == "503 Service Unavailable"
    finally:
        installation.run("maintenance", "off")
