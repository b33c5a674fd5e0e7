"""Making, disabling and ending keys: the pages, the API, the commands and admin all come here."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, ids, policy
from accounts.audit import Event
from accounts.errors import AlreadyExists, Invalid, InvalidState, NotPermitted
from accounts.policy import Actor, ActorKind, KeyPermission, KeyRole, Permission

from . import networks, tokens
from .models import APIKey, State


class Issued(NamedTuple):
    """A key that was just made and its secret, which exists nowhere else."""

    api_key: APIKey
    secret: str


def issue(
    *,
    actor: Actor,
    name: str,
    permission: KeyPermission,
    administrator: bool = False,
    expires_at: datetime | None = None,
    allowed_networks: Sequence[str] = (),
    rate_limit: str | None = None,
    description: str = "",
    id: str | None = None,
) -> Issued:
    """Make a key in the actor's account.

    `id` makes a repeat harmless: raises `AlreadyExists` if a key was made with it before. Raises `Invalid`
    for an expiry that has passed and `NotPermitted` where the actor may not, or where a key would make a
    key beyond its own power.
    """
    policy.require(actor, Permission.API_KEY_CHANGE)
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("The key would have expired already.", errors={"expires_at": ["This is in the past."]})
    _require_own_power(actor, permission, administrator, expires_at, allowed_networks)
    secret = tokens.generate()
    try:
        with transaction.atomic():
            api_key = APIKey.objects.create(
                id=id or ids.new_key_id(),
                account_id=actor.account.id,
                name=name,
                description=description,
                permission=permission.value,
                administrator=administrator,
                digest=tokens.digest(secret),
                mask=tokens.mask(secret),
                expires_at=expires_at,
                allowed_networks=list(allowed_networks),
                rate_limit=rate_limit,
                created_by=actor.label,
            )
            audit.record(
                actor=actor,
                event=Event.API_KEY_CREATED,
                target=api_key.target,
                changes={"permission": (None, api_key.permission), "administrator": (None, administrator)},
            )
    except IntegrityError:
        if id is None or not APIKey.objects.filter(pk=id).exists():
            raise
        raise AlreadyExists("This key was made already.") from None
    return Issued(api_key, secret)


def disable(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Refuse the key until it is enabled again. Raises `InvalidState` unless it is active."""
    return _set_state(actor, api_key, State.ACTIVE, Event.API_KEY_DISABLED, disabled_at=timezone.now())


def enable(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Let a disabled key work again. Raises `InvalidState` unless it is disabled."""
    return _set_state(actor, api_key, State.DISABLED, Event.API_KEY_ENABLED, disabled_at=None)


@transaction.atomic
def revoke(*, actor: Actor, api_key: APIKey) -> APIKey:
    """End the key for good, from the next request on. Revoking it again changes nothing."""
    api_key = _locked(actor, api_key)
    if api_key.revoked_at is None:
        api_key.revoked_at = timezone.now()
        api_key.save(update_fields=["revoked_at"])
        audit.record(actor=actor, event=Event.API_KEY_REVOKED, target=api_key.target)
    return api_key


def _locked(actor: Actor, api_key: APIKey) -> APIKey:
    policy.require(actor, Permission.API_KEY_CHANGE)
    return APIKey.objects.for_account(actor.account).select_for_update().get(pk=api_key.pk)


@transaction.atomic
def _set_state(actor: Actor, api_key: APIKey, expected: State, event: Event, *, disabled_at: datetime | None) -> APIKey:
    api_key = _locked(actor, api_key)
    if api_key.state != expected:
        raise InvalidState(f"{api_key.name} is {api_key.state.label.lower()}.")
    api_key.disabled_at = disabled_at
    api_key.save(update_fields=["disabled_at"])
    audit.record(actor=actor, event=event, target=api_key.target)
    return api_key


def _require_own_power(
    actor: Actor,
    permission: KeyPermission,
    administrator: bool,
    expires_at: datetime | None,
    allowed_networks: Sequence[str],
) -> None:
    """A key never makes a key that can do more than itself, from more places or for longer.

    How fast it may go is no such power: two slow keys are as fast as one.
    """
    if actor.kind != ActorKind.KEY:
        return
    own = APIKey.objects.for_account(actor.account).get(pk=actor.id)
    role = KeyRole.ADMINISTRATOR if administrator else KeyRole.KEY
    if not policy.KEY_GRANTS[role, permission.value] <= actor.permissions:
        raise NotPermitted("A key can't make a key with more power than its own.")
    if own.expires_at is not None and (expires_at is None or expires_at > own.expires_at):
        raise NotPermitted("A key can't make a key that outlives it.")
    if not networks.covers(own.allowed_networks, allowed_networks):
        raise NotPermitted("A key can't make a key that works from more networks than it does.")
