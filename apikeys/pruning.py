"""Deletes what is older than it has to be kept."""

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.db.models import Count
from django.utils import timezone

from accounts import outbox
from accounts.deletion import Checkpoint, delete, no_checkpoint
from accounts.services import prune_closed

from .models import AccountUsage, APIKey, KeyOrigin, KeyUsage, Notice

#: Two years and today, so that the Overview can compare a year with the one before.
USAGE_KEPT = timedelta(days=2 * 364 + 1)
NOTICES_KEPT = timedelta(days=400)
#: As long as the charts of keys.
SOURCES_KEPT = timedelta(days=30)
#: And so many of a key, the latest, however many it is used from.
MOST_SOURCES = 1_000


def prune(checkpoint: Checkpoint = no_checkpoint) -> dict[str, int]:
    """Delete old usage, quiet origins, old notices and mail, sessions that ended, and accounts closed long ago.

    Returns how many of each. It may run twice, and at the same time.
    """
    now = timezone.now()
    oldest_day = (now - USAGE_KEPT).date()
    usage = delete(KeyUsage.objects.filter(day__lt=oldest_day), checkpoint)
    delete(AccountUsage.objects.filter(day__lt=oldest_day), checkpoint)
    # That a key has ended is noted for as long as there is the key, or it would be told again.
    old_notices = Notice.objects.exclude(kind=Notice.Kind.EXPIRED).filter(sent_at__lt=now - NOTICES_KEPT)
    notices = delete(old_notices, checkpoint)
    sources = delete(KeyOrigin.objects.filter(last_used_at__lt=now - SOURCES_KEPT), checkpoint)
    return {
        "days of usage": usage,
        "sources of requests": sources + _prune_many_sources(checkpoint),
        "notices": notices,
        "mails": outbox.prune(checkpoint),
        "sessions": delete(Session.objects.filter(expire_date__lt=now), checkpoint),
        "closed accounts": prune_closed(checkpoint),
    }


def _prune_many_sources(checkpoint: Checkpoint) -> int:
    pruned = 0
    many = APIKey.objects.annotate(number=Count("origins")).filter(number__gt=MOST_SOURCES)
    for api_key in many:
        oldest_kept = api_key.origins.all()[MOST_SOURCES - 1].last_used_at
        pruned += delete(api_key.origins.filter(last_used_at__lt=oldest_kept), checkpoint)
    return pruned
