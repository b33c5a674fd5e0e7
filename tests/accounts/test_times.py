"""Pages show times in the user's time zone; mail and the API use UTC."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from accounts import cookies, times
from accounts.models import AuditEvent, Invitation
from accounts.templatetags.ui import ago
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast
from tests.mail import delivered

JULY = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)


def test_a_time_of_this_second_reads_well_in_a_sentence() -> None:
    assert ">just now</time>" in ago(timezone.now())


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("UTC", "1 July 2026, 22:30 UTC"),
        ("Europe/Berlin", "2 July 2026, 00:30 CEST"),
        ("America/St_Johns", "1 July 2026, 20:00 NDT"),
        ("Asia/Dubai", "2 July 2026, 02:30 UTC+04"),
    ],
)
def test_a_time_is_shown_with_its_zone(zone: str, said: str) -> None:
    with timezone.override(zone):
        assert times.format_moment(JULY) == said


def the_keys_page(cast: Cast, browser: Browser) -> str:
    api_key = factories.make_key(cast.account).api_key
    APIKey.objects.filter(pk=api_key.pk).update(created_at=JULY)
    return browser.get(f"/accounts/acme/settings/api-keys/{api_key.id}/").content.decode()


def test_a_page_is_in_the_browsers_time_zone(cast: Cast, browser: Browser) -> None:
    browser.cookies[cookies.name(times.COOKIE)] = "Europe/Berlin"

    assert "2 July 2026, 00:30 CEST" in the_keys_page(cast, browser.as_(cast.owner))


def test_the_users_time_zone_takes_precedence_over_the_browsers(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner).post("/profile/", {"name": "Olivia", "time_zone": "Asia/Tokyo"})
    browser.cookies[cookies.name(times.COOKIE)] = "Europe/Berlin"

    assert "2 July 2026, 07:30 JST" in the_keys_page(cast, browser)


@pytest.mark.parametrize("nonsense", ["", "Mars/Olympus", "../../etc/passwd", "posix", "Europe", "%00"])
def test_a_browser_without_a_time_zone_gets_utc(nonsense: str, cast: Cast, browser: Browser) -> None:
    browser.cookies[cookies.name(times.COOKIE)] = nonsense

    assert "1 July 2026, 22:30 UTC" in the_keys_page(cast, browser.as_(cast.owner))


def test_an_unknown_time_zone_is_refused(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.owner).post("/profile/", {"time_zone": "Mars/Olympus"})

    assert response.status_code == 422
    cast.owner.refresh_from_db()
    assert cast.owner.time_zone == ""


def test_an_expiry_date_is_entered_in_the_users_time_zone(cast: Cast, browser: Browser) -> None:
    browser.cookies[cookies.name(times.COOKIE)] = "America/New_York"
    later = (timezone.now() + timedelta(days=30)).replace(hour=12, minute=0, second=0, microsecond=0)
    with timezone.override("America/New_York"):
        typed = timezone.localtime(later).strftime("%Y-%m-%dT%H:%M")
    answer = browser.as_(cast.owner).post(
        "/accounts/acme/settings/api-keys/new/",
        {"name": "Deploys", "permission": "read", "expiry": "at", "expires_at": typed},
    )

    assert answer.status_code == 200
    assert APIKey.objects.get().expires_at == later
    assert AuditEvent.objects.get(event="api_key.created").changes["expires_at"] == [None, later.isoformat()[:-6] + "Z"]


def test_the_audit_logs_days_are_in_the_users_time_zone(cast: Cast, browser: Browser) -> None:
    factories.make_key(cast.account, "Late")
    QuerySet.update(AuditEvent.objects.filter(target_label="Late"), at=JULY)  # the model refuses updates
    browser.as_(cast.owner)

    def events_of(day: str) -> str:
        return browser.get(f"/accounts/acme/settings/audit-log/?since={day}&until={day}").content.decode()

    assert "Late" in events_of("2026-07-01")
    browser.cookies[cookies.name(times.COOKIE)] = "Europe/Berlin"
    assert "No events match" in events_of("2026-07-01")
    assert "Late" in events_of("2026-07-02")


def test_times_in_an_invitation_mail_are_in_utc(cast: Cast, browser: Browser) -> None:
    browser.cookies[cookies.name(times.COOKIE)] = "Asia/Tokyo"
    browser.as_(cast.owner).post(
        "/accounts/acme/settings/members/invite/", {"email": "new@example.com", "role": "user"}
    )

    ends = Invitation.objects.get().expires_at
    assert f"{ends.day} {ends:%B %Y, %H:%M} UTC" in delivered()[0].body


def test_times_in_a_password_mail_are_in_utc(cast: Cast, browser: Browser) -> None:
    browser.cookies[cookies.name(times.COOKIE)] = "Asia/Tokyo"
    new = "another one altogether"
    browser.as_(cast.owner).post(
        "/auth/password/change/", {"oldpassword": factories.PASSWORD, "password1": new, "password2": new}
    )
    told = re.search(r"Time: (.*) UTC", delivered()[-1].body)

    assert told is not None
    when = datetime.strptime(told[1], "%d %B %Y, %H:%M").replace(tzinfo=UTC)
    assert abs(timezone.now() - when) < timedelta(minutes=2)
