"""Checks that the service functions for keys share: locks, valid fields, known services, the limit on power."""

from collections.abc import Collection, Iterable
from datetime import datetime

from django.core.exceptions import ValidationError

from accounts.errors import Invalid, InvalidState, NotFound, NotPermitted
from accounts.models import Account
from accounts.policy import AccountRef, Actor, ActorKind, Permission
from accounts.services import invalid_fields, lock_actor

from .. import actors, scopes, validators
from ..models import APIKey, Service
from ..power import Power


def lock_key(actor: Actor, api_key: APIKey) -> tuple[Actor, APIKey]:
    actor, locked = lock_keys(actor, [api_key])
    return actor, locked[0]


def lock_keys(actor: Actor, api_keys: Iterable[APIKey]) -> tuple[Actor, list[APIKey]]:
    """The actor and the keys as they are now. An acting key is locked together with them, always in the same order.

    Raises `NotFound` for a key that no longer exists or belongs to another account, and the errors of `lock_actor`.
    """
    wanted = [api_key.pk for api_key in api_keys]
    locked = actors.lock(actor.account, [*wanted, actor.id] if actor.kind == ActorKind.KEY else wanted)
    actor = lock_actor(actor, Permission.API_KEY_CHANGE)
    found = [locked[pk] for pk in wanted if pk in locked]
    if len(found) != len(wanted):
        raise NotFound("This API key no longer exists.")
    return actor, found


def require_not_revoked(api_key: APIKey, done: str) -> None:
    if api_key.revoked_at is not None:
        raise InvalidState(f"A revoked key can't be {done}.")


def require_valid(actor: Actor, api_key: APIKey, fields: Collection[str]) -> None:
    """Validate these fields, and an expiry also against the account's limit. Raises `Invalid` for the fields."""
    errors = invalid_fields(api_key, fields)
    if "expires_at" in fields:
        try:
            validators.expiry(api_key.expires_at, latest=latest_expiry(actor))
        except ValidationError as error:
            errors["expires_at"] = error.messages
    if errors:
        raise Invalid.of_fields(errors)


def require_known_services(account: AccountRef, access: str | None, *, kept: str | None = None) -> None:
    """Raise `Invalid` for a service that the account doesn't see, unless the key's access (`kept`) has the same entry.

    The entry of a deleted service grants nothing, so it may stay.
    """
    before = scopes.load(kept) or ()
    added = scopes.store(tuple(entry for entry in scopes.load(access) or () if entry not in before))
    if unknown := unknown_service(added, known_services(account, [added])):
        raise Invalid.of_fields({"access": [unknown]})


def known_services(account: AccountRef, accesses: Iterable[str | None]) -> set[str]:
    """The listed services that the account sees, and the API."""
    listed = {entry.service for access in accesses for entry in scopes.load(access) or ()} - {scopes.API}
    return {scopes.API} | Service.objects.visible_to(account).ids_among(listed)


def unknown_service(access: str | None, known: Collection[str]) -> str | None:
    """An error message about the first listed service that is not known, or None."""
    unknown = (entry.service for entry in scopes.load(access) or () if entry.service not in known)
    return next((f"Unknown service: {service}." for service in unknown), None)


def latest_expiry(actor: Actor) -> datetime | None:
    """The latest expiry of a key that is created in the account now; None means no limit."""
    return validators.latest_expiry(
        Account.objects.values_list("max_key_lifetime_days", flat=True).get(pk=actor.account.id)
    )


def require_within_own_power(actor: Actor, wanted: Power) -> None:
    """Raise `NotPermitted` if the actor is a key with less power than `wanted`: a key can't get or grant more."""
    if problem := beyond(own_power(actor), wanted):
        raise NotPermitted(problem)


def own_power(actor: Actor) -> Power | None:
    """The power of an acting key. None for other actors, who may grant any power."""
    if actor.kind != ActorKind.KEY:
        return None
    return Power.of(APIKey.objects.for_account(actor.account).get(pk=actor.id))


def beyond(own: Power | None, wanted: Power) -> str:
    """An error message if a key with the power `own` would grant more than it has. Empty if the key may grant it."""
    excess = own and own.exceeded_by(wanted)
    return f"A key can't create a key {excess}." if excess else ""
