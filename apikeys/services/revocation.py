"""Revoking API keys, handling exposed and leaked ones, and recording that they expired."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts import audit, policy
from accounts.audit import Changes, Event
from accounts.context import RequestContext
from accounts.models import Account
from accounts.policy import Actor

from .. import notices, tokens
from ..leaks import Leak
from ..models import APIKey, Notice, State
from .rules import lock_key, lock_keys

#: If a key is sent over plain HTTP again within this time, that is not reported again.
EXPOSURE_IS_NEWS_AFTER = timedelta(days=1)

#: The most URLs that are recorded for one leaked key.
MAX_PLACES = 10


@transaction.atomic
def revoke_api_key(*, actor: Actor, api_key: APIKey) -> APIKey:
    """Revoke the key permanently. Its next request is refused. Revoking it again changes nothing."""
    actor, api_key = lock_key(actor, api_key)
    revoke_locked(actor, [api_key])
    return api_key


@transaction.atomic
def revoke_api_keys(*, actor: Actor, api_keys: Iterable[APIKey]) -> list[APIKey]:
    """Revoke several keys, all or none. Returns those that were not revoked before."""
    return revoke_locked(*lock_keys(actor, api_keys))


def revoke_locked(actor: Actor, api_keys: Iterable[APIKey]) -> list[APIKey]:
    """Revoke locked keys. Returns those that were not revoked before."""
    revoked = [api_key for api_key in api_keys if api_key.revoked_at is None]
    now = timezone.now()
    for api_key in revoked:
        api_key.revoked_at = now
    APIKey.objects.filter(pk__in=[api_key.pk for api_key in revoked]).update(revoked_at=now)
    audit.record_all(actor=actor, event=Event.API_KEY_REVOKED, entries=[(api_key.target, {}) for api_key in revoked])
    return revoked


@transaction.atomic
def flag_exposed_key(*, api_key: APIKey, address: str) -> None:
    """Record that a key was sent over plain HTTP, and revoke it if the account's policy says so.

    Only for keys that are active or disabled, because a disabled key can be enabled again.
    """
    account = Account.objects.get(pk=api_key.account_id)
    actor = policy.system(account.ref, "Plain HTTP", context=RequestContext(address))
    actor, api_key = lock_key(actor, api_key)
    now = timezone.now()
    if api_key.state not in (State.ACTIVE, State.DISABLED):
        return
    if api_key.exposed_at is None or api_key.exposed_at <= now - EXPOSURE_IS_NEWS_AFTER:
        api_key.exposed_at = now
        api_key.save(update_fields=["exposed_at"])
        audit.record(actor=actor, event=Event.API_KEY_EXPOSED, target=api_key.target)
        notices.add(api_key, Notice.Kind.EXPOSED, about=now.isoformat())
    if account.revoke_exposed_keys:
        revoke_locked(actor, [api_key])


def report_leaked_keys(*, leaks: Iterable[Leak], context: RequestContext, reporter: str = "Leak report") -> None:
    """Revoke these keys.

    The reporter needs no permission: knowing the secret is enough. A URL and a source are recorded as they are, so they
    must come from a trusted reporter.
    """
    found = defaultdict[str, list[Leak]](list)
    for leak in leaks:
        found[tokens.digest(leak.secret)].append(leak)
    for api_key in APIKey.objects.filter(digest__in=found, revoked_at=None).select_related("account").order_by("pk"):
        actor = policy.system(api_key.account.ref, reporter, context=context)
        with transaction.atomic():
            actor, locked = lock_key(actor, api_key)
            if locked.revoked_at is None:
                changes = _places(found[locked.digest])
                audit.record(actor=actor, event=Event.API_KEY_REPORTED, target=locked.target, changes=changes)
                revoke_locked(actor, [locked])
                notices.add(locked, Notice.Kind.REPORTED)


def _places(leaks: list[Leak]) -> Changes:
    """Where one key was found, if known: the first URLs, and their kinds of source."""
    places = {
        notices.FOUND_IN: list(dict.fromkeys(leak.url for leak in leaks if leak.url))[:MAX_PLACES],
        "source": list(dict.fromkeys(leak.source for leak in leaks if leak.source))[:MAX_PLACES],
    }
    return {field: (None, values) for field, values in places.items() if values}


def expire_api_key(*, api_key: APIKey) -> bool:
    """Record once that a key has expired. An expired key is refused even before this is recorded.

    Returns whether this was new.
    """
    with transaction.atomic():
        is_new = notices.add(api_key, Notice.Kind.EXPIRED, about=str(api_key.expires_at))
        if is_new:
            actor = policy.system(api_key.account.ref)
            audit.record(actor=actor, event=Event.API_KEY_EXPIRED, target=api_key.target)
    return is_new
