"""Importing keys that were created elsewhere."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.audit import Event
from accounts.errors import Invalid
from accounts.policy import Actor, ActorKind, KeyPermission, Permission
from accounts.services import lock_actor

from .. import tokens, validators
from ..models import APIKey
from .keys import given_settings
from .rules import known_services, latest_expiry, unknown_service

logger = logging.getLogger(__name__)


class ImportedKey(NamedTuple):
    """A key that was created elsewhere, by the SHA-256 digest of its secret, which this server doesn't get.

    `line` is its line in the file.
    """

    line: int
    name: str
    permission: KeyPermission
    digest: str
    mask: str
    expires_at: datetime | None
    access: str | None = None  # as `scopes.store` writes it


@transaction.atomic
def import_api_keys(*, actor: Actor, rows: Sequence[ImportedKey]) -> list[APIKey]:
    """Import keys by their digests, all or none. Raises `Invalid` for a digest that the account has already.

    A digest that another account has is not revealed, because a digest doesn't prove knowledge of the key. The imported
    key looks like any other, but never works. The operator gets `Invalid` for that too.
    """
    actor = lock_actor(actor, Permission.API_KEY_IMPORT)
    elsewhere, here = _known_digests(actor, [row.digest for row in rows])
    latest = latest_expiry(actor)
    services = known_services(actor.account, [row.access for row in rows])
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
        raise Invalid("Another import ran at the same time. Import the file again.") from None
    for api_key, row in zip(api_keys, rows, strict=True):
        if api_key.digest != row.digest:
            logger.warning("The imported key %s will not work: another account has its digest.", api_key.pk)
    entries = [(api_key.target, given_settings(api_key)) for api_key in api_keys]
    audit.record_all(actor=actor, event=Event.API_KEY_IMPORTED, entries=entries)
    return api_keys


def _known_digests(actor: Actor, digests: Collection[str]) -> tuple[set[str], set[str]]:
    """Which digests other accounts have, and which the actor's account has, including those with a substitute.

    For the operator, all count as the account's: importing a key into the wrong account fails.
    """
    owners = dict(APIKey.objects.filter(digest__in=digests).values_list("digest", "account_id"))
    if actor.kind == ActorKind.SYSTEM:
        return set(), set(owners)
    substitutes = {_substitute(actor, digest): digest for digest in digests}
    again = APIKey.objects.for_account(actor.account).filter(digest__in=substitutes).values_list("digest", flat=True)
    here = {digest for digest, account_id in owners.items() if account_id == actor.account.id}
    return set(owners) - here, here | {substitutes[substitute] for substitute in again}


def _substitute(actor: Actor, digest: str) -> str:
    return tokens.unusable_digest(instead_of=digest, account_id=actor.account.id)


def _import_problems(
    row: ImportedKey, known: Collection[str], latest: datetime | None, services: Collection[str]
) -> list[str]:
    if row.digest in known:
        return ["This account already has this key."]
    if unknown := unknown_service(row.access, services):
        return [unknown]
    try:
        validators.expiry(row.expires_at, latest=latest)
    except ValidationError as error:
        return error.messages
    return []
