"""What every change needs: the actor and the row as they are now, locked, and what was changed of the row."""

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model

from .. import policy
from ..errors import NotFound, NotPermitted
from ..models import Account, Membership
from ..policy import Actor, Permission, Role

M = TypeVar("M", bound=Model)


def lock_actor(actor: Actor, permission: Permission) -> Actor:
    """The actor as it is now and stays until the transaction ends: each service begins with this.

    A key may have been revoked, disabled or restricted since its request passed the gates, and a person may have lost
    their role: while the rest of the body arrived, or while the request waited for a lock. Raises `NotPermitted`
    without the permission and for a person whose role has changed, and for a key whatever a new request with it would
    be refused with. Rows are locked in one order, so that two services never wait for each other: keys, the account,
    then anything else.
    """
    if actor.renew is not None:
        actor = actor.renew(actor)
    elif isinstance(actor.role, Role):
        lock_account(actor)
    policy.require(actor, permission)
    return actor


def lock_account(actor: Actor) -> Account:
    """The actor's account, locked: what its people change, and what is changed of it, happens in turn.

    Rows that refer to it, such as usage and audit events, are written meanwhile. Raises `NotPermitted` for a member
    whose role has changed since their request came.
    """
    account = Account.objects.select_for_update(no_key=True).get(pk=actor.account.id)
    if isinstance(actor.role, Role):
        members = Membership.objects.for_account(account)
        if not members.filter(user_id=actor.id, role=actor.role.value).exists():
            raise NotPermitted("Your role in this account has changed.")
    return account


def lock_for_update(actor: Actor, rows: Any, row: M, name: str) -> M:
    """The row as it is now, locked. Raises `NotFound` if it is gone or another account's."""
    found: M | None = rows.for_account(actor.account).select_for_update(of=("self",)).filter(pk=row.pk).first()
    if found is None:
        raise NotFound(f"{name} no longer exists.")
    return found


def apply_changes(instance: Any, **fields: Any) -> dict[str, tuple[Any, Any]]:
    """Set the fields on the instance and tell which really changed, as before and after."""
    changes = {}
    for field, value in fields.items():
        before = getattr(instance, field)
        if before != value:
            setattr(instance, field, value)
            changes[field] = (before, value)
    return changes


def initial_changes(instance: Model, settings: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """The settings that a new row was given, beside its name, as changes: those that differ from the defaults."""
    default = type(instance)()
    values = {name: getattr(instance, name) for name in settings if name != "name"}
    return {name: (None, value) for name, value in values.items() if value != getattr(default, name)}


def invalid_fields(instance: Model, fields: Collection[str]) -> dict[str, list[str]]:
    """The sentences about those of the fields that break the model's rules, by field."""
    try:
        instance.clean_fields(exclude={field.name for field in instance._meta.fields}.difference(fields))
    except ValidationError as error:
        return error.message_dict
    return {}
