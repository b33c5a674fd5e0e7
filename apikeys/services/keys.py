"""Everything that happens to a key: the pages, the API, the commands and admin all come here."""

import logging
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, ids, policy
from accounts.audit import Event
from accounts.context import RequestContext
from accounts.errors import AlreadyExists, Invalid, InvalidState, NotFound, NotPermitted
from accounts.models import Account
from accounts.policy import AccountRef, Actor, ActorKind, KeyPermission, Permission
from accounts.services import changed, lock_actor

from .. import actors, notices, scopes, terms, tokens
from ..models import APIKey, Notice, Service, State
from ..power import Power, is_wider

logger = logging.getLogger(__name__)

#: A key that is seen over plain HTTP again within this time is no news.
EXPOSURE_IS_NEWS_AFTER = timedelta(days=1)


class Issued(NamedTuple):
    """A key that was just made and its secret, which exists nowhere else."""

    api_key: APIKey
    secret: str


class Options(TypedDict, total=False):
    """What a key may have beside its name and its permission."""

    description: str
    administrator: bool
    expires_at: datetime | None
    allowed_networks: Sequence[str]
    rate_limit: str | None
    accepts_query: bool
    accepts_body: bool
    access: str | None  # as `scopes.store` writes it


class Settings(Options, total=False):
    """What may be changed of a key."""

    name: str
    permission: str


#: What a successor takes over, and what admin lets be changed.
SETTINGS = tuple(Settings.__annotations__)


class Overlap(StrEnum):
    """How long a rotated key goes on beside its successor."""

    NONE = "none"
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def length(self) -> timedelta:
        return _OVERLAPS[self]


_OVERLAPS = {
    Overlap.NONE: timedelta(0),
    Overlap.HOUR: timedelta(hours=1),
    Overlap.DAY: timedelta(days=1),
    Overlap.WEEK: timedelta(days=7),
}


# Making -----------------------------------------------------------------------------------------


def issue(
    *,
    actor: Actor,
    name: str,
    permission: KeyPermission,
    disabled: bool = False,
    id: str | None = None,
    **options: Unpack[Options],
) -> Issued:
    """Make a key in the actor's account.

    `id` makes a repeat harmless: raises `AlreadyExists` if a key was made with it before. Raises `Invalid`
    for what `terms` refuses, such as an expiry that has passed or lies beyond the account's longest life, and
    `NotPermitted` where the actor may not, or where a key would make a key beyond its own power.
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
            _require_valid(actor, api_key, {"name", "permission", "expires_at", *options})
            require_known_services(actor.account, api_key.access)
            _require_own_power(actor, Power.of(api_key))
            return _create(actor, api_key, Event.API_KEY_CREATED)
    except IntegrityError:
        if id is None or not APIKey.objects.filter(pk=id).exists():
            raise
        raise AlreadyExists("This key was made already.") from None


def _create(actor: Actor, api_key: APIKey, event: Event) -> Issued:
    secret = tokens.generate()
    api_key.digest, api_key.mask = tokens.digest(secret), tokens.mask(secret)
    api_key.created_by = actor.label
    api_key.save(force_insert=True)
    audit.record(actor=actor, event=event, target=api_key.target, changes=_given(api_key))
    notices.add(api_key, Notice.Kind.CREATED)
    return Issued(api_key, secret)


def _given(api_key: APIKey) -> audit.Changes:
    """The settings that a new key was given, beside its name: those that are not what keys have anyway."""
    usual = APIKey()
    settings = {name: getattr(api_key, name) for name in SETTINGS if name != "name"}
    given = {name: (None, value) for name, value in settings.items() if value != getattr(usual, name)}
    if api_key.access is not None:
        given["access"] = (None, scopes.in_short(api_key.access))
    return given


class ImportedKey(NamedTuple):
    """A key that was made elsewhere: its SHA-256 digest stands for a secret that we never see.

    `line` is where it stands in its file.
    """

    line: int
    name: str
    permission: KeyPermission
    digest: str
    mask: str
    expires_at: datetime | None
    access: str | None = None  # as `scopes.store` writes it


@transaction.atomic
def import_keys(*, actor: Actor, rows: Sequence[ImportedKey]) -> list[APIKey]:
    """Take over keys by their digests, all or none. Raises `Invalid` for a digest that the account has already.

    A digest that another account has stays there, and nobody learns of it who holds no more than the digest: the key
    that is imported looks like any other and opens nothing. The operator, who may know, is told as of one's own.
    """
    actor = lock_actor(actor, Permission.API_KEY_IMPORT)
    elsewhere, here = _known_digests(actor, [row.digest for row in rows])
    latest = _latest_expiry(actor)
    services = _known_services(actor.account, [row.access for row in rows])
    errors = {f"line {row.line}": found for row in rows if (found := _import_problems(row, here, latest, services))}
    if errors:
        raise Invalid("Some of these keys can't be imported.", errors=errors)
    api_keys = [
        APIKey(
            account_id=actor.account.id,
            name=row.name,
            permission=row.permission.value,
            digest=_substitute(actor, row.digest) if row.digest in elsewhere else row.digest,
            mask=row.mask,
            expires_at=row.expires_at,
            access=row.access,
            created_by=actor.label,
        )
        for row in rows
    ]
    try:
        with transaction.atomic():
            APIKey.objects.bulk_create(api_keys)
    except IntegrityError:
        raise Invalid("Another import ran at the same moment. Import the file again.") from None
    for api_key, row in zip(api_keys, rows, strict=True):
        if api_key.digest != row.digest:
            logger.warning("The imported key %s opens nothing: another account has its digest.", api_key.pk)
    deeds = [(api_key.target, _given(api_key)) for api_key in api_keys]
    audit.record_all(actor=actor, event=Event.API_KEY_IMPORTED, deeds=deeds)
    return api_keys


def _known_digests(actor: Actor, digests: Collection[str]) -> tuple[set[str], set[str]]:
    """Which of the digests other accounts have, and which the actor's account has, those with a substitute included.

    To the operator all are the account's, so that a key in the wrong account is found at once.
    """
    owners = dict(APIKey.objects.filter(digest__in=digests).values_list("digest", "account_id"))
    if actor.kind == ActorKind.SYSTEM:
        return set(), set(owners)
    substitutes = {_substitute(actor, digest): digest for digest in digests}
    again = APIKey.objects.for_account(actor.account).filter(digest__in=substitutes).values_list("digest", flat=True)
    here = {digest for digest, account_id in owners.items() if account_id == actor.account.id}
    return set(owners) - here, here | {substitutes[substitute] for substitute in again}


def _substitute(actor: Actor, digest: str) -> str:
    return tokens.digest_of_nothing(instead_of=digest, account_id=actor.account.id)


def _import_problems(
    row: ImportedKey, known: Collection[str], latest: datetime | None, services: Collection[str]
) -> list[str]:
    if row.digest in known:
        return ["This key is here already."]
    if unknown := _unknown_service(row.access, services):
        return [unknown]
    try:
        terms.expiry(row.expires_at, latest=latest)
    except ValidationError as error:
        return error.messages
    return []


# Changing ---------------------------------------------------------------------------------------


@transaction.atomic
def change(*, actor: Actor, api_key: APIKey, disabled: bool | None = None, **settings: Unpack[Settings]) -> APIKey:
    """Change settings of a key, from the next request on.

    Giving it more (Read to Read & Write, administrator access, a longer life, a wider network, a faster rate,
    more access, another way of sending) is recorded as `api_key.widened`. Raises `InvalidState` for a revoked key
    and for more power of a key that was rotated, `Invalid` as `issue` does, and `NotPermitted` where a key would
    widen a key beyond its own power.
    """
    actor, api_key = _locked(actor, api_key)
    _require_not_revoked(api_key, "changed")
    before = copy(api_key)
    changes = changed(api_key, **settings)
    _require_valid(actor, api_key, changes)
    if "access" in changes:
        require_known_services(actor.account, api_key.access, kept=before.access)
        changes["access"] = (scopes.in_short(before.access), scopes.in_short(api_key.access))
    if Power.of(before).exceeded_by(Power.of(api_key)):
        _require_own_power(actor, Power.of(api_key))
        if api_key.rotated_at is not None:
            raise InvalidState("This key was rotated: give its successor more power instead.")
    if changes:
        api_key.save(update_fields=changes)
        event = Event.API_KEY_WIDENED if is_wider(api_key, than=before) else Event.API_KEY_CHANGED
        audit.record(actor=actor, event=event, target=api_key.target, changes=changes)
    if disabled is not None and disabled != api_key.disabled:
        _switch(actor, api_key, disabled=disabled)
    return api_key


def widens(api_key: APIKey, **settings: Unpack[Settings]) -> bool:
    """Whether these settings would give the key more than it has. Enabling it gives back what it had."""
    wanted = copy(api_key)
    changed(wanted, **settings)
    return is_wider(wanted, than=api_key)


@transaction.atomic
def disable(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Refuse the key until it is enabled again. Raises `InvalidState` unless it is active."""
    actor, api_key = _locked(actor, api_key)
    if api_key.state != State.ACTIVE:
        raise InvalidState(f"{api_key.name} is {api_key.state.label.lower()}.")
    return _switch(actor, api_key, disabled=True)


@transaction.atomic
def enable(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Let a disabled key work again. Raises `InvalidState` unless it is disabled."""
    actor, api_key = _locked(actor, api_key)
    if api_key.state != State.DISABLED:
        raise InvalidState(f"{api_key.name} is {api_key.state.label.lower()}.")
    return _switch(actor, api_key, disabled=False)


def _switch(actor: Actor, api_key: APIKey, *, disabled: bool) -> APIKey:
    if not disabled:
        _require_own_power(actor, Power.of(api_key))
    api_key.disabled_at = timezone.now() if disabled else None
    api_key.save(update_fields=["disabled_at"])
    event = Event.API_KEY_DISABLED if disabled else Event.API_KEY_ENABLED
    audit.record(actor=actor, event=event, target=api_key.target)
    return api_key


@transaction.atomic
def rotate(*, actor: Actor, api_key: APIKey, overlap: Overlap, id: str | None = None) -> Issued:
    """Make a successor with the same settings and let the old key go on for the overlap.

    The successor never outlives the key's original expiry. Without an overlap the old key is revoked at
    once. Raises `InvalidState` unless the key is active and was not rotated before, `AlreadyExists` for an
    `id` that was used, and `NotPermitted` where a key would get hold of more power than its own.
    """
    actor, old = _locked(actor, api_key)
    if id is not None and APIKey.objects.filter(pk=id).exists():
        raise AlreadyExists("This key was rotated already.")
    _require_not_revoked(old, "rotated")
    if old.state != State.ACTIVE:
        raise InvalidState(f"{old.name} is {old.state.label.lower()}; only an active key is rotated.")
    if old.rotated_at is not None:
        raise InvalidState("This key was rotated already.")
    _require_own_power(actor, Power.of(old))
    settings = {field: getattr(old, field) for field in SETTINGS}
    successor = APIKey(id=id or ids.new_key_id(), account_id=old.account_id, rotated_from=old, **settings)
    successor.expires_at = _earliest(old.expires_at, _latest_expiry(actor))
    issued = _create(actor, successor, Event.API_KEY_CREATED)
    changes = {"successor": (None, successor.id)}
    old.rotated_at = timezone.now()
    if overlap != Overlap.NONE:
        changes |= changed(old, expires_at=_earliest(old.expires_at, old.rotated_at + overlap.length))
    old.save(update_fields=["rotated_at", "expires_at"])
    audit.record(actor=actor, event=Event.API_KEY_ROTATED, target=old.target, changes=changes)
    if overlap == Overlap.NONE:
        _revoke(actor, old)
    return issued


# Ending -----------------------------------------------------------------------------------------


@transaction.atomic
def revoke(*, actor: Actor, api_key: APIKey) -> APIKey:
    """End the key for good, from the next request on. Revoking it again changes nothing."""
    return _revoke(*_locked(actor, api_key))


@transaction.atomic
def revoke_all(*, actor: Actor, api_keys: Iterable[APIKey]) -> list[APIKey]:
    """End several keys together, or none."""
    actor, locked = _lock_all(actor, api_keys)
    return [_revoke(actor, api_key) for api_key in locked]


def _revoke(actor: Actor, api_key: APIKey) -> APIKey:
    if api_key.revoked_at is None:
        api_key.revoked_at = timezone.now()
        api_key.save(update_fields=["revoked_at"])
        audit.record(actor=actor, event=Event.API_KEY_REVOKED, target=api_key.target)
    return api_key


@transaction.atomic
def expose(*, api_key: APIKey, address: str) -> None:
    """Note that a good key was seen in the clear, and revoke it if the account wants that.

    A disabled one is good too: it can be enabled again.
    """
    account = Account.objects.get(pk=api_key.account_id)
    actor = policy.system(account.ref, "Plain HTTP", context=RequestContext(address))
    actor, api_key = _locked(actor, api_key)
    now = timezone.now()
    if api_key.state not in (State.ACTIVE, State.DISABLED):
        return
    if api_key.exposed_at is None or api_key.exposed_at <= now - EXPOSURE_IS_NEWS_AFTER:
        api_key.exposed_at = now
        api_key.save(update_fields=["exposed_at"])
        audit.record(actor=actor, event=Event.API_KEY_EXPOSED, target=api_key.target)
        notices.add(api_key, Notice.Kind.EXPOSED, about=now.isoformat())
    if account.revoke_exposed_keys:
        _revoke(actor, api_key)


def report(*, secrets: Iterable[str], context: RequestContext) -> None:
    """End every key whose secret somebody holds out to us, whoever it is: a leaked key is nobody's."""
    digests = {tokens.digest(secret) for secret in secrets}
    for api_key in APIKey.objects.filter(digest__in=digests, revoked_at=None).select_related("account").order_by("pk"):
        actor = policy.system(api_key.account.ref, "Leak report", context=context)
        with transaction.atomic():
            actor, locked = _locked(actor, api_key)
            if locked.revoked_at is None:
                audit.record(actor=actor, event=Event.API_KEY_REPORTED, target=locked.target)
                _revoke(actor, locked)
                notices.add(locked, Notice.Kind.REPORTED)


def expire(*, api_key: APIKey) -> bool:
    """Note once that a key has ended by time. The key is refused from that moment on, noted or not.

    False if this was noted before.
    """
    with transaction.atomic():
        is_new = notices.add(api_key, Notice.Kind.EXPIRED, about=str(api_key.expires_at))
        if is_new:
            actor = policy.system(api_key.account.ref)
            audit.record(actor=actor, event=Event.API_KEY_EXPIRED, target=api_key.target)
    return is_new


# Rules ------------------------------------------------------------------------------------------


def _locked(actor: Actor, api_key: APIKey) -> tuple[Actor, APIKey]:
    actor, locked = _lock_all(actor, [api_key])
    return actor, locked[0]


def _lock_all(actor: Actor, api_keys: Iterable[APIKey]) -> tuple[Actor, list[APIKey]]:
    """The actor and the keys as they are now. The acting key is locked with them, in one order for all services.

    Raises `NotFound` for a key that is gone or another account's, and as `lock_actor` does.
    """
    wanted = [api_key.pk for api_key in api_keys]
    locked = actors.lock(actor.account, [*wanted, actor.id] if actor.kind == ActorKind.KEY else wanted)
    actor = lock_actor(actor, Permission.API_KEY_CHANGE)
    found = [locked[pk] for pk in wanted if pk in locked]
    if len(found) != len(wanted):
        raise NotFound("This API key no longer exists.")
    return actor, found


def _require_not_revoked(api_key: APIKey, done: str) -> None:
    if api_key.revoked_at is not None:
        raise InvalidState(f"A revoked key can't be {done}.")


def _require_valid(actor: Actor, api_key: APIKey, fields: Collection[str]) -> None:
    """Hold these fields to the model's rules, and a new expiry to the account's. Raises `Invalid`, by field."""
    errors: dict[str, list[str]] = {}
    try:
        api_key.clean_fields(exclude={field.name for field in APIKey._meta.fields}.difference(fields))
    except ValidationError as error:
        errors |= error.message_dict
    if "expires_at" in fields:
        try:
            terms.expiry(api_key.expires_at, latest=_latest_expiry(actor))
        except ValidationError as error:
            errors["expires_at"] = error.messages
    if errors:
        raise Invalid(f"These fields are invalid: {', '.join(errors)}.", errors=errors)


def require_known_services(account: AccountRef, access: str | None, *, kept: str | None = None) -> None:
    """Raise `Invalid` for a service that the account doesn't see, but for an entry of the access that the key has.

    The entry of a service that was deleted opens nothing, so it may stay.
    """
    before = scopes.load(kept) or ()
    added = scopes.store(tuple(entry for entry in scopes.load(access) or () if entry not in before))
    if unknown := _unknown_service(added, _known_services(account, [added])):
        raise Invalid("These fields are invalid: access.", errors={"access": [unknown]})


def _known_services(account: AccountRef, accesses: Iterable[str | None]) -> set[str]:
    """Those of the listed services that the account sees, and the API."""
    listed = {entry.service for access in accesses for entry in scopes.load(access) or ()} - {scopes.API}
    return {scopes.API} | Service.objects.visible_to(account).ids_among(listed)


def _unknown_service(access: str | None, known: Collection[str]) -> str | None:
    """The sentence that names the first listed service that isn't known."""
    unknown = (entry.service for entry in scopes.load(access) or () if entry.service not in known)
    return next((f"There is no service {service} here." for service in unknown), None)


def _latest_expiry(actor: Actor) -> datetime | None:
    """When a key of the account that is made now has to end at the latest."""
    return terms.latest_expiry(Account.objects.values_list("max_key_lifetime_days", flat=True).get(pk=actor.account.id))


def _require_own_power(actor: Actor, wanted: Power) -> None:
    """A key never makes or widens a key beyond its own power, nor gets hold of one."""
    if actor.kind != ActorKind.KEY:
        return
    own = Power.of(APIKey.objects.for_account(actor.account).get(pk=actor.id))
    if excess := own.exceeded_by(wanted):
        raise NotPermitted(f"A key can't make a key {excess}.")


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
