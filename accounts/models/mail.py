"""The outbox's table."""

from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

from .. import fields


class OutgoingMailQuerySet(models.QuerySet["OutgoingMail"]):
    def due(self) -> Self:
        """Unexpired mail that is due."""
        now = timezone.now()
        return self.filter(due_at__lte=now, expires_at__gt=now).order_by("due_at", "id")


class OutgoingMail(models.Model):
    """One mail to one address. Written by `outbox.add`, sent by `outbox.deliver`, then kept without its text.

    `due_at` is the time of the next try, null once sent or given up. A process that sends it moves `due_at` forward.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        GIVEN_UP = "given_up", "Given up"

    recipient = fields.EmailField()
    subject = fields.LineField(max_length=400)
    kind = models.CharField(max_length=60)
    about = models.CharField(max_length=24, blank=True)
    text = fields.TextField(blank=True, editable=False)  # encrypted
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    due_at = models.DateTimeField("next try", null=True, default=timezone.now)
    tries = models.PositiveSmallIntegerField(default=0)
    error = fields.LineField("last error", max_length=300, blank=True)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["OutgoingMail"]] = OutgoingMailQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "outgoing mail"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="outgoing_mail_latest"),
            models.Index(fields=["recipient"], name="outgoing_mail_recipient"),
            models.Index(fields=["due_at", "id"], condition=models.Q(due_at__isnull=False), name="outgoing_mail_due"),
            models.Index(fields=["expires_at"], condition=~models.Q(text=""), name="outgoing_mail_with_text"),
            models.Index(fields=["kind", "about"], condition=~models.Q(text=""), name="outgoing_mail_about"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} to {self.recipient}"

    @property
    def state(self) -> State:
        if self.sent_at is not None:
            return self.State.SENT
        return self.State.WAITING if self.given_up_at is None else self.State.GIVEN_UP
