"""The page *Operations* of Django admin: what it shows, and its actions."""

from datetime import timedelta
from typing import NamedTuple

from django.contrib.admin.models import CHANGE, LogEntry

from accounts import times
from accounts.errors import InvalidState, NotFound
from accounts.models import User

from . import jobs, scheduler
from .jobs import Job
from .models import ScheduledJob

UNITS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}


class JobStatus(NamedTuple):
    job: Job
    #: None until a server or a command has created the row.
    row: ScheduledJob | None

    @property
    def is_late(self) -> bool:
        """Whether a run hangs, or is overdue by more than the job's interval."""
        return self.row is not None and (self.row.is_late(by=self.job.interval) or self.row.is_hanging)

    @property
    def problem(self) -> str:
        """What is wrong, to follow the job's name. Empty if nothing is wrong."""
        if self.row is None:
            return ""
        if self.row.failures:
            return f"fails: {self.row.last_error}"
        if not self.is_late:
            return ""
        if self.row.running_since and self.row.is_hanging:
            since = times.format_moment(self.row.running_since)
            return f"has been running on {self.row.node} since {since}: restart that server."
        return f"has been due since {times.format_moment(self.row.next_run_at)}."

    @property
    def every(self) -> str:
        """The interval, to follow the word "every": `15 minutes`, or `day`."""
        for unit, length in UNITS.items():
            number, rest = divmod(self.job.interval, length)
            if number and not rest:
                return unit if number == 1 else f"{number} {unit}s"
        return f"{self.job.interval.total_seconds():g} seconds"

    @property
    def took(self) -> str:
        return duration(self.row.last_duration) if self.row and self.row.last_duration is not None else ""


def scheduled_jobs() -> list[JobStatus]:
    rows = {row.name: row for row in ScheduledJob.objects.with_clock()}
    return [JobStatus(job, rows.get(job.name)) for job in jobs.JOBS]


def run_now(name: str, *, by: User) -> Job:
    """Let a server run the job within a second, and record the operator in Django admin's log.

    Raises `NotFound`, or `InvalidState` for a job that is running.
    """
    job = next((job for job in jobs.JOBS if job.name == name), None)
    if job is None:
        raise NotFound("This job no longer exists.")
    if not scheduler.run_soon(job):
        raise InvalidState(f"{job.title} is already running.")
    row = ScheduledJob.objects.get(pk=name)
    LogEntry.objects.log_actions(by.pk, [row], CHANGE, change_message="Run now", single_object=True)
    return job


def duration(length: timedelta) -> str:
    """How long something took: `4 ms`, `1.4 s`, `2 min 5 s`."""
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
