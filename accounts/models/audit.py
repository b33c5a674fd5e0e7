"""The audit log."""

from datetime import datetime
from typing import Any, ClassVar, Never, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from .. import fields, ids
from .accounts import Account
from .owned import AccountOwnedQuerySet


class AuditEventQuerySet(AccountOwnedQuerySet["AuditEvent"]):
    def matching(
        self,
        *,
        actor: str = "",
        event: str = "",
        target: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Self:
        """The filters of the page and of the API: actor, event, target and time.

        `actor` and `target` match an id, or a part of a label. The event `api_key` matches every `api_key.…`, as
        `audit.EVENT_CHOICES` says. `since` is included, `until` is not.
        """
        found = self
        if actor:
            found = found.filter(_named("actor", actor))
        if event:
            found = found.filter(models.Q(event=event) | models.Q(event__startswith=f"{event}."))
        if target:
            found = found.filter(_named("target", target))
        if since is not None:
            found = found.filter(at__gte=since)
        if until is not None:
            found = found.filter(at__lt=until)
        return found

    def delete_permanently(self) -> None:
        """Delete the events of an account after its grace period. Nothing else may call this."""
        self._raw_delete(self.db)

    def update(self, **fields: Any) -> Never:
        raise TypeError("Audit events are never changed.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("Audit events are never changed.")

    def delete(self) -> Never:
        raise TypeError("Audit events are never deleted.")


def _named(who: str, text: str) -> models.Q:
    """Look up one of our ids as a whole, by an index; compare other text with parts of labels too.

    Kept ids of projects count as other text, because the label of a deployment is its revision, which can look the
    same.
    """
    by_id = models.Q(**{f"{who}_id": text})
    return by_id if ids.is_id(text) else by_id | models.Q(**{f"{who}_label__icontains": text})


class AuditEvent(models.Model):
    """An audit log entry. Written by `audit.record`, kept as long as the account, never changed."""

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_event_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="audit_events")
    at = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=40)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=24, blank=True)
    actor_label = fields.LineField(max_length=254)
    target_kind = models.CharField(max_length=20)
    target_id = models.CharField(max_length=60)
    target_label = fields.LineField(max_length=254)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=128, blank=True)
    changes = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    objects: ClassVar[models.Manager["AuditEvent"]] = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["account", "-at", "-id"], name="audit_event_newest"),
            models.Index(fields=["-at", "-id"], name="audit_event_latest"),
            models.Index(fields=["event", "-at", "-id"], name="audit_event_by_event"),
            models.Index(fields=["target_id", "account", "-at", "-id"], name="audit_event_by_target"),
            models.Index(fields=["actor_id", "-at", "-id"], name="audit_event_by_actor"),
            models.Index(fields=["request_id"], name="audit_event_by_request"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_label} {self.event} {self.target_label}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit events are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("Audit events are never deleted.")
