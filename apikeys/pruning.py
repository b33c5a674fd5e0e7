"""Deletes data whose retention period is over."""

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.db.models import Count
from django.utils import timezone

from accounts import outbox
from accounts.deletion import Checkpoint, delete, no_checkpoint
from accounts.services import prune_closed

from .models import AccountUsage, APIKey, IdempotencyKey, KeyOrigin, KeyUsage, Notice

#: Two years and one day, so that the Overview can compare a year with the previous one.
USAGE_KEPT = timedelta(days=2 * 364 + 1)
NOTICES_KEPT = timedelta(days=400)
#: The longest period in the charts of keys.
SOURCES_KEPT = timedelta(days=30)
#: The latest sources of a key that are kept.
MAX_SOURCES = 1_000


def prune(checkpoint: Checkpoint = no_checkpoint) -> dict[str, int]:
    """Delete old usage, sources, notices, answers and mail, expired sessions, and accounts closed long ago.

    Returns how many of each. Safe to run twice, and at the same time.
    """
    now = timezone.now()
    oldest_day = (now - USAGE_KEPT).date()
    usage = delete(KeyUsage.objects.filter(day__lt=oldest_day), checkpoint)
    delete(AccountUsage.objects.filter(day__lt=oldest_day), checkpoint)
    # The notice about a key's expiry stays as long as the key. Otherwise it would be sent again.
    old_notices = Notice.objects.exclude(kind=Notice.Kind.EXPIRED).filter(sent_at__lt=now - NOTICES_KEPT)
    notices = delete(old_notices, checkpoint)
    sources = delete(KeyOrigin.objects.filter(last_used_at__lt=now - SOURCES_KEPT), checkpoint)
    return {
        "days of usage": usage,
        "sources of requests": sources + _prune_many_sources(checkpoint),
        "notices": notices,
        "answers to Idempotency-Keys": delete(IdempotencyKey.objects.outdated(), checkpoint),
        "mails": outbox.prune(checkpoint),
        "sessions": delete(Session.objects.filter(expire_date__lt=now), checkpoint),
        "closed accounts": prune_closed(checkpoint),
    }


def _prune_many_sources(checkpoint: Checkpoint) -> int:
    pruned = 0
    many = APIKey.objects.annotate(number=Count("origins")).filter(number__gt=MAX_SOURCES)
    for api_key in many:
        oldest_kept = api_key.origins.all()[MAX_SOURCES - 1].last_used_at
        pruned += delete(api_key.origins.filter(last_used_at__lt=oldest_kept), checkpoint)
    return pruned
