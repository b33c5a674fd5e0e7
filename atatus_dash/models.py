"""What needs both apps, or neither."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from accounts import fields


class Maintenance(models.Model):
    """Whether we are offline on purpose. One row; `manage.py maintenance on|off` writes it."""

    MESSAGE = "We are offline due to maintenance work. Please try again later."
    RETRY_AFTER = 300  # seconds
    #: A day, in seconds: whoever is asked to wait for longer is asked in vain.
    LONGEST_RETRY_AFTER = 24 * 60 * 60

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    on = models.BooleanField(default=False)
    message = fields.LineField(max_length=300, default=MESSAGE)
    retry_after = models.PositiveIntegerField(default=RETRY_AFTER, help_text="Seconds.")
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Maintenance"]] = models.Manager()

    class Meta:
        verbose_name_plural = "maintenance"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="maintenance_one_row")]

    def __str__(self) -> str:
        return "On" if self.on else "Off"
