"""Importing keys of another system."""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.audit import Event
from accounts.errors import DomainError, Invalid, NotPermitted
from accounts.policy import Actor, ActorKind, KeyPermission, Permission
from accounts.services import lock_actor

from .. import notices, tokens, validators
from ..models import APIKey
from ..power import Power
from .keys import given_settings
from .rules import beyond, known_services, latest_expiry, own_power, unknown_service

logger = logging.getLogger(__name__)


class ImportedKey(NamedTuple):
    """A key of another system, by the SHA-256 digest of its secret. This server never gets the secret.

    `line` is its line in the file, or its place in the list.
    """

    line: int
    name: str
    permission: KeyPermission
    digest: str
    mask: str
    expires_at: datetime | None
    access: str | None = None  # as `scopes.store` writes it


class Imported(NamedTuple):
    """The key with the digest of a row, and whether the row created it."""

    api_key: APIKey
    is_new: bool


@transaction.atomic
def import_api_keys(*, actor: Actor, rows: Sequence[ImportedKey]) -> list[APIKey]:
    """Import keys by their digests, all or none. Raises `Invalid` for a digest that the account has already.

    That another account has a digest is not revealed, because a digest doesn't prove knowledge of the key: the imported
    key looks like any other, but never works. Only the operator gets `Invalid` for such a digest too.
    """
    actor = lock_actor(actor, Permission.API_KEY_CHANGE)
    known = _known_keys(actor, rows)
    refusals = _refusals(actor, rows)
    refusals |= {row.line: Invalid("This account already has this key.") for row in rows if row.digest in known.here}
    if refusals:
        raise Invalid(
            "Some of these keys can't be imported.",
            errors={f"line {row.line}": _sentences(refusals[row.line]) for row in rows if row.line in refusals},
        )
    return list(_save(actor, rows, known).values())


@transaction.atomic
def import_valid_api_keys(*, actor: Actor, rows: Sequence[ImportedKey]) -> list[Imported | DomainError]:
    """Import those keys that can be imported, by their digests. Returns for each row its result or its refusal.

    A digest that the account has already, or that an earlier row has, changes nothing. Other accounts' digests are not
    revealed, as in `import_api_keys`.
    """
    actor = lock_actor(actor, Permission.API_KEY_CHANGE)
    known = _known_keys(actor, rows)
    refusals = _refusals(actor, rows)
    first = {row.digest: row for row in reversed(rows) if row.line not in refusals and row.digest not in known.here}
    new = [row for row in rows if first.get(row.digest) is row]
    keys = known.here | _save(actor, new, known)
    return [refusals.get(row.line) or Imported(keys[row.digest], is_new=first.get(row.digest) is row) for row in rows]


class _Known(NamedTuple):
    """The digests that other accounts have, and the account's own keys by the digest that was imported.

    For the operator, all count as the account's own: importing a key into the wrong account fails.
    """

    elsewhere: Collection[str]
    here: dict[str, APIKey]


def _known_keys(actor: Actor, rows: Iterable[ImportedKey]) -> _Known:
    digests = [row.digest for row in rows]
    found = {api_key.digest: api_key for api_key in APIKey.objects.filter(digest__in=digests)}
    if actor.kind == ActorKind.SYSTEM:
        return _Known((), found)
    here = {digest: api_key for digest, api_key in found.items() if api_key.account_id == actor.account.id}
    substitutes = {_substitute(actor, digest): digest for digest in digests}
    for api_key in APIKey.objects.for_account(actor.account).filter(digest__in=substitutes):
        here[substitutes[api_key.digest]] = api_key
    return _Known(found.keys() - here.keys(), here)


def _substitute(actor: Actor, digest: str) -> str:
    return tokens.unusable_digest(instead_of=digest, account_id=actor.account.id)


def _refusals(actor: Actor, rows: Sequence[ImportedKey]) -> dict[int, DomainError]:
    """What is wrong with each row that can't be imported, by its line."""
    latest, own = latest_expiry(actor), own_power(actor)
    services = known_services(actor.account, [row.access for row in rows])
    found = {row.line: _refusal(row, latest, services, own) for row in rows}
    return {line: refusal for line, refusal in found.items() if refusal is not None}


def _refusal(
    row: ImportedKey, latest: datetime | None, services: Collection[str], own: Power | None
) -> DomainError | None:
    errors = {}
    if unknown := unknown_service(row.access, services):
        errors["access"] = [unknown]
    try:
        validators.expiry(row.expires_at, latest=latest)
    except ValidationError as error:
        errors["expires_at"] = error.messages
    if errors:
        return Invalid.of_fields(errors)
    problem = beyond(own, Power.of(_key(row)))
    return NotPermitted(problem) if problem else None


def _sentences(refusal: DomainError) -> list[str]:
    errors = refusal.errors or {}
    return [sentence for sentences in errors.values() for sentence in sentences] or [refusal.message]


def _key(row: ImportedKey) -> APIKey:
    return APIKey(
        name=row.name,
        permission=row.permission.value,
        digest=row.digest,
        mask=row.mask,
        expires_at=row.expires_at,
        access=row.access,
    )


def _save(actor: Actor, rows: Collection[ImportedKey], known: _Known) -> dict[str, APIKey]:
    """The new keys by the digests of their rows."""
    try:
        api_keys = _insert(actor, rows, known)
    except IntegrityError:  # another account imported one of them meanwhile
        try:
            api_keys = _insert(actor, rows, _known_keys(actor, rows))
        except IntegrityError:
            raise Invalid("Another import ran at the same time. Import these keys again.") from None
    for digest, api_key in api_keys.items():
        if api_key.digest != digest:
            logger.warning("The imported key %s will not work: another account has its digest.", api_key.pk)
    entries = [(api_key.target, given_settings(api_key)) for api_key in api_keys.values()]
    audit.record_all(actor=actor, event=Event.API_KEY_IMPORTED, entries=entries)
    notices.add_created(api_keys.values())
    return api_keys


def _insert(actor: Actor, rows: Iterable[ImportedKey], known: _Known) -> dict[str, APIKey]:
    """Raises `IntegrityError` for a digest that exists and is not `known`."""
    api_keys = {row.digest: _key(row) for row in rows}
    for digest, api_key in api_keys.items():
        api_key.account_id, api_key.created_by = actor.account.id, actor.label
        if digest in known.elsewhere:
            api_key.digest = _substitute(actor, digest)
    with transaction.atomic():
        # In a fixed order, so that two accounts that import the same keys at the same moment don't deadlock.
        APIKey.objects.bulk_create(sorted(api_keys.values(), key=lambda api_key: api_key.digest))
    return api_keys
