"""A key as an actor: its permissions when its request arrives, and again when it changes something."""

from collections.abc import Iterable

from django.db.models import Model

from accounts.context import RequestContext
from accounts.policy import AccountRef, Actor, ActorKind
from accounts.services import lock_account

from . import gate, lookup, power
from .lookup import KeyRecord
from .models import APIKey


def actor_of(key: KeyRecord, *, context: RequestContext) -> Actor:
    """The key in its account, with its permissions at this moment."""
    return Actor(
        ActorKind.KEY,
        key.id,
        key.name,
        AccountRef(key.account_id, key.account_slug, key.account_name),
        key.permissions,
        key.role,
        context,
        power.bounds(
            expires_at=key.expires_at,
            allowed_networks=key.networks,
            rate_limit=key.rate_limit,
            access=key.access,
        ),
        renew,
    )


def renew(actor: Actor) -> Actor:
    """The key as it is now, locked until the transaction ends. Raises `Refused` if a new request would be refused."""
    lock(actor.account, [actor.id])
    return actor_of(require_still_valid(actor), context=actor.context)


def require_still_valid(actor: Actor) -> KeyRecord:
    """The record of a key whose request was accepted. Raises `Refused` if a new request would be refused."""
    return gate.require_still_valid(lookup.by_id(actor.id), actor.context.address)


def lock(account: AccountRef, ids: Iterable[str]) -> dict[str, APIKey]:
    """These keys of the account by their ids, locked until the transaction ends.

    One query locks them in the order of their ids. So two keys that change each other at the same moment don't
    deadlock. Rows that refer to a key, such as its usage, can still be written.
    """
    keys = APIKey.objects.for_account(account).filter(pk__in=ids).order_by("pk").select_for_update(no_key=True)
    return {api_key.pk: api_key for api_key in keys}


def lock_item(actor: Actor, item: Model) -> None:
    """Lock the acting key and an item of its account until the transaction ends, before a service function locks them.

    They are locked in the order of `lock_actor`. Raises `Refused` as `renew` does.
    """
    if isinstance(item, APIKey):
        lock(actor.account, [actor.id, item.pk])
    renew(actor)
    lock_account(actor)
    list(type(item)._default_manager.select_for_update(no_key=True).filter(pk=item.pk))
