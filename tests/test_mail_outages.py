"""Pages of a real server while its mail server works, refuses, is down or doesn't answer."""

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from .servers import PASSWORD, ROOT, Installation, Server, free_port, install, serving, wait_for
from .smtp import mail_server

OWNER, ANOTHER = "owner@example.com", "another battery staple"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("mail"), ALLOW_HTTP="1")


@pytest.fixture
def installation(installed: Installation, tmp_path: Path) -> Installation:
    shutil.copy(installed.database, tmp_path)
    return Installation(tmp_path, installed.environment)


@pytest.fixture
def mail_port() -> int:
    return free_port()


@pytest.fixture
def server(installation: Installation, mail_port: int) -> Iterator[Server]:
    with serving(installation, EMAIL_URL=f"smtp://127.0.0.1:{mail_port}") as found:
        yield found


class Person:
    """A browser without JavaScript. Every page has to answer before a mail server's time-out."""

    def __init__(self, server: Server) -> None:
        self.base = f"http://127.0.0.1:{server.port}"
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def open(self, path: str, **form: str) -> str:
        started = time.monotonic()
        data = None
        if form:
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.open(path))
            assert token
            data = urlencode({**form, "csrfmiddlewaretoken": token[1]}).encode()
        with self.opener.open(f"{self.base}{path}", data, timeout=10) as answer:  # raises for 4xx and 5xx
            html: str = answer.read().decode()
        assert time.monotonic() - started < 5
        return html


def use_every_page_that_mails(server: Server) -> None:
    person = Person(server)
    person.open("/auth/password/reset/", email=OWNER)
    person.open("/auth/login/", login=OWNER, password=PASSWORD)
    invited = person.open("/accounts/acme/settings/members/invite/", email="new@example.com", role="user")
    assert "new@example.com invited" in invited
    changed = person.open("/auth/password/change/", oldpassword=PASSWORD, password1=ANOTHER, password2=ANOTHER)
    assert "Password changed" in changed
    person.open("/auth/login/")


def let_a_minute_pass(installation: Installation) -> None:
    with closing(sqlite3.connect(installation.database)) as connection, connection:
        connection.execute("UPDATE accounts_outgoingmail SET due_at = created_at WHERE due_at IS NOT NULL")
        connection.execute("UPDATE atatus_dash_scheduledjob SET leased_until = '2026-01-01' WHERE leased_until <> ''")


def test_mail_is_sent_within_seconds(server: Server, mail_port: int) -> None:
    with mail_server(mail_port) as mail:
        Person(server).open("/auth/password/reset/", email=OWNER)
        wait_for(lambda: mail.taken, "the mail", 5)
        assert mail.recipients == [OWNER]
        assert "/auth/password/reset/key/" in mail.body()


@pytest.mark.parametrize("state", ["away", "silent"])
def test_pages_work_without_a_mail_server_and_mail_is_sent_later(
    installation: Installation, server: Server, mail_port: int, state: str
) -> None:
    if state == "silent":
        with mail_server(mail_port, is_silent=True) as mail:
            use_every_page_that_mails(server)
            wait_for(lambda: mail.connections, "the mail thread")
            assert mail.taken == []
            assert server.stop() < 10
    else:
        use_every_page_that_mails(server)
        wait_for(lambda: "The mail server can't be reached" in server.log.read_text(), "the log")
        server.stop()
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "/auth/password/reset/key/" not in log
    # A minute later, in two processes.
    let_a_minute_pass(installation)
    with mail_server(mail_port) as mail:
        commands = [
            subprocess.Popen(
                [sys.executable, "manage.py", "send_notices", "--skip-checks"],
                cwd=ROOT,
                env=installation.environ(EMAIL_URL=f"smtp://127.0.0.1:{mail_port}"),
                stdout=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        assert [command.wait(30) for command in commands] == [0, 0]
        subjects = sorted(message["Subject"] for _, message in mail.taken)
    told = [
        "New sign-in to your account",
        "Reset your password",
        "You are invited to join Acme",
        "Your password was changed",
    ]
    assert subjects == told
