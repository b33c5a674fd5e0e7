"""Creating and changing API keys."""

from collections.abc import Sequence
from copy import copy
from datetime import datetime
from typing import NamedTuple, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, ids
from accounts.audit import Event
from accounts.errors import AlreadyExists, InvalidState
from accounts.policy import Actor, KeyPermission, Permission
from accounts.services import apply_changes, initial_changes, lock_actor

from .. import notices, scopes, tokens
from ..models import APIKey, Notice, State
from ..power import Power, is_wider
from .rules import lock_key, require_known_services, require_not_revoked, require_valid, require_within_own_power


class Issued(NamedTuple):
    """A new key and its secret, which exists nowhere else."""

    api_key: APIKey
    secret: str


class Options(TypedDict, total=False):
    """The optional settings of a key, besides its name and permission."""

    description: str
    administrator: bool
    expires_at: datetime | None
    allowed_networks: Sequence[str]
    rate_limit: str | None
    accepts_query: bool
    accepts_body: bool
    access: str | None  # as `scopes.store` writes it


class Settings(Options, total=False):
    """The settings of a key that can be changed."""

    name: str
    permission: str


#: The settings that a rotated key's successor copies, and that admin can change.
SETTINGS = tuple(Settings.__annotations__)


def create_api_key(
    *,
    actor: Actor,
    name: str,
    permission: KeyPermission,
    disabled: bool = False,
    id: str | None = None,
    **options: Unpack[Options],
) -> Issued:
    """Create a key in the actor's account.

    `id` makes it safe to retry: if a key with this id exists, this raises `AlreadyExists`. Raises `Invalid` for what
    `validators` refuses, such as an expiry in the past or beyond the account's limit, and `NotPermitted` if the actor
    may not create keys, or is a key and would create one beyond its own power.
    """
    api_key = APIKey(
        id=id or ids.new_key_id(),
        account_id=actor.account.id,
        name=name,
        permission=permission.value,
        disabled_at=timezone.now() if disabled else None,
        **options,
    )
    try:
        with transaction.atomic():
            actor = lock_actor(actor, Permission.API_KEY_CHANGE)
            require_valid(actor, api_key, {"name", "expires_at", *options})
            require_known_services(actor.account, api_key.access)
            require_within_own_power(actor, Power.of(api_key))
            return save_new(actor, api_key)
    except IntegrityError:
        if id is None or not APIKey.objects.filter(pk=id).exists():
            raise
        raise AlreadyExists("This key was already created.") from None


def save_new(actor: Actor, api_key: APIKey) -> Issued:
    """Generate the secret of a new key, and save the key."""
    secret = tokens.generate()
    api_key.digest, api_key.mask = tokens.digest(secret), tokens.mask(secret)
    api_key.created_by = actor.label
    api_key.save()
    audit.record(actor=actor, event=Event.API_KEY_CREATED, target=api_key.target, changes=given_settings(api_key))
    notices.add(api_key, Notice.Kind.CREATED)
    return Issued(api_key, secret)


def given_settings(api_key: APIKey) -> audit.Changes:
    """The settings of a new key that differ from the defaults, besides its name."""
    settings = initial_changes(api_key, SETTINGS)
    if api_key.access is not None:
        settings["access"] = (None, scopes.in_short(api_key.access))
    return settings


@transaction.atomic
def change_api_key(
    *, actor: Actor, api_key: APIKey, disabled: bool | None = None, **settings: Unpack[Settings]
) -> APIKey:
    """Change settings of a key. They apply to the next request.

    Granting more (Read to Read & Write, administrator access, a later expiry, a wider network, a higher rate limit,
    more access, another place to send the key in) is recorded as `api_key.widened`. Raises `InvalidState` for a revoked
    key, or if a rotated key would be granted more; `Invalid` as `create_api_key` does; and `NotPermitted` if a key
    would grant more than its own power.
    """
    actor, api_key = lock_key(actor, api_key)
    require_not_revoked(api_key, "changed")
    before = copy(api_key)
    changes = apply_changes(api_key, **settings)
    require_valid(actor, api_key, changes)
    if "access" in changes:
        require_known_services(actor.account, api_key.access, kept=before.access)
        changes["access"] = (scopes.in_short(before.access), scopes.in_short(api_key.access))
    if Power.of(before).exceeded_by(Power.of(api_key)):
        require_within_own_power(actor, Power.of(api_key))
        if api_key.rotated_at is not None:
            raise InvalidState("This key was rotated. Change its successor instead.")
    if changes:
        api_key.save(update_fields=changes)
        event = Event.API_KEY_WIDENED if is_wider(api_key, than=before) else Event.API_KEY_CHANGED
        audit.record(actor=actor, event=event, target=api_key.target, changes=changes)
    if disabled is not None and disabled != api_key.disabled:
        _switch(actor, api_key, disabled=disabled)
    return api_key


def widens_api_key(api_key: APIKey, **settings: Unpack[Settings]) -> bool:
    """Whether these settings would grant the key more than it has. Enabling a key doesn't count."""
    wanted = copy(api_key)
    apply_changes(wanted, **settings)
    return is_wider(wanted, than=api_key)


@transaction.atomic
def disable_api_key(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Disable the key until it is enabled again. Raises `InvalidState` unless it is active."""
    actor, api_key = lock_key(actor, api_key)
    if api_key.state != State.ACTIVE:
        raise InvalidState(f"{api_key.name} is {api_key.state.label.lower()}.")
    return _switch(actor, api_key, disabled=True)


@transaction.atomic
def enable_api_key(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Enable a disabled key. Raises `InvalidState` unless it is disabled."""
    actor, api_key = lock_key(actor, api_key)
    if api_key.state != State.DISABLED:
        raise InvalidState(f"{api_key.name} is {api_key.state.label.lower()}.")
    return _switch(actor, api_key, disabled=False)


def _switch(actor: Actor, api_key: APIKey, *, disabled: bool) -> APIKey:
    if not disabled:
        require_within_own_power(actor, Power.of(api_key))
    api_key.disabled_at = timezone.now() if disabled else None
    api_key.save(update_fields=["disabled_at"])
    event = Event.API_KEY_DISABLED if disabled else Event.API_KEY_ENABLED
    audit.record(actor=actor, event=event, target=api_key.target)
    return api_key
