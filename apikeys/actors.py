"""A key as the actor of what it does: what it may when its request comes, and again when it changes something."""

from collections.abc import Iterable

from accounts.context import RequestContext
from accounts.errors import NotAuthenticated, NotPermitted
from accounts.policy import KEY_GRANTS, AccountRef, Actor, ActorKind, KeyRole

from . import lookup, networks, power
from .lookup import KeyRecord
from .models import APIKey


def actor_of(key: KeyRecord, *, context: RequestContext) -> Actor:
    """The key in its account, with what it may at this moment."""
    role = KeyRole.ADMINISTRATOR if key.administrator else KeyRole.KEY
    return Actor(
        ActorKind.KEY,
        key.id,
        key.name,
        AccountRef(key.account_id, key.account_slug, key.account_name),
        KEY_GRANTS[role, key.permission],
        role,
        context,
        power.bounds(expires_at=key.expires_at, allowed_networks=key.networks, rate_limit=key.rate_limit),
        renew,
    )


def renew(actor: Actor) -> Actor:
    """The key as it is now and stays until the transaction ends. Raises what a new request would be refused with.

    How it is sent, and how often, was judged when the request came.
    """
    lock(actor.account, [actor.id])
    key = lookup.by_id(actor.id)
    if problem := problem_of(key):
        raise NotAuthenticated(problem)
    assert key is not None
    require_account_in_use(key)
    require_network(key, actor.context.address)
    return actor_of(key, context=actor.context)


def lock(account: AccountRef, ids: Iterable[str]) -> dict[str, APIKey]:
    """These keys of the account by their ids, locked until the transaction ends.

    All at once and in the order of their ids: two keys that act on each other at the same moment take turns.
    Rows that refer to a key, such as its usage, are written meanwhile.
    """
    keys = APIKey.objects.for_account(account).filter(pk__in=ids).order_by("pk").select_for_update(no_key=True)
    return {api_key.pk: api_key for api_key in keys}


def problem_of(key: KeyRecord | None) -> str | None:
    """Why a key is no good, as the API says it; None for one that is."""
    if key is None:
        return "API key is invalid!"
    if key.revoked is not None:
        return "API key has been revoked!"
    if key.expired:
        return "API key has expired!"
    if key.disabled is not None:
        return "API key is disabled!"
    return None


def require_account_in_use(key: KeyRecord) -> None:
    """Raise `NotPermitted` for a key of a closed or suspended account, which may be reopened or resumed."""
    if key.account_closed is not None:
        raise NotPermitted("This account is closed.")
    if key.account_suspended is not None:
        raise NotPermitted("This account is suspended.")


def require_network(key: KeyRecord, address: str | None) -> None:
    """Raise `NotPermitted` for a key that is used from outside its networks."""
    if key.allowed_networks != "[]" and not networks.is_within(address or "", key.networks):
        raise NotPermitted("This API key may not be used from this address.")
