"""Scheduled jobs: each runs in one process of the installation, even if a process dies or freezes."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from accounts import outbox
from accounts.deletion import Checkpoint
from atatus_dash import jobs, scheduler
from atatus_dash.jobs import Job
from atatus_dash.models import ScheduledJob
from atatus_dash.scheduler import LEASE, Run, Scheduler, Stopped, claim, run_and_wait

from .servers import ROOT, Installation, install, serving, wait_for
from .smtp import mail_server

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


class Work:
    """The work of a job that waits until the test lets it finish."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def __call__(self, checkpoint: Checkpoint) -> dict[str, int]:
        self.runs += 1
        assert self.may_end.wait(10)
        checkpoint()
        if self.error:
            raise self.error
        return {"things done": self.runs, "others": 0}


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.may_end.set()


@pytest.fixture
def job(work: Work, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The only job. It is due."""
    job = Job("test", "Does things.", HOUR, work)
    monkeypatch.setattr(jobs, "JOBS", [job])
    scheduler.create_rows()
    return job


def row() -> Any:
    return ScheduledJob.objects.with_clock().get(pk="test")


def claimed(job: Job, **how: bool) -> Run:
    run = claim(job, **how)
    assert run
    return run


def let_the_lease_lapse() -> None:
    """Change the lease as if the holder had not renewed it for that time."""
    ScheduledJob.objects.update(leased_until=F("leased_until") - LEASE - timedelta(seconds=1))


def in_thread(act: Callable[[], object]) -> Any:
    """The result of the call, on a separate connection."""

    def acted() -> object:
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(acted).result()


def look(node: Scheduler) -> None:
    """Let a server look for due jobs once, and wait for those that it starts."""
    node.start_due_jobs()
    for thread in node.threads.values():
        thread.join(10)


# Claims -----------------------------------------------------------------------------------------


def test_only_one_of_many_processes_claims_a_job(job: Job) -> None:
    start = threading.Barrier(8)

    def compete(_: int) -> int:
        try:
            start.wait(10)
            return sum(claim(job) is not None for _ in range(20))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(compete, range(8))) == 1


COMPETE = """
import sys, time
import django
django.setup()
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from atatus_dash import jobs, scheduler
print("ready", flush=True)
sys.stdin.readline()
print(sum(scheduler.claim(jobs.PRUNE) is not None for _ in range(50)))
"""


def test_of_several_processes_one_claims_a_job() -> None:
    scheduler.create_rows()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPETE, str(connection.settings_dict["NAME"])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(process.communicate(timeout=30)[0].strip() for process in processes) == ["0", "1"]


def test_a_job_that_is_not_due_is_claimed_by_a_command_only(job: Job) -> None:
    ScheduledJob.objects.update(next_run_at=timezone.now() + HOUR)
    assert claim(job) is None
    assert claim(job, ignore_schedule=True)
    assert claim(job, ignore_schedule=True) is None


def test_a_lease_lasts_half_a_minute_by_the_databases_clock(job: Job) -> None:
    claimed(job)
    assert row().is_running
    left = row().leased_until - row().read_at
    assert LEASE - timedelta(seconds=5) < left <= LEASE
    assert abs(row().running_since - row().read_at) < timedelta(seconds=5)


def test_the_job_of_a_process_that_died_is_taken_over_when_its_lease_expires(job: Job, work: Work) -> None:
    dead = claimed(job)
    assert claim(job) is None
    let_the_lease_lapse()
    work.may_end.set()
    look(Scheduler())
    assert row().holder != dead.holder
    assert (row().last_result, work.runs) == ("Things done: 1", 1)


def test_a_lease_is_renewed_while_the_job_runs(job: Job, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "RENEW_SECONDS", 0.05)
    node = Scheduler()
    node.start_due_jobs()
    wait_for(lambda: work.runs, "the job")
    for _ in range(3):
        let_the_lease_lapse()
        wait_for(lambda: row().is_running, "the renewal", 5)
    work.may_end.set()
    look(node)
    assert (row().leased_until, row().running_since, row().last_result) == (None, None, "Things done: 1")


# Frozen holders ---------------------------------------------------------------------------------


def test_a_holder_that_froze_writes_no_result_over_the_next_ones(
    job: Job, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = claimed(job)
    let_the_lease_lapse()
    work.may_end.set()
    look(Scheduler())
    before = ScheduledJob.objects.values().get()
    work.error = RuntimeError("too late")
    with pytest.raises(RuntimeError):
        frozen.work()
    work.error = None
    Run(job, frozen.holder, time.monotonic(), ScheduledJob(failures=1)).work()
    assert ScheduledJob.objects.values().get() == before
    assert "the result of this run is dropped" in caplog.text


def test_a_holder_that_froze_stops_at_its_next_step(job: Job, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = claimed(job)
    let_the_lease_lapse()
    other = claimed(job)
    monkeypatch.setattr(frozen, "_renewed", time.monotonic() - 31)
    work.may_end.set()
    with pytest.raises(Stopped, match="taken the job test over"):
        frozen.work()
    assert (row().holder, row().is_running) == (other.holder, True)


def test_a_frozen_holder_continues_if_its_job_was_not_claimed(job: Job, work: Work) -> None:
    frozen = claimed(job)
    let_the_lease_lapse()
    frozen._renewed -= 31
    work.may_end.set()
    assert frozen.work() == {"things done": 1, "others": 0}
    assert row().last_result == "Things done: 1"


def test_a_holder_that_continues_renews_its_lease_before_its_next_step(job: Job) -> None:
    seen: list[Run | None] = []

    def work(checkpoint: Checkpoint) -> dict[str, int]:
        let_the_lease_lapse()
        run._renewed -= 31
        checkpoint()
        seen.append(claim(job))
        return {}

    run = claimed(job._replace(work=work))
    run.work()
    assert seen == [None]


def test_a_process_that_freezes_while_it_claims_a_job_takes_the_time_from_before(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monotonic, read = time.monotonic, ScheduledJob.objects.get

    def freeze(**which: Any) -> ScheduledJob:
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 31)
        return read(**which)

    with monkeypatch.context() as patch:
        patch.setattr(ScheduledJob.objects, "get", freeze)
        frozen = claimed(job)
    let_the_lease_lapse()
    other = claimed(job)
    with pytest.raises(Stopped, match="taken the job test over"):
        frozen._checkpoint()
    assert row().holder == other.holder


def test_a_renewal_after_the_end_of_a_run_has_no_effect(job: Job, work: Work) -> None:
    work.may_end.set()
    run = claimed(job)
    run.work()
    run._renew()
    assert (row().leased_until, row().is_running) == (None, False)


def test_a_renewal_that_is_too_late_stops_the_run(
    job: Job, work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(scheduler, "RENEW_SECONDS", 0.05)
    node = Scheduler()
    node.start_due_jobs()
    wait_for(lambda: work.runs, "the job")
    ScheduledJob.objects.update(holder="another:1:abc")
    lease = f"lease-{job.name}"
    wait_for(lambda: lease not in {thread.name for thread in threading.enumerate()}, "the end of the renewals")
    work.may_end.set()
    look(node)
    assert (row().holder, row().last_run_at, row().is_running) == ("another:1:abc", None, True)
    assert "ended early: Another process has taken the job test over." in caplog.text


# Intervals and results --------------------------------------------------------------------------


def test_one_of_all_nodes_runs_the_job_once_per_interval(job: Job, work: Work) -> None:
    work.may_end.set()
    nodes = [Scheduler(), Scheduler(), Scheduler()]
    for node in nodes * 2:
        look(node)
    assert work.runs == 1
    assert abs(row().next_run_at - row().read_at - HOUR) < timedelta(seconds=5)
    ScheduledJob.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
    for node in nodes * 2:
        look(node)
    assert work.runs == 2


def test_a_run_is_recorded_with_its_time_duration_node_and_result(job: Job, work: Work) -> None:
    node = Scheduler()
    node.start_due_jobs()
    wait_for(lambda: work.runs, "the job")
    time.sleep(0.1)
    work.may_end.set()
    look(node)
    noted = row()
    assert timedelta(seconds=0.1) <= noted.last_duration < timedelta(seconds=5)
    assert abs(noted.last_run_at - noted.read_at) < timedelta(seconds=5)
    assert (noted.last_result, noted.last_error, noted.failures) == ("Things done: 1", "", 0)
    assert noted.node.count(":") == 1


def test_a_long_job_does_not_delay_others(job: Job, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Job("quick", "Is quick.", HOUR, lambda checkpoint: {})
    monkeypatch.setattr(jobs, "JOBS", [job, quick])
    node = Scheduler()
    node.start_due_jobs()  # adds the row
    node.start_due_jobs()
    wait_for(lambda: ScheduledJob.objects.get(pk="quick").last_result == "Nothing to do", "the quick job")
    assert row().is_running
    work.may_end.set()
    look(node)


def test_a_process_does_not_run_a_job_twice_at_once_although_its_lease_expired(job: Job, work: Work) -> None:
    node = Scheduler()
    node.start_due_jobs()
    wait_for(lambda: work.runs, "the job")
    let_the_lease_lapse()
    node.start_due_jobs()
    work.may_end.set()
    look(node)
    assert work.runs == 1


def test_a_stop_releases_the_job_immediately(job: Job, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        def is_alive(self) -> bool:
            return False

    work.may_end.set()
    run = claimed(job)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "main_thread", Ended)
        with pytest.raises(Stopped, match="The server stops"):
            run.work()
    assert (row().is_due, row().last_run_at, row().last_error) == (True, None, "")
    look(Scheduler())
    assert row().last_result == "Things done: 2"


# Failures ---------------------------------------------------------------------------------------


def test_a_job_that_fails_is_retried_after_longer_and_longer_waits(job: Job, work: Work) -> None:
    work.may_end.set()
    work.error = RuntimeError("no such\nthing")
    waits = []
    for _ in range(6):
        ScheduledJob.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
        look(Scheduler())
        waits.append(round((row().next_run_at - row().read_at).total_seconds() / 60))
    assert waits == [1, 5, 15, 60, 60, 60]
    assert (row().failures, row().last_error, row().last_result) == (6, "RuntimeError: no such thing", "")
    work.error = None
    ScheduledJob.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
    look(Scheduler())
    assert (row().failures, row().last_error, row().last_result) == (0, "", "Things done: 7")


def test_a_job_waits_no_longer_after_a_failure_than_after_a_success(job: Job, work: Work) -> None:
    work.may_end.set()
    work.error = RuntimeError("no")
    ScheduledJob.objects.update(failures=9)
    often = job._replace(interval=timedelta(seconds=10))
    with pytest.raises(RuntimeError):
        claimed(often).work()
    assert row().next_run_at - row().read_at <= timedelta(seconds=10)


def test_an_outage_is_logged_once_whichever_nodes_run_the_job(
    job: Job, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    work.may_end.set()
    work.error = RuntimeError("no such thing")
    for _ in range(3):
        ScheduledJob.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
        look(Scheduler())
    work.error = None
    for _ in range(2):
        ScheduledJob.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
        look(Scheduler())
    told = [record.getMessage() for record in caplog.records if record.name == "atatus_dash.scheduler"]
    assert told == ["The job test fails and is tried again: no such thing", "The job test works again."]
    assert "Traceback" in caplog.text


def test_another_error_is_logged_too_but_not_each_mail_failure(
    job: Job, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.may_end.set()
    for work.error in (
        outbox.ServerUnreachable("away"),
        outbox.ServerUnreachable("busy"),
        RuntimeError("a"),
        RuntimeError("a"),
    ):
        ScheduledJob.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
        look(Scheduler())
    told = [record.getMessage() for record in caplog.records if record.name == "atatus_dash.scheduler"]
    assert told == [f"The job test fails and is tried again: {what}" for what in ("away", "a")]
    assert "RuntimeError: a" in caplog.text


def test_an_error_with_a_key_is_shown_without_it(job: Job, work: Work) -> None:
    from .test_secrets import CANARY

    work.may_end.set()
    work.error = RuntimeError(CANARY + "x" * 400)
    look(Scheduler())
    assert CANARY not in row().last_error
    assert len(row().last_error) == 300


def test_without_a_database_nothing_is_recorded_and_the_lease_expires(
    job: Job, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.may_end.set()
    work.error = OperationalError("the connection is lost")
    run = claimed(job)

    def fail(**values: object) -> bool:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(run, "_write", fail)
    with pytest.raises(OperationalError):
        run.work()
    assert (row().is_running, row().failures) == (True, 0)


# Commands ---------------------------------------------------------------------------------------


def test_a_command_waits_while_a_server_runs_the_job_and_then_runs_it(job: Job, work: Work) -> None:
    node = Scheduler()
    node.start_due_jobs()
    wait_for(lambda: work.runs, "the job")
    told: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(in_thread, lambda: run_and_wait(job, told.append))
        wait_for(lambda: told, "the command")
        assert told == [f"{row().node} is running the job test. Waiting until it is done."]
        work.may_end.set()
        assert command.result(10) == {"things done": 2, "others": 0}
    assert row().last_result == "Things done: 2"


def test_after_a_command_the_servers_wait_for_an_interval(job: Job, work: Work) -> None:
    work.may_end.set()
    ScheduledJob.objects.update(next_run_at=timezone.now() + HOUR)
    run_and_wait(job, print)
    look(Scheduler())
    assert work.runs == 1


def test_a_command_that_is_interrupted_frees_the_job(job: Job, work: Work) -> None:
    def interrupted(checkpoint: Checkpoint) -> dict[str, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_and_wait(job._replace(work=interrupted), print)
    assert row().is_due


def test_prune_and_send_notices_record_their_runs(settings: Settings) -> None:
    call_command("prune", stdout=StringIO())
    call_command("send_notices", stdout=StringIO())
    assert [each.last_result for each in ScheduledJob.objects.all()] == ["Nothing to do"] * 3
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    outbox.add("a@example.com", "Hello", "Hello", kind="test", lifetime=HOUR)
    with pytest.raises(CommandError):
        call_command("send_notices", stdout=StringIO())
    mail = ScheduledJob.objects.get(pk="mail")
    assert (mail.failures, mail.last_result) == (1, "")
    assert mail.last_error.startswith("The mail server can't be reached: ")


# A real server ----------------------------------------------------------------------------------


def add_mail(installation: Installation) -> None:
    """As a command does, in another process than the server's."""
    with installation.connected():
        outbox.add("a@example.com", "Hello", "Hello", kind="test", lifetime=timedelta(days=1))


def ask(installation: Installation, statement: str) -> Any:
    """The first row of the answer, if there is one."""
    with closing(sqlite3.connect(installation.database, timeout=10)) as database, database:
        return database.execute(statement).fetchone()


def test_a_server_runs_every_job_by_itself_on_the_first_start_and_when_it_is_due(tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1")

    def have_run() -> bool:
        ran = "SELECT count(*) FROM atatus_dash_scheduledjob WHERE last_result <> ''"
        return bool(ask(installation, ran) == (len(jobs.JOBS),))

    with mail_server() as mail, serving(installation, EMAIL_URL=f"smtp://127.0.0.1:{mail.port}"):
        wait_for(have_run, "the first run")
        add_mail(installation)
        ask(installation, "UPDATE atatus_dash_scheduledjob SET next_run_at = '2026-01-01', last_result = ''")
        wait_for(have_run, "the second run")
        assert mail.recipients == ["a@example.com"]


def test_a_job_that_hangs_does_not_delay_a_stop_and_is_run_by_the_next_server(tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1")
    add_mail(installation)
    with mail_server(is_silent=True) as mail:
        with serving(installation, EMAIL_URL=f"smtp://127.0.0.1:{mail.port}") as server:
            wait_for(lambda: mail.connections, "the job")
            assert server.stop() < 8
        assert "Traceback" not in server.log.read_text()
    half_a_minute_later = "UPDATE atatus_dash_scheduledjob SET leased_until = '2026-01-01' WHERE leased_until <> ''"
    ask(installation, half_a_minute_later)
    with mail_server() as mail, serving(installation, EMAIL_URL=f"smtp://127.0.0.1:{mail.port}"):
        wait_for(lambda: mail.taken, "the mail")
        assert mail.recipients == ["a@example.com"]


# Existing jobs ----------------------------------------------------------------------------------


def test_every_job_has_a_unique_name_that_fits_its_row() -> None:
    names = [job.name for job in jobs.JOBS]
    assert len(set(names)) == len(names)
    scheduler.create_rows()
    scheduler.create_rows()
    for each in ScheduledJob.objects.all():
        each.full_clean(exclude=["leased_until", "running_since", "last_run_at", "last_duration"])


@pytest.mark.parametrize("name", [job.name for job in jobs.JOBS])
def test_every_job_runs_and_reports_what_it_did(name: str) -> None:
    scheduler.create_rows()
    job = next(job for job in jobs.JOBS if job.name == name)
    result = claimed(job).work()
    assert result
    assert set(result.values()) == {0}
    assert ScheduledJob.objects.get(pk=name).last_result == "Nothing to do"
