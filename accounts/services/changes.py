"""Helpers of every service: lock the actor and the row, apply changes and list them."""

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
    """Lock the actor until the transaction ends and return its current state. Every service starts with this.

    Since the request was authenticated, its key may have been revoked, disabled or restricted, or its user may have
    lost their role. This happens if the rest of the body arrives late, or if the request has to wait for a lock. Raises
    `NotPermitted` without the permission or if the user's role has changed. For a key, raises the error that a new
    request with the key would get. To prevent deadlocks, rows are always locked in this order: keys, the account, then
    others.
    """
    if actor.renew is not None:
        actor = actor.renew(actor)
    elif isinstance(actor.role, Role):
        lock_account(actor)
    policy.require(actor, permission)
    return actor


def lock_account(actor: Actor) -> Account:
    """Lock the actor's account, so that changes of it and by its members happen one after another.

    Rows that refer to it, such as usage and audit events, can still be written. Raises `NotPermitted` for a member
    whose role has changed since the request started.
    """
    account = Account.objects.select_for_update(no_key=True).get(pk=actor.account.id)
    if isinstance(actor.role, Role):
        members = Membership.objects.for_account(account)
        if not members.filter(user_id=actor.id, role=actor.role.value).exists():
            raise NotPermitted("Your role in this account has changed.")
    return account


def lock_for_update(actor: Actor, rows: Any, row: M, name: str) -> M:
    """Lock the row and return its current state. Raises `NotFound` if it is deleted or belongs to another account."""
    found: M | None = rows.for_account(actor.account).select_for_update(of=("self",)).filter(pk=row.pk).first()
    if found is None:
        raise NotFound(f"{name} no longer exists.")
    return found


def apply_changes(instance: Any, **fields: Any) -> dict[str, tuple[Any, Any]]:
    """Set the fields on the instance; return those that changed, with the values before and after."""
    changes = {}
    for field, value in fields.items():
        before = getattr(instance, field)
        if before != value:
            setattr(instance, field, value)
            changes[field] = (before, value)
    return changes


def initial_changes(instance: Model, settings: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """The settings of a new row that differ from the defaults, as changes; without its name."""
    default = type(instance)()
    values = {name: getattr(instance, name) for name in settings if name != "name"}
    return {name: (None, value) for name, value in values.items() if value != getattr(default, name)}


def invalid_fields(instance: Model, fields: Collection[str]) -> dict[str, list[str]]:
    """The model's validation errors for these fields, by field."""
    try:
        instance.clean_fields(exclude={field.name for field in instance._meta.fields}.difference(fields))
    except ValidationError as error:
        return error.message_dict
    return {}
