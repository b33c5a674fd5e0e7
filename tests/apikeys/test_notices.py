import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts import outbox, policy
from accounts.context import RequestContext
from accounts.models import AuditEvent, User
from accounts.services import close_account
from apikeys import expiry, notices, services
from apikeys.leaks import Leak
from apikeys.models import APIKey, KeyUsage, Notice
from apikeys.services import Overlap
from tests import factories
from tests.conftest import Cast
from tests.mail import delivered

pytestmark = pytest.mark.django_db


def send() -> None:
    call_command("send_notices", stdout=io.StringIO())


def subjects() -> list[str]:
    return sorted({message.subject for message in delivered()})


def test_owner_and_admins_get_mail_about_a_new_key_without_the_key(cast: Cast) -> None:
    issued = factories.make_key(cast.account, name="Deploys")
    send()
    assert sorted(message.to[0] for message in delivered()) == ["admin@example.com", "owner@example.com"]
    assert subjects() == ["Acme: API key Deploys was created"]
    message = delivered()[0]
    html = message.alternatives[0][0]
    assert issued.api_key.mask in message.body
    assert issued.api_key.mask in html
    assert issued.secret not in message.message().as_string()


def test_a_deactivated_person_gets_no_mail(cast: Cast) -> None:
    User.objects.filter(pk=cast.admin.pk).update(is_active=False)
    factories.make_key(cast.account)
    send()
    assert [message.to for message in delivered()] == [["owner@example.com"]]


def test_a_notice_wakes_the_thread_that_mails_once_it_is_committed(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    outbox.pending.clear()
    with django_capture_on_commit_callbacks(execute=True):
        factories.make_key(cast.account)
        assert not outbox.pending.is_set()
    assert outbox.pending.is_set()


def test_a_name_with_markup_or_line_breaks_is_harmless(cast: Cast) -> None:
    factories.make_key(cast.account)
    with connection.cursor() as cursor:  # an older version allowed line breaks in names
        cursor.execute("UPDATE apikeys_apikey SET name = %s", ["<b>a</b>\nBcc: x@example.com"])
    send()
    assert delivered()[0].subject == "Acme: API key <b>a</b> Bcc: x@example.com was created"
    assert "&lt;b&gt;" in delivered()[0].alternatives[0][0]
    assert "<b>a</b> Bcc: x@example.com" in delivered()[0].body


@pytest.mark.parametrize(
    ("left", "tells"),
    [
        (timedelta(days=8), None),
        (timedelta(days=6), "expires within 7 days"),
        (timedelta(hours=20), "expires within a day"),
        (timedelta(seconds=-5), "has expired"),
    ],
)
def test_an_expiring_key_is_warned_of_in_time_and_once(cast: Cast, left: timedelta, tells: str | None) -> None:
    factories.make_key(cast.account, name="Deploys", expires_at=timezone.now() + left)
    send()
    delivered().clear()
    Notice.objects.filter(kind=Notice.Kind.CREATED).delete()
    Notice.objects.all().delete()
    send()
    assert subjects() == ([f"Acme: API key Deploys {tells}"] if tells else [])
    delivered().clear()
    send()
    assert delivered() == []


def test_an_expired_key_has_one_audit_log_entry(cast: Cast) -> None:
    factories.make_key(cast.account, expires_at=timezone.now() - timedelta(days=1))
    send()
    send()
    assert AuditEvent.objects.filter(event="api_key.expired").count() == 1


def test_a_new_expiry_is_warned_of_again(cast: Cast) -> None:
    key = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=5)).api_key
    send()
    services.change_api_key(
        actor=policy.system(cast.account.ref), api_key=key, expires_at=timezone.now() + timedelta(days=6)
    )
    delivered().clear()
    send()
    assert len(delivered()) == 2


def test_a_revoked_key_is_not_warned_of(cast: Cast) -> None:
    factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=1), revoked_at=timezone.now())
    expiry.find_due()
    assert not Notice.objects.exclude(kind=Notice.Kind.CREATED).exists()


def warned(cast: Cast) -> list[str]:
    expiry.find_due()
    return list(Notice.objects.exclude(kind=Notice.Kind.CREATED).values_list("kind", flat=True))


def test_no_warning_is_sent_about_a_key_that_is_disabled_or_has_a_successor(cast: Cast) -> None:
    soon, actor = timezone.now() + timedelta(days=2), policy.system(cast.account.ref)
    factories.make_key(cast.account, expires_at=soon, disabled_at=timezone.now())
    rotated = factories.make_key(cast.account)
    services.rotate_api_key(actor=actor, api_key=rotated.api_key, overlap=Overlap.HOUR)
    assert warned(cast) == []


def test_the_members_of_a_closed_account_get_no_mail(cast: Cast) -> None:
    factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=2))
    factories.make_key(cast.account, expires_at=timezone.now() - timedelta(days=2))
    close_account(actor=policy.system(cast.account.ref), name="Acme")
    assert warned(cast) == []


def test_a_key_with_a_later_expiry_is_reported_again_when_it_expires(cast: Cast) -> None:
    key = factories.make_key(cast.account, expires_at=timezone.now() - timedelta(days=2)).api_key
    expiry.find_due()
    Notice.objects.update(created_at=timezone.now() - timedelta(days=2))
    APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))
    assert warned(cast) == ["expired", "expired"]
    assert warned(cast) == ["expired", "expired"]


def test_an_expiry_is_not_reported_again_after_old_notices_are_deleted(cast: Cast) -> None:
    factories.make_key(cast.account, expires_at=timezone.now() - timedelta(days=500))
    send()
    Notice.objects.update(sent_at=timezone.now() - timedelta(days=401))
    delivered().clear()
    call_command("prune", stdout=io.StringIO())
    send()
    assert delivered() == []
    assert AuditEvent.objects.filter(event="api_key.expired").count() == 1


def test_mail_is_sent_about_exposed_and_reported_keys(cast: Cast) -> None:
    exposed, reported = factories.make_key(cast.account, name="A"), factories.make_key(cast.account, name="B")
    services.flag_exposed_key(api_key=exposed.api_key, address="203.0.113.7")
    services.flag_exposed_key(api_key=exposed.api_key, address="203.0.113.7")
    services.report_leaked_keys(leaks=[Leak(reported.secret)], context=RequestContext("203.0.113.7", "req-1"))
    send()
    assert [subject for subject in subjects() if "created" not in subject] == [
        "Acme: API key A was sent over plain HTTP",
        "Acme: API key B was reported as leaked",
    ]


@pytest.mark.django_db(transaction=True)
def test_several_processes_at_once_report_each_key_once(cast: Cast) -> None:
    for _ in range(10):
        factories.make_key(cast.account)

    def process(_: int) -> None:
        try:
            notices.mail_pending()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(process, range(4)))
    assert [message.subject for message in delivered()] == ["Acme: 10 API keys were created"] * 2


@pytest.mark.parametrize(
    ("left", "tells"),
    [
        (timedelta(days=6), "expire within 7 days"),
        (timedelta(hours=20), "expire within a day"),
        (timedelta(seconds=-5), "have expired"),
    ],
)
def test_keys_that_expire_together_are_one_mail_for_each_person(
    cast: Cast, left: timedelta, tells: str, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://keys.example.com"
    made = [factories.make_key(cast.account, name=f"Key {number}") for number in range(3)]
    send()
    delivered().clear()
    APIKey.objects.update(expires_at=timezone.now() + left)
    send()
    assert [message.subject for message in delivered()] == [f"Acme: 3 API keys {tells}"] * 2
    for issued in made:
        page = reverse("apikeys:key", args=["acme", issued.api_key.id])
        assert f"{issued.api_key.name} ({issued.api_key.mask})" in delivered()[0].body
        assert f"https://keys.example.com{page}" in delivered()[0].body
    send()
    assert len(delivered()) == 2


def test_a_mail_about_many_keys_lists_some_and_counts_the_rest(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apikeys.notices.MAX_LISTED", 2)
    for _ in range(5):
        factories.make_key(cast.account)
    send()
    assert "5 API keys of Acme were created." in delivered()[0].body
    assert "And 3 more." in delivered()[0].body


def test_accounts_and_kinds_get_separate_mails(cast: Cast) -> None:
    factories.make_key(cast.account, name="A")
    factories.make_key(cast.elsewhere, name="B")
    factories.make_key(cast.account, name="C", expires_at=timezone.now() + timedelta(days=2))
    send()
    assert subjects() == [
        "Acme: 2 API keys were created",
        "Acme: API key C expires within 7 days",
        "Elsewhere: API key B was created",
    ]


def test_prune_deletes_old_usage_and_notices(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    today = timezone.now().date()
    for days in (0, 729, 730):
        KeyUsage.objects.create(api_key=key, day=today - timedelta(days=days))
        key.origins.create(origin=f"203.0.113.{days % 256}", last_used_at=timezone.now() - timedelta(days=days))
    Notice.objects.update(sent_at=timezone.now() - timedelta(days=401))
    call_command("prune", stdout=io.StringIO())
    call_command("prune", stdout=io.StringIO())
    assert KeyUsage.objects.count() == 2
    assert key.origins.count() == 1
    assert not Notice.objects.exists()
    assert APIKey.objects.count() == 1


def test_prune_keeps_the_latest_sources_of_a_key_with_very_many(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apikeys.pruning.MAX_SOURCES", 3)
    key = factories.make_key(cast.account).api_key
    for hours in range(5):
        key.origins.create(origin=f"203.0.113.{hours}", last_used_at=timezone.now() - timedelta(hours=hours))
    call_command("prune", stdout=io.StringIO())
    assert [origin.origin for origin in key.origins.all()] == [f"203.0.113.{hours}" for hours in range(3)]
