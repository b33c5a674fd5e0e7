"""Mail about keys to the Owner and the Admins of their account: text and HTML, never a secret.

A notice is a row, written in the transaction of what it tells. `deliver` sends what is pending; several
processes may run it at once, because each notice is claimed before it is sent. A server's mail thread does
so soon after the commit, and `manage.py send_notices` for whatever was left.
"""

import logging
import threading
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.template.loader import render_to_string
from django.utils import timezone

from accounts import mail
from accounts.models import Membership
from accounts.policy import Role

from .models import APIKey, Notice, State

logger = logging.getLogger(__name__)

#: A claim that was not followed by a mail, because its process died, lapses after this time.
CLAIM_LAPSES_AFTER = timedelta(minutes=10)

#: Set whenever a notice was committed by this process.
pending = threading.Event()


def add(api_key: APIKey, kind: Notice.Kind, *, about: str = "") -> bool:
    """Note that a mail is due. False if this one was noted before."""
    _, is_new = Notice.objects.get_or_create(api_key=api_key, kind=kind, about=about)
    if is_new:
        transaction.on_commit(pending.set)
    return is_new


def find_due() -> None:
    """Note the keys that expire within 7 days or within one, and those that have expired.

    Nobody is warned of a key that can't be rotated: a disabled one, and one that was rotated and has its
    successor.
    """
    from . import services

    now = timezone.now()
    keys = APIKey.objects.filter(account__closed_at=None).select_related("account")
    for api_key in keys.expiring().filter(rotated_at=None):
        ends_within_a_day = api_key.expires_at is not None and api_key.expires_at <= now + timedelta(days=1)
        kind = Notice.Kind.EXPIRING_DAY if ends_within_a_day else Notice.Kind.EXPIRING_WEEK
        add(api_key, kind, about=str(api_key.expires_at))
    # A key whose life was lengthened ends once more, and that was not told yet.
    told = Notice.objects.filter(
        api_key=OuterRef("pk"), kind=Notice.Kind.EXPIRED, created_at__gte=OuterRef("expires_at")
    )
    for api_key in keys.in_state(State.EXPIRED).exclude(Exists(told)):
        services.expire(api_key=api_key)


def deliver() -> int:
    """Send what is pending; return how many notices were sent. One that fails stays pending."""
    pending.clear()
    sent = 0
    for notice in Notice.objects.filter(sent_at=None).select_related("api_key__account"):
        if _claim(notice):
            try:
                _send(notice)
            except (OSError, ValueError):
                logger.exception("A notice about key %s could not be sent.", notice.api_key_id)
                Notice.objects.filter(pk=notice.pk).update(claimed_at=None)
                continue
            Notice.objects.filter(pk=notice.pk).update(sent_at=timezone.now())
            sent += 1
    return sent


def _claim(notice: Notice) -> bool:
    """Take the notice for this process. False if another was quicker."""
    now = timezone.now()
    free = Q(claimed_at=None) | Q(claimed_at__lte=now - CLAIM_LAPSES_AFTER)
    return Notice.objects.filter(free, pk=notice.pk, sent_at=None).update(claimed_at=now) == 1


def _send(notice: Notice) -> None:
    account = notice.api_key.account
    context = {"notice": notice, "api_key": notice.api_key, "account": account, "Kind": Notice.Kind}
    people = Membership.objects.for_account(account).filter(
        role__in=[Role.OWNER.value, Role.ADMIN.value], user__is_active=True
    )
    subject = f"{account.name}: the API key {notice.api_key.name} {notice.get_kind_display()}"
    text = render_to_string("apikeys/mail/notice.txt", context)
    mail.deliver(people.values_list("user__email", flat=True), subject, text)
