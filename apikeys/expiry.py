"""Finds the keys that expire soon or have expired. Above `services`, which note that a key has ended."""

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
    """Note the keys that expire within 7 days or within one, and those that have expired.

    Nobody is warned of a key that can't be rotated: a disabled one, and one that was rotated and has its
    successor. Returns how many are new of each. It may run twice, and at the same time.
    """
    soon = ended = 0
    now = timezone.now()
    keys = APIKey.objects.filter(account__closed_at=None).select_related("account").order_by("account", "expires_at")
    # An account's keys are noted all at once, so that nobody mails about some of them meanwhile.
    for _, of_account in groupby(keys.expiring().filter(rotated_at=None), key=attrgetter("account_id")):
        checkpoint()
        with transaction.atomic():
            for api_key in of_account:
                ends_within_a_day = api_key.expires_at is not None and api_key.expires_at <= now + timedelta(days=1)
                kind = Notice.Kind.EXPIRING_DAY if ends_within_a_day else Notice.Kind.EXPIRING_WEEK
                soon += notices.add(api_key, kind, about=str(api_key.expires_at))
    # A key whose life was lengthened ends once more, and that was not told yet.
    told = Notice.objects.filter(
        api_key=OuterRef("pk"), kind=Notice.Kind.EXPIRED, created_at__gte=OuterRef("expires_at")
    )
    expired = keys.in_state(State.EXPIRED).exclude(Exists(told))
    for _, of_account in groupby(expired, key=attrgetter("account_id")):
        checkpoint()
        with transaction.atomic():
            for api_key in of_account:
                ended += services.expire_api_key(api_key=api_key)
    return {"keys that expire soon": soon, "keys that have expired": ended}
