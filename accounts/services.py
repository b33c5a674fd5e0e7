"""Every change to an account and what it owns: the pages, the API, the commands and admin all come here.

A service takes an actor, checks that it may, checks the state, changes and records, in one transaction.
"""

from typing import Any, TypedDict, Unpack

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from . import audit, policy
from .audit import Event
from .errors import AlreadyExists, Invalid, InvalidState
from .models import Account, Deployment, Membership, Project, User
from .policy import Actor, Permission, Role


def changed(instance: Any, **fields: Any) -> dict[str, tuple[Any, Any]]:
    """Set the fields on the instance and tell which really changed, as before and after."""
    changes = {}
    for field, value in fields.items():
        before = getattr(instance, field)
        if before != value:
            setattr(instance, field, value)
            changes[field] = (before, value)
    return changes


def _free_slug(name: str) -> str:
    """A slug that no account has: from the name, with a number where it is taken."""
    stem = slugify(name)[:50].strip("-") or "account"
    slug, number = stem, 1
    while Account.objects.filter(slug=slug).exists():
        number += 1
        slug = f"{stem}-{number}"
    return slug


@transaction.atomic
def create_account(*, name: str, owner: User, by: str = "System") -> Account:
    """Make an account with its Owner. `by` names in the audit log who made it: it has no actors of its own yet."""
    name = name.strip()
    if not name:
        raise Invalid("An account needs a name.", errors={"name": ["This field may not be blank."]})
    account = Account.objects.create(name=name, slug=_free_slug(name))
    membership = Membership.objects.create(account=account, user=owner, role=Role.OWNER.value)
    actor = policy.system(account.ref, by)
    audit.record(actor=actor, event=Event.ACCOUNT_CREATED, target=account.target)
    audit.record(
        actor=actor, event=Event.MEMBER_ADDED, target=membership.target, changes={"role": (None, membership.role)}
    )
    return account


class AccountSettings(TypedDict, total=False):
    """What may be changed of an account: its name and its key policy. Its slug, which links use, stays."""

    name: str
    max_key_lifetime_days: int | None
    accepts_query: bool
    accepts_body: bool
    revoke_exposed_keys: bool


@transaction.atomic
def change_account(*, actor: Actor, **settings: Unpack[AccountSettings]) -> Account:
    """Change settings of the actor's account. Keys that exist keep their expiry whatever the longest life becomes."""
    policy.require(actor, Permission.ACCOUNT_CHANGE)
    account = Account.objects.select_for_update().get(pk=actor.account.id)
    if changes := changed(account, **settings):
        account.save(update_fields=changes)
        audit.record(actor=actor, event=Event.ACCOUNT_CHANGED, target=account.target, changes=changes)
    return account


@transaction.atomic
def suspend_account(*, actor: Actor) -> Account:
    """The operator's brake: every key of the account answers 403 until it is resumed."""
    return _set_suspended(actor, Event.ACCOUNT_SUSPENDED)


@transaction.atomic
def resume_account(*, actor: Actor) -> Account:
    """Take a suspension back."""
    return _set_suspended(actor, Event.ACCOUNT_RESUMED)


def _set_suspended(actor: Actor, event: Event) -> Account:
    account = Account.objects.select_for_update().get(pk=actor.account.id)
    suspend = event == Event.ACCOUNT_SUSPENDED
    if suspend == (account.suspended_at is not None):
        raise InvalidState(f"{account.name} is {'already' if suspend else 'not'} suspended.")
    account.suspended_at = timezone.now() if suspend else None
    account.save(update_fields=["suspended_at"])
    audit.record(actor=actor, event=event, target=account.target)
    return account


@transaction.atomic
def add_member(*, actor: Actor, user: User, role: Role) -> Membership:
    """Make a person an Admin or a User of the actor's account. Raises `AlreadyExists` for a member."""
    policy.require(actor, Permission.MEMBER_CHANGE)
    _refuse_owner(role)
    Account.objects.select_for_update().get(pk=actor.account.id)
    if Membership.objects.for_account(actor.account).filter(user=user).exists():
        raise AlreadyExists(f"{user.email} is a member already.")
    membership = Membership.objects.create(account_id=actor.account.id, user=user, role=role.value)
    audit.record(
        actor=actor, event=Event.MEMBER_ADDED, target=membership.target, changes={"role": (None, membership.role)}
    )
    return membership


@transaction.atomic
def change_role(*, actor: Actor, membership: Membership, role: Role) -> Membership:
    """Give a member another role. The Owner's is changed by handing ownership over, and so is who becomes Owner."""
    policy.require(actor, Permission.MEMBER_CHANGE)
    membership = _locked_member(actor, membership)
    _refuse_owner(Role(membership.role))
    _refuse_owner(role)
    if changes := changed(membership, role=role.value):
        membership.save(update_fields=changes)
        audit.record(actor=actor, event=Event.MEMBER_CHANGED, target=membership.target, changes=changes)
    return membership


@transaction.atomic
def remove_member(*, actor: Actor, membership: Membership) -> None:
    """Take a person out of the actor's account. Their keys stay: those are the account's."""
    policy.require(actor, Permission.MEMBER_CHANGE)
    membership = _locked_member(actor, membership)
    _refuse_owner(Role(membership.role))
    audit.record(
        actor=actor, event=Event.MEMBER_REMOVED, target=membership.target, changes={"role": (membership.role, None)}
    )
    membership.delete()


def _locked_member(actor: Actor, membership: Membership) -> Membership:
    return Membership.objects.for_account(actor.account).select_for_update().get(pk=membership.pk)


def _refuse_owner(role: Role) -> None:
    if role == Role.OWNER:
        raise InvalidState("An account has exactly one Owner, who changes only by handing ownership over.")


@transaction.atomic
def create_project(*, actor: Actor, name: str) -> Project:
    policy.require(actor, Permission.PROJECT_CHANGE)
    project = Project.objects.create(account_id=actor.account.id, name=name)
    audit.record(actor=actor, event=Event.PROJECT_CREATED, target=project.target)
    return project


@transaction.atomic
def change_project(*, actor: Actor, project: Project, name: str) -> Project:
    policy.require(actor, Permission.PROJECT_CHANGE)
    project = Project.objects.for_account(actor.account).select_for_update().get(pk=project.pk)
    if changes := changed(project, name=name):
        project.save(update_fields=changes)
        audit.record(actor=actor, event=Event.PROJECT_CHANGED, target=project.target, changes=changes)
    return project


@transaction.atomic
def delete_project(*, actor: Actor, project: Project) -> None:
    """Delete a project with all its deployments."""
    policy.require(actor, Permission.PROJECT_CHANGE)
    audit.record(actor=actor, event=Event.PROJECT_DELETED, target=project.target)
    project.delete()


@transaction.atomic
def create_deployment(
    *,
    actor: Actor,
    project: Project,
    revision: str,
    release_stage: str = "production",
    changes: str = "",
    user: str = "",
) -> Deployment:
    """Record that a revision of a project went to a release stage."""
    policy.require(actor, Permission.DEPLOYMENT_CHANGE)
    deployment = Deployment.objects.create(
        project=project,
        revision=revision,
        release_stage=release_stage,
        changes=changes,
        user=user,
        recorded_by=actor.label,
    )
    audit.record(actor=actor, event=Event.DEPLOYMENT_CREATED, target=deployment.target)
    return deployment


@transaction.atomic
def delete_deployment(*, actor: Actor, deployment: Deployment) -> None:
    policy.require(actor, Permission.DEPLOYMENT_CHANGE)
    audit.record(actor=actor, event=Event.DEPLOYMENT_DELETED, target=deployment.target)
    deployment.delete()
