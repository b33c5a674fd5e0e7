"""Letting go of what nobody needs any more."""

from datetime import timedelta

from django.utils import timezone

from accounts.services import prune_closed

from .models import KeyOrigin, KeyUsage, Notice

#: A year and a month, so that a day can be compared with the same day a year before.
USAGE_KEPT = timedelta(days=400)
NOTICES_KEPT = timedelta(days=400)
#: As long as the charts of keys.
ORIGINS_KEPT = timedelta(days=30)


def prune() -> dict[str, int]:
    """Delete old usage, quiet origins, old notices that were sent, and accounts closed long ago.

    Returns how many of each.
    """
    now = timezone.now()
    usage, _ = KeyUsage.objects.filter(day__lt=(now - USAGE_KEPT).date()).delete()
    # That a key has ended is noted for as long as there is the key, or it would be told again.
    notices, _ = Notice.objects.exclude(kind=Notice.Kind.EXPIRED).filter(sent_at__lt=now - NOTICES_KEPT).delete()
    origins, _ = KeyOrigin.objects.filter(last_used_at__lt=now - ORIGINS_KEPT).delete()
    return {
        "days of usage": usage,
        "origins of requests": origins,
        "notices": notices,
        "closed accounts": prune_closed(),
    }
