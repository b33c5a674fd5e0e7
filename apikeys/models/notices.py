"""Notices about keys, sent by mail."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from .keys import APIKey


class Notice(models.Model):
    """A mail about a key to the Owner and the Admins. The row is written with the change it reports, and mailed once.

    `sent_at` is when its mail was put into the outbox. `about` distinguishes notices of one kind, such as by the expiry
    that a warning is about.
    """

    class Kind(models.TextChoices):
        CREATED = "created", "was created"
        EXPIRING_WEEK = "expiring_week", "expires within 7 days"
        EXPIRING_DAY = "expiring_day", "expires within a day"
        EXPIRED = "expired", "has expired"
        EXPOSED = "exposed", "was sent over plain HTTP"
        REPORTED = "reported", "was reported as leaked"

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=20, choices=Kind)
    about = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[models.Manager["Notice"]] = models.Manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint("api_key", "kind", "about", name="notice_once")]
        indexes = [models.Index(fields=["created_at"], condition=models.Q(sent_at__isnull=True), name="notice_pending")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.get_kind_display()}"
