"""Answers to requests with an `Idempotency-Key`."""

from datetime import timedelta
from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

from accounts import fields
from accounts.models import HasAccountId

from .keys import APIKey

#: How long the answer to a request is repeated.
ANSWERS_KEPT = timedelta(days=1)


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(api_key__account_id=account.id)

    def current(self) -> Self:
        """Rows whose answer is still repeated. `prune` deletes the others."""
        return self.filter(created_at__gt=timezone.now() - ANSWERS_KEPT)

    def outdated(self) -> Self:
        return self.filter(created_at__lte=timezone.now() - ANSWERS_KEPT)


class IdempotencyKey(models.Model):
    """An `Idempotency-Key` that an API key sent, and the answer to its request.

    `digest` is the SHA-256 of its value, which may be any text. `fingerprint` is the SHA-256 of the request. `body` is
    the answer's JSON without its secrets.
    """

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="idempotency_keys", db_index=False)
    digest = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = fields.TextField()
    location = fields.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[models.Manager["IdempotencyKey"]] = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("api_key", "digest", name="idempotency_key_once")]
        indexes = [
            models.Index(fields=["api_key", "-created_at"], name="idempotency_key_newest"),
            models.Index(fields=["created_at"], name="idempotency_key_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.api_key_id} at {self.created_at:%Y-%m-%d %H:%M}"
