"""The audit log's vocabulary and its one way in.

An event is recorded in the transaction of what it records, keeps the labels of its actor and target, and
is never changed afterwards.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction

from .policy import Actor

if TYPE_CHECKING:
    from .models import AuditEvent


class Event(StrEnum):
    """What happened, as past-tense `subject.verb`."""

    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_SUSPENDED = "account.suspended"
    ACCOUNT_RESUMED = "account.resumed"
    MEMBER_ADDED = "member.added"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REMOVED = "member.removed"
    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_DELETED = "project.deleted"
    DEPLOYMENT_CREATED = "deployment.created"
    DEPLOYMENT_DELETED = "deployment.deleted"
    API_KEY_CREATED = "api_key.created"
    API_KEY_IMPORTED = "api_key.imported"
    API_KEY_CHANGED = "api_key.changed"
    API_KEY_WIDENED = "api_key.widened"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_DISABLED = "api_key.disabled"
    API_KEY_ENABLED = "api_key.enabled"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_EXPIRED = "api_key.expired"
    API_KEY_EXPOSED = "api_key.exposed"
    API_KEY_REPORTED = "api_key.reported"


class Target(NamedTuple):
    """What it was done to: a kind, its public id and the name it had then."""

    kind: str
    id: str
    label: str


def record(
    *, actor: Actor, event: Event, target: Target, changes: Mapping[str, tuple[Any, Any]] | None = None
) -> "AuditEvent":
    """Write one event. `changes` maps a field to its value before and after.

    Raises `TransactionManagementError` outside a transaction: an event stands or falls with its change.
    """
    from .models import AuditEvent

    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("An audit event belongs in the transaction of what it records.")
    return AuditEvent.objects.create(
        account_id=actor.account.id,
        event=event,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label,
        target_kind=target.kind,
        target_id=target.id,
        target_label=target.label,
        address=actor.address,
        request_id=actor.request_id,
        changes={field: list(values) for field, values in (changes or {}).items()},
    )
