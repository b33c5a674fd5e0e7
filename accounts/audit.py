"""The events of the audit log, and the functions that record them.

An event is recorded in the transaction of the change, keeps the labels of its actor and target, and never changes
afterwards.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from django.db import transaction

from .models import AuditEvent
from .policy import Actor
from .targets import Target


class Event(StrEnum):
    """What happened, as `subject.verb` in the past tense."""

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
    MEMBER_SIGNED_IN = "member.signed_in"
    MEMBER_SIGNED_OUT = "member.signed_out"
    MEMBER_SIGN_IN_FAILED = "member.sign_in_failed"
    MEMBER_TWO_FACTOR_FAILED = "member.two_factor_failed"
    MEMBER_REAUTHENTICATION_FAILED = "member.reauthentication_failed"
    MEMBER_LOCKED_OUT = "member.locked_out"
    MEMBER_PASSWORD_RESET_REQUESTED = "member.password_reset_requested"  # noqa: S105  # an event's name
    MEMBER_PASSWORD_RESET = "member.password_reset"  # noqa: S105  # an event's name
    MEMBER_PASSWORD_CHANGED = "member.password_changed"  # noqa: S105  # an event's name
    MEMBER_TWO_FACTOR_ENABLED = "member.two_factor_enabled"
    MEMBER_TWO_FACTOR_DISABLED = "member.two_factor_disabled"
    MEMBER_TWO_FACTOR_RESET = "member.two_factor_reset"
    MEMBER_PASSKEY_ADDED = "member.passkey_added"
    MEMBER_PASSKEY_REMOVED = "member.passkey_removed"
    MEMBER_RECOVERY_CODES_GENERATED = "member.recovery_codes_generated"
    MEMBER_EMAIL_ADDED = "member.email_added"
    MEMBER_EMAIL_CHANGED = "member.email_changed"
    MEMBER_EMAIL_REMOVED = "member.email_removed"
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
    SERVICE_CREATED = "service.created"
    SERVICE_CHANGED = "service.changed"
    SERVICE_WIDENED = "service.widened"
    SERVICE_DELETED = "service.deleted"

    @property
    def words(self) -> str:
        """What follows the actor in a sentence. `{}` stands for the target, if the sentence names it."""
        return _EVENT_WORDS[self]


def words(event: str) -> str:
    """As `Event.words`, for an event read from the log, which a newer version may have written.

    Two versions write to one database during an upgrade. For an unknown event, the words come from its name.
    """
    if event in _EVENT_WORDS:
        return Event(event).words
    subject, _, verb = event.rpartition(".")
    return " ".join(f"{verb} {subject}".replace("_", " ").split()) + " {}"


_EVENT_WORDS = {
    Event.ACCOUNT_CREATED: "created account {}",
    Event.ACCOUNT_CHANGED: "changed the settings of {}",
    Event.ACCOUNT_SUSPENDED: "suspended {}",
    Event.ACCOUNT_RESUMED: "resumed {}",
    Event.ACCOUNT_CLOSED: "closed {}",
    Event.ACCOUNT_REOPENED: "reopened {}",
    Event.OWNERSHIP_OFFERED: "offered the ownership to {}",
    Event.OWNERSHIP_WITHDRAWN: "withdrew the offer of ownership to {}",
    Event.OWNERSHIP_TAKEN: "accepted the ownership of the account",
    Event.MEMBER_INVITED: "invited {}",
    Event.INVITATION_SENT: "sent the invitation for {} again",
    Event.INVITATION_CHANGED: "changed the invitation for {}",
    Event.INVITATION_WITHDRAWN: "withdrew the invitation for {}",
    Event.MEMBER_JOINED: "joined the account",
    Event.MEMBER_LEFT: "left the account",
    Event.MEMBER_ADDED: "added {} as a member",
    Event.MEMBER_CHANGED: "changed the role of {}",
    Event.MEMBER_REMOVED: "removed {} from the account",
    Event.MEMBER_SIGNED_IN: "signed in",
    Event.MEMBER_SIGNED_OUT: "signed out",
    Event.MEMBER_SIGN_IN_FAILED: "failed to sign in as {}",
    Event.MEMBER_TWO_FACTOR_FAILED: "failed to enter the second factor of {}",
    Event.MEMBER_REAUTHENTICATION_FAILED: "failed to reauthenticate as {}",
    Event.MEMBER_LOCKED_OUT: "was locked out after failing to sign in as {} too often",
    Event.MEMBER_PASSWORD_RESET_REQUESTED: "requested a password reset for {}",
    Event.MEMBER_PASSWORD_RESET: "reset the password of {}",
    Event.MEMBER_PASSWORD_CHANGED: "changed the password of {}",
    Event.MEMBER_TWO_FACTOR_ENABLED: "added an authenticator app for {}",
    Event.MEMBER_TWO_FACTOR_DISABLED: "removed the authenticator app of {}",
    Event.MEMBER_TWO_FACTOR_RESET: "reset the two-factor authentication of {}",
    Event.MEMBER_PASSKEY_ADDED: "added a passkey for {}",
    Event.MEMBER_PASSKEY_REMOVED: "removed a passkey of {}",
    Event.MEMBER_RECOVERY_CODES_GENERATED: "generated recovery codes for {}",
    Event.MEMBER_EMAIL_ADDED: "added an e-mail address for {}",
    Event.MEMBER_EMAIL_CHANGED: "changed the e-mail address of {}",
    Event.MEMBER_EMAIL_REMOVED: "removed an e-mail address of {}",
    Event.PROJECT_CREATED: "created project {}",
    Event.PROJECT_CHANGED: "changed project {}",
    Event.PROJECT_DELETED: "deleted project {}",
    Event.DEPLOYMENT_CREATED: "recorded the deployment of {}",
    Event.DEPLOYMENT_DELETED: "deleted the deployment of {}",
    Event.API_KEY_CREATED: "created API key {}",
    Event.API_KEY_IMPORTED: "imported API key {}",
    Event.API_KEY_CHANGED: "changed API key {}",
    Event.API_KEY_WIDENED: "widened API key {}",
    Event.API_KEY_ROTATED: "rotated API key {}",
    Event.API_KEY_DISABLED: "disabled API key {}",
    Event.API_KEY_ENABLED: "enabled API key {}",
    Event.API_KEY_REVOKED: "revoked API key {}",
    Event.API_KEY_EXPIRED: "expired API key {}",
    Event.API_KEY_EXPOSED: "marked API key {} as exposed",
    Event.API_KEY_REPORTED: "reported API key {} as leaked",
    Event.SERVICE_CREATED: "created service {}",
    Event.SERVICE_CHANGED: "changed service {}",
    Event.SERVICE_WIDENED: "widened service {}",
    Event.SERVICE_DELETED: "deleted service {}",
}

_SUBJECT_LABELS = {
    "account": "Account",
    "member": "Members",
    "project": "Projects",
    "deployment": "Deployments",
    "api_key": "API keys",
    "service": "Services",
}


def _choices() -> list[tuple[str, list[tuple[str, str]]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for event in Event:
        subject, _, verb = event.partition(".")
        label = _SUBJECT_LABELS.get(subject, subject.replace("_", " ").capitalize())
        group = groups.setdefault(label, [(subject, f"{label}: all events")])
        group.append((event.value, f"{label}: {verb.replace('_', ' ')}"))
    return list(groups.items())


#: The choices of the log's filter `event`, in groups: a subject, which matches all of its events, or one event.
EVENT_CHOICES = _choices()

#: Sign-ins, sign-outs and failed attempts. They are frequent and would hide the changes.
SIGN_INS = frozenset(
    {
        Event.MEMBER_SIGNED_IN,
        Event.MEMBER_SIGNED_OUT,
        Event.MEMBER_SIGN_IN_FAILED,
        Event.MEMBER_TWO_FACTOR_FAILED,
        Event.MEMBER_REAUTHENTICATION_FAILED,
        Event.MEMBER_LOCKED_OUT,
        Event.MEMBER_PASSWORD_RESET_REQUESTED,
    }
)


#: A field and its value before and after.
Changes = Mapping[str, tuple[Any, Any]]


def record(*, actor: Actor, event: Event, target: Target, changes: Changes | None = None) -> AuditEvent:
    """Write one event. Raises the errors of `record_all`."""
    return record_all(actor=actor, event=event, entries=[(target, changes or {})])[0]


def record_all(*, actor: Actor, event: Event, entries: Iterable[tuple[Target, Changes]]) -> list[AuditEvent]:
    """Write one event for each target and its changes, in one statement.

    Raises `TransactionManagementError` outside a transaction: event and change are committed together or not at all.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("Record an audit event in the transaction of its change.")
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
            address=actor.context.address,
            request_id=actor.context.request_id,
            changes={field: list(values) for field, values in changes.items()},
        )
        for target, changes in entries
    )
