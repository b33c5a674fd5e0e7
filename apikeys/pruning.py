"""Letting go of what nobody needs any more."""

from datetime import timedelta

from django.db.models import Count
from django.utils import timezone

from accounts import outbox
from accounts.services import prune_closed

from .models import AccountUsage, APIKey, KeyOrigin, KeyUsage, Notice

#: Two years and today, so that the Overview can compare a year with the one before.
USAGE_KEPT = timedelta(days=2 * 364 + 1)
NOTICES_KEPT = timedelta(days=400)
#: As long as the charts of keys.
ORIGINS_KEPT = timedelta(days=30)
#: And so many of a key, the latest, however many it is used from.
MOST_ORIGINS = 1_000


def prune() -> dict[str, int]:
    """Delete old usage, quiet origins, old notices and mail, and accounts closed long ago.

    Returns how many of each.
    """
    now = timezone.now()
    oldest_day = (now - USAGE_KEPT).date()
    usage, _ = KeyUsage.objects.filter(day__lt=oldest_day).delete()
    AccountUsage.objects.filter(day__lt=oldest_day).delete()
    # That a key has ended is noted for as long as there is the key, or it would be told again.
    notices, _ = Notice.objects.exclude(kind=Notice.Kind.EXPIRED).filter(sent_at__lt=now - NOTICES_KEPT).delete()
    origins, _ = KeyOrigin.objects.filter(last_used_at__lt=now - ORIGINS_KEPT).delete()
    origins += _prune_many_origins()
    return {
        "days of usage": usage,
        "origins of requests": origins,
        "notices": notices,
        "mails": outbox.prune(),
        "closed accounts": prune_closed(),
    }


def _prune_many_origins() -> int:
    pruned = 0
    many = APIKey.objects.annotate(number=Count("origins")).filter(number__gt=MOST_ORIGINS)
    for api_key in many:
        oldest_kept = api_key.origins.all()[MOST_ORIGINS - 1].last_used_at
        pruned += api_key.origins.filter(last_used_at__lt=oldest_kept).delete()[0]
    return pruned
