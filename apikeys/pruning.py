"""Letting go of what nobody needs any more."""

from datetime import timedelta

from django.utils import timezone

from accounts.services import prune_closed

from .models import KeyUsage, Notice

#: A year and a month, so that a day can be compared with the same day a year before.
USAGE_KEPT = timedelta(days=400)
NOTICES_KEPT = timedelta(days=400)


def prune() -> dict[str, int]:
    """Delete old usage, old notices that were sent and accounts closed long ago; return how many of each."""
    now = timezone.now()
    usage, _ = KeyUsage.objects.filter(day__lt=(now - USAGE_KEPT).date()).delete()
    # That a key has ended is noted for as long as there is the key, or it would be told again.
    notices, _ = Notice.objects.exclude(kind=Notice.Kind.EXPIRED).filter(sent_at__lt=now - NOTICES_KEPT).delete()
    return {"days of usage": usage, "notices": notices, "closed accounts": prune_closed()}
