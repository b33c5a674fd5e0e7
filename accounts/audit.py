"""The audit log's vocabulary and its one way in.

An event is recorded in the transaction of what it records, keeps the labels of its actor and target, and
is never changed afterwards.
"""

from collections.abc import Iterable, Mapping
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
    ACCOUNT_CLOSED = "account.closed"
    ACCOUNT_REOPENED = "account.reopened"
    OWNERSHIP_OFFERED = "ownership.offered"
    OWNERSHIP_WITHDRAWN = "ownership.withdrawn"
    OWNERSHIP_TAKEN = "ownership.taken"
    MEMBER_INVITED = "member.invited"
    INVITATION_SENT = "invitation.sent"
    INVITATION_CHANGED = "invitation.changed"
    INVITATION_WITHDRAWN = "invitation.withdrawn"
    MEMBER_JOINED = "member.joined"
    MEMBER_LEFT = "member.left"
    MEMBER_ADDED = "member.added"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REMOVED = "member.removed"
    TWO_FACTOR_RESET = "two_factor.reset"
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

    @property
    def words(self) -> str:
        """What follows the actor in a sentence; `{}` stands for the target, where the sentence names it."""
        return _EVENT_WORDS[self]


_EVENT_WORDS = {
    Event.ACCOUNT_CREATED: "created account {}",
    Event.ACCOUNT_CHANGED: "changed the settings of {}",
    Event.ACCOUNT_SUSPENDED: "suspended {}",
    Event.ACCOUNT_RESUMED: "lifted the suspension of {}",
    Event.ACCOUNT_CLOSED: "closed {}",
    Event.ACCOUNT_REOPENED: "reopened {}",
    Event.OWNERSHIP_OFFERED: "offered the account to {}",
    Event.OWNERSHIP_WITHDRAWN: "ended the offer of the account to {}",
    Event.OWNERSHIP_TAKEN: "took over the account",
    Event.MEMBER_INVITED: "invited {}",
    Event.INVITATION_SENT: "sent {} a new invitation",
    Event.INVITATION_CHANGED: "changed the invitation of {}",
    Event.INVITATION_WITHDRAWN: "withdrew the invitation of {}",
    Event.MEMBER_JOINED: "joined the account",
    Event.MEMBER_LEFT: "left the account",
    Event.MEMBER_ADDED: "made {} a member",
    Event.MEMBER_CHANGED: "changed the role of {}",
    Event.MEMBER_REMOVED: "removed {} from the account",
    Event.TWO_FACTOR_RESET: "reset the two-factor authentication of {}",
    Event.PROJECT_CREATED: "created project {}",
    Event.PROJECT_CHANGED: "changed project {}",
    Event.PROJECT_DELETED: "deleted project {}",
    Event.DEPLOYMENT_CREATED: "recorded the deployment of {}",
    Event.DEPLOYMENT_DELETED: "deleted the deployment of {}",
    Event.API_KEY_CREATED: "created API key {}",
    Event.API_KEY_IMPORTED: "imported API key {}",
    Event.API_KEY_CHANGED: "changed API key {}",
    Event.API_KEY_WIDENED: "let API key {} do more",
    Event.API_KEY_ROTATED: "rotated API key {}",
    Event.API_KEY_DISABLED: "disabled API key {}",
    Event.API_KEY_ENABLED: "enabled API key {}",
    Event.API_KEY_REVOKED: "revoked API key {}",
    Event.API_KEY_EXPIRED: "saw API key {} expire",
    Event.API_KEY_EXPOSED: "exposed API key {}",
    Event.API_KEY_REPORTED: "named API key {} as leaked",
}


class Target(NamedTuple):
    """What it was done to: a kind, its public id and the name it had then."""

    kind: str
    id: str
    label: str


#: A field and its value before and after.
Changes = Mapping[str, tuple[Any, Any]]


def record(*, actor: Actor, event: Event, target: Target, changes: Changes | None = None) -> "AuditEvent":
    """Write one event. Raises as `record_all` does."""
    return record_all(actor=actor, event=event, deeds=[(target, changes or {})])[0]


def record_all(*, actor: Actor, event: Event, deeds: Iterable[tuple[Target, Changes]]) -> "list[AuditEvent]":
    """Write an event for each target, with what was changed of it, at one go.

    Raises `TransactionManagementError` outside a transaction: an event stands or falls with its change.
    """
    from .models import AuditEvent

    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("An audit event belongs in the transaction of what it records.")
    return AuditEvent.objects.bulk_create(
        AuditEvent(
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
            changes={field: list(values) for field, values in changes.items()},
        )
        for target, changes in deeds
    )
