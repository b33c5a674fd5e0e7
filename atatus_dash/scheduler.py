"""Runs the jobs of `jobs.JOBS`, each in one process at a time, with any number of servers and commands.

A process claims a job with one UPDATE of a row that is free and due. On PostgreSQL and SQLite only one process
succeeds. It holds a lease of length `LEASE`, and renews it during the run. If the process dies or freezes, the lease
expires and another process claims the job, which is still due. Later writes of the first process change no row,
because the holder is another.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from django.db import Error, close_old_connections, connection
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts import outbox, redaction, validators
from apikeys import outages

from . import availability, jobs
from .jobs import Job
from .models import ScheduledJob

logger = logging.getLogger(__name__)

#: How long a lease lasts without a renewal. If a process dies, another claims its job after this time.
LEASE = timedelta(seconds=30)

#: Seconds between two renewals. Several may fail, or wait for a lock, before the lease expires.
RENEW_SECONDS = 5

#: The wait after a job's first failure, its second, and so on. It is never longer than the job's interval.
BACK_OFF = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60)]

#: Seconds between two attempts of a command to claim a job that another process runs.
WAIT_SECONDS = 0.5


class Stopped(Exception):
    """A run ended early, because the server stops or another process has claimed the job."""


class Run:
    """A run of a job, by the process that holds its lease.

    `started` is when the process tried to claim the job, in seconds of `time.monotonic`. `before` is the job's row with
    the result of the previous run.
    """

    def __init__(self, job: Job, holder: str, started: float, before: ScheduledJob) -> None:
        self.job = job
        self.holder = holder
        self._started = self._renewed = started
        self._before = before
        self._is_lost = False
        self._is_done = threading.Event()

    def work(self) -> dict[str, int]:
        """Run the job and record the result. Raises what the job raises, or `Stopped`."""
        try:
            with self._renewing():
                result = self.job.work(self._checkpoint)
        except (Stopped, KeyboardInterrupt):
            self._write(leased_until=None, running_since=None)  # still due: another process does the rest
            raise
        except Exception as error:
            with suppress(Error):  # without a database, the lease expires
                self._record_failure(error)
            raise
        self._record_success(result)
        return result

    def _checkpoint(self) -> None:
        """Raises `Stopped` if the server stops, or if another process claimed the job while this one was frozen."""
        if time.monotonic() - self._renewed > LEASE.total_seconds():
            self._renew()
        if self._is_lost:
            raise Stopped(f"Another process has taken the job {self.job.name} over.")
        if not threading.main_thread().is_alive():
            raise Stopped("The server stops.")

    @contextmanager
    def _renewing(self) -> Iterator[None]:
        """Renew the lease during the block, in a separate thread, because a step of the job may take long."""
        threading.Thread(target=self._keep_renewing, name=f"lease-{self.job.name}", daemon=True).start()
        try:
            yield
        finally:
            self._is_done.set()

    def _keep_renewing(self) -> None:
        outages.mark_background_thread()
        while not self._is_done.wait(RENEW_SECONDS) and not self._is_lost:
            with suppress(Error):  # tried again after RENEW_SECONDS
                self._renew()
            close_old_connections()
        connection.close()

    def _renew(self) -> None:
        """Extend the lease by `LEASE`, unless another process has claimed the job or the run has ended."""
        now = time.monotonic()
        self._is_lost = not self._row.filter(leased_until__isnull=False).update(leased_until=Now() + LEASE)
        self._renewed = now

    @property
    def _row(self) -> QuerySet[ScheduledJob]:
        return ScheduledJob.objects.filter(pk=self.job.name, holder=self.holder)

    def _record_success(self, result: dict[str, int]) -> None:
        self._finish(self.job.interval, last_result=result_text(result), last_error="", failures=0)
        if self._before.failures:
            logger.info("The job %s works again.", self.job.name)

    def _record_failure(self, error: Exception) -> None:
        """Record the failure. Log an outage once for all processes, and another error once until its text changes."""
        failures, said = self._before.failures, _error_text(error)
        is_known = isinstance(error, outbox.ServerUnreachable)
        if availability.is_outage(error):
            availability.unavailable(error)
        elif not failures or (not is_known and said != self._before.last_error):
            logger.warning(
                "The job %s fails and is tried again: %s", self.job.name, error, exc_info=None if is_known else error
            )
        wait = min(self.job.interval, BACK_OFF[min(failures, len(BACK_OFF) - 1)])
        self._finish(wait, last_result="", last_error=said, failures=failures + 1)

    def _finish(self, wait: timedelta, **became: object) -> None:
        is_ours = self._write(
            leased_until=None,
            running_since=None,
            last_run_at=F("running_since"),
            last_duration=timedelta(seconds=time.monotonic() - self._started),
            next_run_at=Now() + wait,
            **became,
        )
        if not is_ours:
            logger.warning(
                "Another process has taken the job %s over: the result of this run is dropped.", self.job.name
            )

    def _write(self, **values: object) -> bool:
        return bool(self._row.update(**values))


def claim(job: Job, *, ignore_schedule: bool = False) -> Run | None:
    """Take the job for this process if it is free and, unless `ignore_schedule`, due. None otherwise."""
    holder = f"{socket.gethostname()[:150]}:{os.getpid()}:{secrets.token_hex(8)}"
    started = time.monotonic()  # not after the lease begins
    rows = ScheduledJob.objects.free().filter(pk=job.name)
    if not ignore_schedule:
        rows = rows.filter(next_run_at__lte=Now())
    if not rows.update(holder=holder, leased_until=Now() + LEASE, running_since=Now()):
        return None
    return Run(job, holder, started, ScheduledJob.objects.get(pk=job.name))


def run_and_wait(job: Job, notify: Callable[[str], object]) -> dict[str, int]:
    """Run a job for a command, due or not. Notify and wait while another process runs it.

    Raises what the job raises.
    """
    create_rows()
    has_notified = False
    while True:
        if run := claim(job, ignore_schedule=True):
            with suppress(Stopped):  # another process has claimed it: wait for that one
                return run.work()
        elif not has_notified:
            node = ScheduledJob.objects.get(pk=job.name).node
            notify(f"{node} is running the job {job.name}. Waiting until it is done.")
            has_notified = True
        time.sleep(WAIT_SECONDS)


def run_soon(job: Job) -> bool:
    """Let a server run the job within a second. False if it is running already."""
    create_rows()
    return bool(ScheduledJob.objects.free().filter(pk=job.name).update(next_run_at=Now()))


def create_rows() -> None:
    """Add the rows of new jobs, due now."""
    missing = {job.name for job in jobs.JOBS}.difference(ScheduledJob.objects.values_list("pk", flat=True))
    ScheduledJob.objects.bulk_create(
        [ScheduledJob(name=name, next_run_at=Now()) for name in sorted(missing)], ignore_conflicts=True
    )


class Scheduler:
    """Runs due jobs in a server, each in its own thread, because one may take long.

    The threads are daemons: a stop waits a few seconds for them, and another process then does the rest of their work.
    """

    def __init__(self) -> None:
        self.threads: dict[str, threading.Thread] = {}

    def start_due_jobs(self) -> None:
        """Start the jobs that are due and free. One SELECT, unless there is something to do."""
        rows = {row.name: row for row in ScheduledJob.objects.with_clock()}
        if any(job.name not in rows for job in jobs.JOBS):
            create_rows()
            return
        for job in jobs.JOBS:
            is_ours = job.name in self.threads and self.threads[job.name].is_alive()
            if rows[job.name].is_due and not is_ours and (run := claim(job)):
                thread = threading.Thread(target=_run, args=[run], name=f"job-{job.name}", daemon=True)
                self.threads[job.name] = thread
                thread.start()


def _run(run: Run) -> None:
    outages.mark_background_thread()
    try:
        run.work()
    except Stopped as stopped:
        logger.info("The job %s ended early: %s", run.job.name, stopped)
    except Exception as error:
        logger.debug("The job %s failed: %s", run.job.name, error)  # `Run` has recorded it
    finally:
        connection.close()


def result_text(result: dict[str, int]) -> str:
    """What a run did, in one line for operators: `Mails sent: 3, keys that have expired: 1`."""
    text = ", ".join(f"{what}: {number:,}" for what, number in result.items() if number)
    return f"{text[0].upper()}{text[1:]}"[:300] if text else "Nothing to do"


def _error_text(error: Exception) -> str:
    """The error in one line."""
    text = str(error) if isinstance(error, outbox.ServerUnreachable) else f"{type(error).__name__}: {error}"
    return redaction.redact(validators.in_one_line(" ".join(text.split())))[:300]
