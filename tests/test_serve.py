"""`manage.py serve` as a real process: start, requests, stop, and attacks that it survives."""

import os
import re
import resource
import select
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts.models import AuditEvent
from apikeys import tokens
from atatus_dash.server.connection import Phase

from . import factories
from .servers import Installation, Server, install, serving, wait_for

pytestmark = pytest.mark.xdist_group("servers")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("serve"), ALLOW_HTTP="1")


@pytest.fixture(scope="module")
def key(installation: Installation) -> str:
    return installation.key("Server", "read_write", "--rate-limit", "1000000/minute")


@pytest.fixture(scope="module")
def server(installation: Installation) -> Iterator[Server]:
    """Started through a link, as where several releases are installed. A mail about a key would print its mask."""
    greeting = installation.directory / "greeting"
    greeting.write_text("Sign in as one of:\n")
    release, current = installation.directory / "release", installation.directory / "current"
    release.mkdir()
    (release / ".venv").symlink_to(sys.prefix)
    current.symlink_to(release)
    python = str(current / ".venv" / "bin" / "python")
    greeted = ("--greeting", str(greeting))
    with serving(installation, *greeted, python=python, by_command=True, EMAIL_URL="dummymail://") as server:
        yield server


def _raw(server: Server, request: bytes, *, ends: bool = False) -> bytes:
    """The answer to those bytes. With `ends`, the client then closes its side."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_a_server_answers_programs(server: Server, key: str) -> None:
    answer = server.get("/v2", key)
    assert answer.status == 200
    assert answer.json["account"] == {"slug": "acme", "name": "Acme"}


def test_only_static_files_that_pages_name_are_served(server: Server) -> None:
    page = server.get("/auth/login/").body.decode()
    named = re.findall(r'"(/static/[^"]+)"', page)
    assert [server.get(path).status for path in named] == [200] * len(named) != []
    without_hash = re.sub(r"\.[0-9a-f]{12}\.", ".", named[0])
    assert server.get(without_hash).status == 404
    assert server.get("/static/rest_framework/css/default.css").status == 404


def test_without_epoll_gunicorns_own_threads_serve(installation: Installation, key: str, tmp_path: Path) -> None:
    """As on macOS, for development."""
    (tmp_path / "sitecustomize.py").write_text("import select\ndel select.epoll\n")
    with serving(installation, PYTHONPATH=str(tmp_path)) as server:
        assert server.get("/v2", key, X_Filler="a" * 7680).status == 200
        server.stop()
    assert server.process.returncode == 0


def test_bodies_on_their_way_take_a_bounded_part_of_the_memory(server: Server) -> None:
    """Two hundred bodies of nearly 2 MiB, each without its last byte."""
    head = b"POST /v2/leaked-keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
    with ExitStack() as opened:
        connections = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10)) for _ in range(200)
        ]
        for connection in connections:
            with suppress(OSError):  # the connection has been cut off
                connection.sendall(head + b" " * 1_999_999)
        wait_for(lambda: len(select.select(connections, [], [], 0)[0]) >= 60, "the largest to be cut off", 8)
        assert server.get("/healthz").status == 200
        assert len(select.select(connections, [], [], 0)[0]) < 100


def test_a_client_that_takes_every_connection_does_not_lock_others_out(server: Server) -> None:
    """More connections than allowed, with or without requests. Closed ones are opened again."""
    with ExitStack() as opened:
        for number in range(1000):
            connection = opened.enter_context(socket.socket())
            connection.bind(("127.0.0.2", 0))
            connection.connect(("127.0.0.1", server.port))
            if number % 2:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert {server.get("/healthz").status for _ in range(20)} == {200}


def test_few_open_files_allow_fewer_connections_and_lock_no_one_out(installation: Installation, key: str) -> None:
    """With many threads, each with open database files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))  # the server inherits it
    try:
        with serving(installation, THREADS="20") as server, ExitStack() as opened:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(300):
                connection = opened.enter_context(socket.socket())
                connection.bind(("127.0.0.2", 0))
                connection.connect(("127.0.0.1", server.port))
            started = time.monotonic()
            with ThreadPoolExecutor(20) as pool:
                assert set(pool.map(lambda _: server.get("/v2", key).status, range(60))) == {200}
            assert time.monotonic() - started < 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_that_pipelines_thousands_of_requests_does_not_delay_others(server: Server) -> None:
    """There are more connections than threads."""
    requests = b"GET /v2 HTTP/1.1\r\nHost:localhost\r\n\r\n" * 1500
    with ExitStack() as opened:
        for _ in range(20):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            connection.sendall(requests)
        started = time.monotonic()
        assert server.get("/healthz").status == 200
        assert time.monotonic() - started < 5


def test_the_server_replaces_the_process_of_the_command_and_uses_the_real_path_of_its_release(server: Server) -> None:
    """Even if the link `current` changes, it continues with the packages of its own release."""
    command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert b"atatus_dash.server" in command
    assert command.startswith(os.fsencode(Path(sys.executable).parent.resolve()))


def test_a_greeting_is_printed_after_the_address(server: Server) -> None:
    lines = server.log.read_text().splitlines()
    assert lines[0].startswith(f"Serving on http://127.0.0.1:{server.port}")
    assert lines[1:3] == ["", "Sign in as one of:"]


def test_pages_have_their_styles_after_migrate_alone(server: Server) -> None:
    page = server.get("/auth/login/").body.decode()
    sheets = re.findall(r'<link[^>]+href="(/static/[^"]+\.css)"', page)
    assert sheets
    assert {server.get(sheet).status for sheet in sheets} == {200}


def test_a_query_of_seven_kibibytes_and_a_header_of_nearly_eight_are_accepted(server: Server, key: str) -> None:
    assert server.get("/v2?filler=" + "a" * 7 * 1024, key).status == 200
    assert server.get("/v2", key, X_Filler="a" * 7680).status == 200


def test_a_request_line_and_a_header_of_eight_kibibytes_pass(server: Server, key: str) -> None:
    line = b"GET /v2?filler=" + b"a" * (8192 - len("GET /v2?filler= HTTP/1.1")) + b" HTTP/1.1\r\n"
    header = b"X-Filler: " + b"a" * (8192 - len("X-Filler: ")) + b"\r\n"
    rest = f"Host: localhost\r\nX-API-KEY: {key}\r\nConnection: close\r\n\r\n".encode()
    assert _raw(server, line + header + rest).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v2?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-Filler: " + b"a" * 600_000 + b"\r\n\r\n",
    ],
    ids=["line", "header"],
)
def test_a_longer_line_or_header_gets_431_in_our_format(server: Server, request_head: bytes) -> None:
    answer = _raw(server, request_head)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\n")
    assert answer.endswith(b'{"Message":"The request\'s line and headers are too long."}')


def test_a_header_with_an_underscore_never_reaches_the_application(installation: Installation) -> None:
    key = installation.key("From far away", "read", "--allow", "203.0.113.7/32")
    with serving(installation, ALLOW_HTTP="0", TRUSTED_PROXIES="127.0.0.1/32") as server:

        def ask(*forged: str, key_header: str = "X-API-KEY") -> int:
            headers = "".join(f"{header}\r\n" for header in forged)
            real = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n"
            request = f"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key_header}: {key}\r\n"
            return int(_raw(server, f"{request}{real}{headers}\r\n".encode()).split()[1])

        assert ask() == 200
        assert ask("X-Forwarded-For: 192.0.2.1") == 403
        assert ask("X_Forwarded_For: 192.0.2.1", "X-Forwarded_Proto: http", "X_API_KEY: atk_x") == 200
        assert ask(key_header="X_API_KEY") == 401


def test_slow_heads_and_bodies_do_not_delay_others_and_are_cut_off(server: Server) -> None:
    """More requests of each kind than there are threads, at one byte a second."""
    starts = {
        b"GET /v2 HTTP/1.1\r\nX-Slow: ": Phase.HEAD,
        b"POST /v2/leaked-keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n": Phase.BODY,
    }
    with ExitStack() as opened:
        started = time.monotonic()
        slow = []
        for start, phase in starts.items():
            for _ in range(20):
                connection = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
                connection.sendall(start)
                slow.append((connection, phase))
        while slow:
            asked = time.monotonic()
            assert server.get("/healthz").status == 200
            assert time.monotonic() - asked < 2
            for connection, phase in slow[:]:
                took = time.monotonic() - started
                assert took < phase.seconds + 5
                if select.select([connection], [], [], 0)[0]:
                    answer = connection.recv(1024)
                    assert answer.startswith(b"HTTP/1.1 408")
                    assert answer.endswith(b'{"Message":"The request took too long."}')
                    assert took > phase.seconds - 1
                    slow.remove((connection, phase))
                else:
                    connection.sendall(b"a")
            time.sleep(1)


CUT_CHUNKS = {
    "without its last chunk": b'12\r\n{"name": "chunks"}\r\n',
    "cut within a chunk": b'80\r\n{"name": "chunks"}',
    "cut within its size": b'12\r\n{"name": "chunks"}\r\n0',
    "with a bad size": b'12\r\n{"name": "chunks"}\r\nno size\r\n',
}


@pytest.mark.parametrize("chunks", CUT_CHUNKS.values(), ids=CUT_CHUNKS.keys())
@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("POST /v2/projects", "X-API-KEY: {key}"),
        ("POST /v2/projects?api_key={key}", "Transfer_Encoding:"),
        ("POST /v2/leaked-keys", "Accept: */*"),
        ("POST /auth/login/", "Accept: */*"),
    ],
)
def test_a_body_in_chunks_that_was_cut_off_has_no_effect(
    server: Server, key: str, line: str, header: str, chunks: bytes
) -> None:
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\n{header}\r\nContent-Type: application/json\r\n".format(key=key)
    answer = _raw(server, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks, ends=True)
    assert answer.startswith(b"HTTP/1.1 400")
    assert re.search(rb'{"Message":"The request (is malformed|ended too early)\."}$', answer)
    assert server.get("/v2/projects", key).json["results"] == []


def test_a_body_that_is_shorter_than_its_length_has_no_effect(server: Server, key: str) -> None:
    head = f"POST /v2/projects HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: {key}\r\nContent-Type: application/json\r\n"
    answer = _raw(server, f'{head}Content-Length: 80\r\n\r\n{{"name": "chunks"}}'.encode(), ends=True)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.endswith(b'{"Message":"The request ended too early."}')
    assert server.get("/v2/projects", key).json["results"] == []


def test_a_complete_chunked_body_is_read_with_or_without_a_proxy(server: Server, key: str) -> None:
    json_type, form = {"Content_Type": "application/json"}, {"Content_Type": "application/x-www-form-urlencoded"}
    in_header = server.get("/v2/leaked-keys", method="POST", body=iter([b'{"cre', b'dentials": ["x"]}']), **json_type)
    in_body = server.get("/v2", method="GET", body=iter([b"api_key=", key.encode()]), **form)
    too_large = server.get("/v2/projects", key, method="POST", body=iter([b" " * 65536] * 17), **json_type)
    far_too_large = server.get("/v2/projects", key, method="POST", body=iter([b" " * 65536] * 80), **json_type)
    assert (in_header.status, in_body.status) == (202, 200)
    for refused in (too_large, far_too_large):
        assert (refused.status, refused.json) == (413, {"Message": "The body is larger than 1 MiB."})


@pytest.mark.parametrize(
    "parameters",
    [
        "charset=punycode",
        "charset='idna'",
        "charset*=idna''%ff",
        "boundary*=punycode''b",
        "a*=nope''b",
        'charset="base64',
    ],
)
@pytest.mark.parametrize(
    "path", ["/v2/projects?q=%ff", "/v2/leaked-keys", "/auth/login/?next=%ff", "/admin/login/", "/"]
)
def test_no_codec_in_a_content_type_causes_a_server_error(server: Server, path: str, parameters: str) -> None:
    for media_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json"):
        for method in ("GET", "POST"):
            kind = f"{media_type}; {parameters}"
            assert server.get(path, method=method, body=b"a=%ff\xff.\xe4", Content_Type=kind).status < 500


def test_a_client_that_sends_more_than_we_read_still_gets_our_refusal(server: Server) -> None:
    for _ in range(5):
        answer = server.get("/v2/projects", "no key of ours", method="POST", body=b" " * 1_500_000)
        assert (answer.status, answer.json) == (401, {"Message": "API key is invalid!"})


def test_a_key_header_sent_twice_is_ambiguous(server: Server, key: str) -> None:
    headers = f"Host: localhost\r\nX-API-KEY: {key}\r\nX-API-KEY: {key}\r\nConnection: close\r\n\r\n"
    assert _raw(server, b"GET /v2 HTTP/1.1\r\n" + headers.encode()).startswith(b"HTTP/1.1 400")


def test_no_key_appears_in_the_servers_output(server: Server, key: str) -> None:
    server.get(f"/v2?api_key={key}")
    server.get(f"/nowhere?api_key={key}", key)
    log = server.log.read_text()  # mail on the console may contain the masks of keys from other tests
    assert key not in log
    assert re.search(tokens.SCANNER_PATTERN, log) is None


def test_a_running_server_obeys_maintenance_within_a_second(
    installation: Installation, server: Server, key: str
) -> None:
    installation.run("maintenance", "on", "--message", "Back at noon.", "--retry-after", "60")
    wait_for(lambda: server.get("/v2", key).status == 503, "maintenance", 1)
    offline = server.get("/v2", key)
    installation.run("maintenance", "off")
    assert (offline.status, offline.json, offline.headers["retry-after"]) == (503, {"Message": "Back at noon."}, "60")
    wait_for(lambda: server.get("/v2", key).status == 200, "the end of maintenance", 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_is_prompt_and_loses_no_count(installation: Installation, number: int) -> None:
    key = installation.key(f"Stopped by {number}")
    with serving(installation, USAGE_FLUSH_SECONDS="60") as server:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: server.get("/v2", key).status, range(200)))
        took = server.stop(number)
    assert set(statuses) == {200}
    assert installation.requests_counted(f"Stopped by {number}") == 200
    assert took < 3
    assert server.process.returncode == 0


def test_a_stop_during_requests_answers_what_it_counts(installation: Installation) -> None:
    key = installation.key("Stopped midway")
    with serving(installation, USAGE_FLUSH_SECONDS="60") as server:

        def ask(_: int) -> int:
            try:
                return server.get("/v2", key).status
            except OSError:
                return 0

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, number) for number in range(400)]
            wait_for(lambda: sum(future.done() for future in asked) > 50, "some answers")
            server.stop()
            answered = sum(future.result() == 200 for future in asked)
    assert 50 < answered <= installation.requests_counted("Stopped midway") <= answered + 8


def test_a_key_that_is_seen_over_plain_http_just_before_a_stop_is_flagged(installation: Installation) -> None:
    key = installation.key("Seen in the clear")
    with serving(installation, USAGE_FLUSH_SECONDS="60", ALLOW_HTTP="0") as server:
        assert server.get("/v2", key).status == 403
        server.stop()
    with closing(sqlite3.connect(installation.database)) as connection:
        query = "SELECT exposed_at IS NOT NULL FROM apikeys_apikey WHERE name = 'Seen in the clear'"
        assert connection.execute(query).fetchone() == (1,)


def test_a_killed_worker_is_replaced(installation: Installation, key: str) -> None:
    with serving(installation) as server:
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_for(server.is_up, "another worker")
        assert server.get("/v2", key).status == 200


def test_a_port_in_use_is_reported(installation: Installation, server: Server) -> None:
    second = installation.manage("serve", PORT=str(server.port))
    assert second.returncode == 1
    assert second.stderr == f"CommandError: Can't serve on 127.0.0.1:{server.port}: Address already in use.\n"


def test_missing_migrations_are_a_warning_only(tmp_path: Path) -> None:
    with serving(Installation(tmp_path, {"ALLOW_HTTP": "1"}), by_command=True) as server:
        assert server.get("/readyz").status == 503
        assert "unapplied migration(s)" in server.log.read_text()


@pytest.fixture
def _serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a test's settings are not refused, `serve` replaces its process."""
    monkeypatch.setattr(os, "execv", lambda *command: pytest.fail("It starts the server."))


@pytest.mark.usefixtures("_serves_nothing")
def test_several_processes_without_redis_do_not_start(settings: Settings) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 2, ""
    with pytest.raises(CommandError, match="WEB_CONCURRENCY=2 needs REDIS_URL"):
        call_command("serve", skip_checks=False)


@pytest.mark.usefixtures("_serves_nothing")
def test_a_database_in_memory_is_not_served(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", ":memory:")
    with pytest.raises(CommandError, match="DATABASE_URL is an in-memory database"):
        call_command("serve")


def _with_a_long_audit_log(name: str) -> tuple[str, str]:
    """The slug of a new account and a cookie of its Owner. Its export has 20 MB."""
    account = factories.make_account(name, factories.make_user(f"{name}@example.com"))
    changes = {"name": ["x" * 5000, "y" * 5000]}
    AuditEvent.objects.bulk_create(
        (AuditEvent(account=account, event="project.changed", changes=changes) for _ in range(2000)), batch_size=500
    )
    client = Client()
    client.force_login(account.memberships.get().user)
    return account.slug, f"sessionid={client.session.session_key}"


def test_stalled_readers_of_exports_do_not_delay_others(installation: Installation, key: str) -> None:
    with installation.connected():
        readers = [_with_a_long_audit_log(name) for name in ("first", "second")] * 3
    with serving(installation, THREADS="1") as server, ExitStack() as stalled:
        for slug, cookie in readers:
            connection = stalled.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            path = f"/accounts/{slug}/settings/audit-log/export.json"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
            assert select.select([connection], [], [], 10)[0]
        started = time.monotonic()
        assert {server.get("/v2", key).status for _ in range(20)} == {200}
        assert time.monotonic() - started < 2
        refused = server.get(path, cookie=cookie)
        assert (refused.status, refused.headers["retry-after"]) == (503, "30")


@pytest.mark.services
@pytest.mark.skipif(
    "REDIS_URL" not in os.environ and "REQUIRE_SERVICES" not in os.environ, reason="REDIS_URL names no Redis"
)
def test_two_processes_on_one_redis_let_exactly_the_limit_pass(installation: Installation) -> None:
    limited = installation.key("Limited", "read", "--rate-limit", "100/hour")
    with serving(installation, WEB_CONCURRENCY="2", REDIS_URL=os.environ["REDIS_URL"]) as server:
        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(lambda _: server.get("/v2", limited).status, range(300)))
        assert len(server.workers()) >= 2
    assert (statuses.count(200), statuses.count(429)) == (100, 200)
    assert installation.requests_counted("Limited") == 300
