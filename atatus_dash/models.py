"""The state of this installation: maintenance mode and scheduled jobs."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from accounts import fields

#: A run of a job that takes longer is reported as hanging.
MAX_RUN = timedelta(hours=1)


class Maintenance(models.Model):
    """Maintenance mode, in one row. `manage.py maintenance on|off` and Django admin change it."""

    MESSAGE = "We are offline due to maintenance work. Please try again later."
    RETRY_AFTER = 300  # seconds
    #: A day, in seconds. Clients don't wait longer.
    MAX_RETRY_AFTER = 24 * 60 * 60

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    on = models.BooleanField(default=False)
    guard = models.BooleanField(
        "for services too",
        default=False,
        db_default=False,
        help_text="Gateways get a 503, so the services behind them are offline too.",
    )
    message = fields.LineField(max_length=300, default=MESSAGE)
    retry_after = models.PositiveIntegerField(default=RETRY_AFTER, help_text="Seconds.")
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Maintenance"]] = models.Manager()

    class Meta:
        verbose_name_plural = "maintenance"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="maintenance_one_row")]

    def __str__(self) -> str:
        if not self.on:
            return "Off"
        return "On, for services too" if self.guard else "On"


class ScheduledJobQuerySet(models.QuerySet["ScheduledJob"]):
    def free(self) -> "ScheduledJobQuerySet":
        """Jobs that no process runs. Compares with the database's clock, because the clocks of nodes differ."""
        return self.filter(models.Q(leased_until=None) | models.Q(leased_until__lt=Now()))

    def with_clock(self) -> "ScheduledJobQuerySet":
        """With the database's time as `read_at`, for the properties."""
        return self.annotate(read_at=Now())


class ScheduledJob(models.Model):
    """When a job of `jobs.JOBS` runs next, which process runs it, and the result of its last run.

    A process that runs the job holds a lease until `leased_until`, and renews it during the run. `holder` names the
    process and the run, and is kept after the run. All times are the database's.
    """

    name = fields.LineField(primary_key=True, max_length=50)
    next_run_at = models.DateTimeField(default=timezone.now)
    holder = fields.LineField(max_length=200, blank=True)
    leased_until = models.DateTimeField(null=True)
    running_since = models.DateTimeField(null=True)
    last_run_at = models.DateTimeField(null=True)
    last_duration = models.DurationField(null=True)
    last_result = fields.LineField(max_length=300, blank=True)
    last_error = fields.LineField(max_length=300, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Since the last run that succeeded.")

    objects: ClassVar[models.Manager["ScheduledJob"]] = ScheduledJobQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_running(self) -> bool:
        return self.leased_until is not None and self.leased_until >= self._now

    @property
    def is_due(self) -> bool:
        return self.is_late(timedelta())

    def is_late(self, by: timedelta) -> bool:
        """Whether the job is overdue by at least that time and no process runs it."""
        return self.next_run_at <= self._now - by and not self.is_running

    @property
    def is_hanging(self) -> bool:
        """Whether a run takes so long that it probably hangs. A run that hangs still renews its lease."""
        return self.is_running and self.running_since is not None and self.running_since <= self._now - MAX_RUN

    @property
    def _now(self) -> datetime:
        return cast(datetime, cast(Any, self).read_at)  # of `with_clock`

    @property
    def node(self) -> str:
        """The host and the process of the current run, or of the last one."""
        return self.holder.rpartition(":")[0]
