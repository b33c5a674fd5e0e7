"""Letting go of what nobody needs any more."""

from datetime import timedelta

from django.utils import timezone

from .models import KeyUsage, Notice

#: A year and a month, so that a day can be compared with the same day a year before.
USAGE_KEPT = timedelta(days=400)
NOTICES_KEPT = timedelta(days=400)


def prune() -> dict[str, int]:
    """Delete old usage and old notices that were sent; return how many of each."""
    now = timezone.now()
    usage, _ = KeyUsage.objects.filter(day__lt=(now - USAGE_KEPT).date()).delete()
    notices, _ = Notice.objects.filter(sent_at__lt=now - NOTICES_KEPT).delete()
    return {"days of usage": usage, "notices": notices}
