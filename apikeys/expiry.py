"""Finds the keys that expire soon or have expired. It imports `services`, which record the expiry."""

from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.deletion import Checkpoint, no_checkpoint

from . import notices, services
from .models import APIKey, Notice, State


def find_due(checkpoint: Checkpoint = no_checkpoint) -> dict[str, int]:
    """Create notices about keys that expire within 7 days or within one day, and record keys that have expired.

    No warning is sent about a key that can't be rotated: a disabled key, or a rotated one, which has a successor.
    Returns how many of each are new. Safe to run twice, and at the same time.
    """
    soon = ended = 0
    now = timezone.now()
    keys = APIKey.objects.filter(account__closed_at=None).select_related("account").order_by("account", "expires_at")
    # One transaction for all keys of an account, so that no mail is sent about only some of them.
    for _, of_account in groupby(keys.expiring().filter(rotated_at=None), key=attrgetter("account_id")):
        checkpoint()
        with transaction.atomic():
            for api_key in of_account:
                ends_within_a_day = api_key.expires_at is not None and api_key.expires_at <= now + timedelta(days=1)
                kind = Notice.Kind.EXPIRING_DAY if ends_within_a_day else Notice.Kind.EXPIRING_WEEK
                soon += notices.add(api_key, kind, about=str(api_key.expires_at))
    # A key whose expiry was moved to a later time expires again, and needs another notice.
    notified = Notice.objects.filter(
        api_key=OuterRef("pk"), kind=Notice.Kind.EXPIRED, created_at__gte=OuterRef("expires_at")
    )
    expired = keys.in_state(State.EXPIRED).exclude(Exists(notified))
    for _, of_account in groupby(expired, key=attrgetter("account_id")):
        checkpoint()
        with transaction.atomic():
            for api_key in of_account:
                ended += services.expire_api_key(api_key=api_key)
    return {"keys that expire soon": soon, "keys that have expired": ended}
