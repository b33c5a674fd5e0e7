"""Two nodes on one PostgreSQL. One is killed or frozen while it sends mail, but all mail is sent, and only once."""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.utils import timezone

from accounts.models import OutgoingMail
from apikeys.models import Notice
from atatus_dash import scheduler
from atatus_dash.models import ScheduledJob

from . import factories
from .servers import Server, install, serving, wait_for
from .smtp import MailServer, mail_server

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(
        "REQUIRE_SERVICES" not in os.environ
        and not (os.environ.get("DATABASE_URL", "").startswith("postgres") and "REDIS_URL" in os.environ),
        reason="DATABASE_URL and REDIS_URL name no PostgreSQL and Redis",
    ),
]

ACCOUNTS = 40

DUE = "UPDATE atatus_dash_scheduledjob SET next_run_at = now()"
HALF_A_MINUTE_LATER = "UPDATE atatus_dash_scheduledjob SET leased_until = leased_until - interval '31 seconds'"
TEN_MINUTES_LATER = "UPDATE accounts_outgoingmail SET due_at = now() WHERE due_at IS NOT NULL"
LEFT = """
    SELECT (SELECT count(*) FROM accounts_outgoingmail WHERE due_at IS NOT NULL)
         + (SELECT count(*) FROM apikeys_notice WHERE sent_at IS NULL)
         + (SELECT count(*) FROM atatus_dash_scheduledjob WHERE leased_until > now() OR next_run_at < now())
"""


@pytest.fixture
def database() -> Iterator[str]:
    """A separate PostgreSQL database."""
    server, name = urlsplit(os.environ["DATABASE_URL"]), f"jobs_{os.getpid()}"
    admin = server._replace(path="/postgres").geturl()
    subprocess.run(["psql", admin, "-qc", f"CREATE DATABASE {name}"], check=True)
    yield server._replace(path=f"/{name}").geturl()
    subprocess.run(["psql", admin, "-qc", f"DROP DATABASE {name} WITH (FORCE)"], check=True)


def _create_keys() -> None:
    """In each account, one key that expires within a week and one that has expired. No notice has been sent."""
    for number in range(ACCOUNTS):
        account = factories.make_account(f"Account {number}", factories.make_user(f"owner{number}@example.com"))
        for days in (3, -1):
            factories.make_key(account, expires_at=timezone.now() + timedelta(days=days))
    Notice.objects.update(sent_at=timezone.now())
    OutgoingMail.objects.all().delete()
    scheduler.create_rows()
    ScheduledJob.objects.update(next_run_at=timezone.now() + timedelta(days=1))


class Nodes(ExitStack):
    """Each node has its own mail server, which shows what it sent. The node that sends first is killed or frozen."""

    FIRST = 10  # mails

    def __init__(self, database: str, directory: Path, how: str) -> None:
        super().__init__()
        self.database, self.how = database, how
        redis = os.environ["REDIS_URL"]
        self.installation = install(directory, DATABASE_URL=database, REDIS_URL=redis, ALLOW_HTTP="1")
        with self.installation.connected():
            _create_keys()
        self.mail: list[MailServer] = [self.enter_context(mail_server()) for _ in range(2)]
        self.nodes: list[Server] = []
        self.hit: int | None = None
        self.is_hit, self.may_go_on = threading.Event(), threading.Event()
        self.callback(self.may_go_on.set)
        for number, mail in enumerate(self.mail):
            mail.before_taking = lambda number=number: self._take(number)
            url = f"smtp://127.0.0.1:{mail.port}"
            self.nodes.append(self.enter_context(serving(self.installation, EMAIL_URL=url)))

    def sql(self, statement: str) -> Any:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def _take(self, number: int) -> bool:
        if self.hit is not None or len(self.mail[number].taken) < self.FIRST:
            return True
        self.hit = number
        node = self.nodes[number].process
        os.killpg(node.pid, signal.SIGKILL if self.how == "killed" else signal.SIGSTOP)
        if self.how == "killed":
            node.wait(10)
        self.is_hit.set()
        self.may_go_on.wait(60)
        return self.how == "frozen"

    def wake(self) -> None:
        """Let the frozen node continue, in the middle of the mail that it was sending."""
        assert self.hit is not None
        os.killpg(self.nodes[self.hit].process.pid, signal.SIGCONT)
        self.may_go_on.set()

    @property
    def told(self) -> Counter[tuple[str, str]]:
        return Counter((recipient, str(mail["Subject"])) for server in self.mail for recipient, mail in server.taken)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_each_mail_is_sent_once_although_a_node_is_killed_or_frozen(database: str, tmp_path: Path, how: str) -> None:
    with Nodes(database, tmp_path, how) as nodes:
        nodes.sql(DUE)
        assert nodes.is_hit.wait(30)
        nodes.sql(HALF_A_MINUTE_LATER)
        nodes.sql(DUE)
        # All but the mail that was being sent, which is still claimed.
        wait_for(lambda: nodes.told.total() >= 2 * ACCOUNTS - 1, "the other node", 60)
        assert nodes.told.total() == 2 * ACCOUNTS - 1
        if how == "frozen":
            nodes.wake()
        else:
            nodes.sql(TEN_MINUTES_LATER)
            nodes.sql(DUE)
        wait_for(lambda: nodes.sql(LEFT) == (0,), "the last mail", 60)
        nodes.sql(DUE)
        wait_for(lambda: nodes.sql(LEFT) == (0,), "the jobs once more")
        assert set(nodes.told.values()) == {1}
        assert len(nodes.told) == 2 * ACCOUNTS
        expired = "SELECT count(*), count(DISTINCT target_id) FROM accounts_auditevent WHERE event = 'api_key.expired'"
        assert nodes.sql(expired) == (ACCOUNTS, ACCOUNTS)
        assert nodes.sql("SELECT count(*) FROM atatus_dash_scheduledjob WHERE last_error <> ''") == (0,)
        for node in nodes.nodes:
            assert "Traceback" not in node.log.read_text()
