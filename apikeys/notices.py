"""Mail about keys to the Owner and the Admins of their account. It never contains a secret.

A notice is a row, written in the transaction of the change it reports. Later, the mail thread of a server or
`manage.py send_notices` calls `mail_pending`, which sends one mail for many notices.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from accounts import mail, outbox
from accounts.audit import Event
from accounts.models import AuditEvent, Membership
from accounts.policy import Role

from .models import APIKey, Notice

#: The subject of a mail about several keys.
MANY = {
    Notice.Kind.CREATED: "were created",
    Notice.Kind.EXPIRING_WEEK: "expire within 7 days",
    Notice.Kind.EXPIRING_DAY: "expire within a day",
    Notice.Kind.EXPIRED: "have expired",
    Notice.Kind.EXPOSED: "were sent over plain HTTP",
    Notice.Kind.REPORTED: "were reported as leaked",
}
#: What a mail about one key says, if it is not the kind's label.
ONE = {Notice.Kind.CREATED: "was created"}

#: The field of the event `api_key.reported` with the URLs where a key was found.
FOUND_IN = "found_in"

#: The most keys that one mail is about, and the most that it names.
MAX_PER_MAIL, MAX_LISTED = 1_000, 50


def add(api_key: APIKey, kind: Notice.Kind, *, about: str = "") -> bool:
    """Create a notice, unless it exists. Returns whether it is new."""
    _, is_new = Notice.objects.get_or_create(api_key=api_key, kind=kind, about=about)
    if is_new:
        outbox.wake()
    return is_new


def add_created(api_keys: Iterable[APIKey]) -> None:
    """Create the notices about new keys with one statement."""
    Notice.objects.bulk_create([Notice(api_key=api_key, kind=Notice.Kind.CREATED) for api_key in api_keys])
    outbox.wake()


def mail_pending() -> None:
    """Put mail for pending notices into the outbox: one per recipient for all notices of an account and a kind."""
    pending = Notice.objects.filter(sent_at=None).order_by()
    for account, kind in pending.values_list("api_key__account", "kind").distinct():
        while _mail_some(account, Notice.Kind(kind)):
            pass


@transaction.atomic
def _mail_some(account_id: int, kind: Notice.Kind) -> bool:
    """Mail at most `MAX_PER_MAIL` pending notices. False if none are left, or another process has locked them."""
    pending = (
        Notice.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(sent_at=None, api_key__account=account_id, kind=kind)
        .select_related("api_key__account")
    )
    notices = list(pending[:MAX_PER_MAIL])
    if not notices:
        return False
    Notice.objects.filter(pk__in=[notice.pk for notice in notices]).update(sent_at=timezone.now())
    _mail(kind, [notice.api_key for notice in notices])
    return True


def _mail(kind: Notice.Kind, api_keys: list[APIKey]) -> None:
    account = api_keys[0].account
    people = Membership.objects.for_account(account).filter(
        role__in=[Role.OWNER.value, Role.ADMIN.value], user__is_active=True
    )
    context: dict[str, Any] = {"kind": kind, "Kind": Notice.Kind, "account": account}
    listed = api_keys[:MAX_LISTED]
    found_in = _found_in(listed) if kind == Notice.Kind.REPORTED else {}
    items = [(api_key, found_in.get(api_key.id, [])) for api_key in listed]
    if len(api_keys) == 1:
        subject = f"{account.name}: API key {api_keys[0].name} {ONE.get(kind, kind.label)}"
        text = render_to_string("apikeys/mail/notice.txt", {**context, "api_key": items[0][0], "found_in": items[0][1]})
    else:
        subject = f"{account.name}: {len(api_keys)} API keys {MANY[kind]}"
        context |= {"items": items, "number": len(api_keys), "what": MANY[kind]}
        text = render_to_string("apikeys/mail/notices.txt", {**context, "more": max(len(api_keys) - MAX_LISTED, 0)})
    lifetime = timedelta(days=1) if kind == Notice.Kind.EXPIRING_DAY else mail.LIFETIME
    for address in people.values_list("user__email", flat=True):
        outbox.add(address, subject, text, kind=f"api_key_{kind.value}", lifetime=lifetime)


def _found_in(api_keys: list[APIKey]) -> dict[str, list[str]]:
    """The URLs where reported keys were found, from the audit log, by the keys' ids."""
    reports = AuditEvent.objects.filter(
        account=api_keys[0].account_id,
        event=Event.API_KEY_REPORTED,
        target_id__in=[api_key.id for api_key in api_keys],
    )
    return {
        target: changes[FOUND_IN][1]
        for target, changes in reports.values_list("target_id", "changes")
        if FOUND_IN in changes
    }
