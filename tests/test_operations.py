"""The page *Operations*: scheduled jobs, and the results of their last runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from atatus_dash import jobs, operations, scheduler
from atatus_dash.models import ScheduledJob

from . import factories
from .conftest import Browser

PAGE = "/admin/operations/"
RUN = "/admin/operations/mail/run/"


@pytest.fixture
def operator(db: None) -> User:
    scheduler.create_rows()
    return factories.make_operator()


def status(name: str = "mail") -> operations.JobStatus:
    return next(status for status in operations.scheduled_jobs() if status.job.name == name)


def update(**values: Any) -> None:
    ScheduledJob.objects.filter(pk="mail").update(**values)


def text(desk: Browser) -> str:
    """The text of the page."""
    answer = desk.get(PAGE)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def only_may(operator: User, *permissions: str) -> None:
    operator.is_superuser = False
    operator.save()
    operator.user_permissions.set(Permission.objects.filter(codename__in=permissions))


def test_every_job_is_listed_with_its_description(desk: Browser) -> None:
    page = text(desk)
    for job in jobs.JOBS:
        assert job.title in page
        assert job.summary in page
    assert "Every 15 minutes" in page
    assert page.count("Never") == len(jobs.JOBS)


def test_the_page_works_before_any_server_has_created_jobs(desk: Browser) -> None:
    ScheduledJob.objects.all().delete()
    assert text(desk).count("Never") == len(jobs.JOBS)
    assert told(desk.post(RUN, follow=True)) == ["Mail will run in a moment"]


def test_a_run_is_shown_with_its_local_time_duration_node_and_result(desk: Browser, operator: User) -> None:
    operator.time_zone = "Europe/Berlin"
    operator.save()
    update(
        last_run_at=datetime(2026, 11, 24, 23, 5, tzinfo=UTC),
        last_duration=timedelta(seconds=75),
        last_result="Mails sent: 3",
        holder="node-1:812:abc",
        next_run_at=timezone.now() + timedelta(minutes=5),
    )
    page = text(desk)
    assert "25 November 2026, 00:05 CET" in page
    assert "Took 1 min 15 s on node-1:812" in page
    assert "Mails sent: 3" in page
    assert "in 5 min" in page
    assert "812:abc" not in page


def test_a_running_job_is_shown_with_its_node(desk: Browser) -> None:
    now = timezone.now()
    update(holder="node-1:812:abc", leased_until=now + timedelta(seconds=20), running_since=now)
    page = text(desk)
    assert '<span class="pill">Running</span>' in page
    assert "Running on node-1:812 since" in page


def test_a_job_that_fails_is_marked_and_its_error_is_no_markup(desk: Browser) -> None:
    update(failures=2, last_error="ValueError: <b>no</b>", next_run_at=timezone.now() + timedelta(minutes=5))
    page = text(desk)
    assert "Failing" in page
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in page
    assert "Failed 2 times in a row" in page


def test_a_job_that_has_not_run_for_twice_its_interval_is_late(desk: Browser) -> None:
    interval = status().job.interval
    update(next_run_at=timezone.now() - interval + timedelta(seconds=10))
    assert not status().is_late
    update(next_run_at=timezone.now() - interval - timedelta(seconds=10))
    assert status().is_late
    assert text(desk).count("Late") == 1
    update(leased_until=timezone.now() + timedelta(seconds=20))  # it is running, and takes long
    assert not status().is_late


def test_a_run_that_takes_hours_is_late_although_it_renews_its_lease(desk: Browser) -> None:
    now = timezone.now()
    update(holder="node-1:812:abc", next_run_at=now + timedelta(hours=2), leased_until=now + timedelta(seconds=20))
    update(running_since=now - timedelta(minutes=59))
    assert status().problem == ""
    update(running_since=now - timedelta(minutes=61))
    assert status().is_late
    assert status().problem.startswith("has been running on node-1:812 since ")
    row = status().row
    assert row is not None
    assert not row.is_due
    assert "Late" in text(desk)


def test_run_now_makes_the_job_due_and_is_recorded(desk: Browser, operator: User) -> None:
    update(next_run_at=timezone.now() + timedelta(hours=1))
    answer = desk.post(RUN, follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert told(answer) == ["Mail will run in a moment"]
    row = status().row
    assert row
    assert row.is_due
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.change_message) == (operator, "mail", "Run now")
    history = desk.get(reverse("admin:atatus_dash_scheduledjob_history", args=["mail"])).content.decode()
    assert "Run now" in history


def test_the_list_of_jobs_runs_them_too(desk: Browser) -> None:
    ScheduledJob.objects.update(next_run_at=timezone.now() + timedelta(hours=1))
    ScheduledJob.objects.create(name="gone", next_run_at=timezone.now() + timedelta(hours=1))
    update(leased_until=timezone.now() + timedelta(seconds=20))
    sent = {"action": "run_now", "_selected_action": ["gone", "mail", "prune"]}
    answer = desk.post(reverse("admin:atatus_dash_scheduledjob_changelist"), sent, follow=True)
    assert told(answer) == ["This job no longer exists.", "Mail is already running.", "1 will run in a moment."]
    assert [row.name for row in ScheduledJob.objects.with_clock() if row.is_due] == ["prune"]
    assert LogEntry.objects.get().object_id == "prune"


def test_a_job_that_runs_is_not_run_again(desk: Browser) -> None:
    update(leased_until=timezone.now() + timedelta(seconds=20))
    assert told(desk.post(RUN, follow=True)) == ["Mail is already running."]
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("name", ["other", "%00", "a" * 300])
def test_an_unknown_job_is_an_error(desk: Browser, name: str) -> None:
    answer = desk.post(f"/admin/operations/{name}/run/", follow=True)
    if name == "%00":
        assert answer.status_code == 400
    else:
        assert told(answer) == ["This job no longer exists."]


def test_no_link_and_no_other_site_starts_a_job(desk: Browser, operator: User) -> None:
    assert desk.get(RUN).status_code == 405
    assert Browser(enforce_csrf_checks=True).as_(operator).post(RUN).status_code == 403
    assert not LogEntry.objects.exists()


def test_an_operator_with_view_permission_can_not_run_a_job(desk: Browser, operator: User) -> None:
    only_may(operator, "view_scheduledjob")
    assert "Run now" not in text(desk)
    assert desk.post(RUN).status_code == 403
    listed = desk.get(reverse("admin:atatus_dash_scheduledjob_changelist"))
    assert "run_now" not in listed.content.decode()


def test_an_operator_without_view_permission_has_no_page_and_no_link_to_it(desk: Browser, operator: User) -> None:
    assert PAGE in desk.get("/admin/").content.decode()
    only_may(operator, "view_user")
    assert desk.get(PAGE).status_code == 403
    assert PAGE not in desk.get("/admin/").content.decode()


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (timedelta(minutes=1), "minute"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(days=1), "day"),
        (timedelta(seconds=30), "30 seconds"),
    ],
)
def test_an_interval_in_words(interval: timedelta, words: str) -> None:
    assert operations.JobStatus(jobs.MAIL._replace(interval=interval), None).every == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.004, "4 ms"), (1.44, "1.4 s"), (59.9, "59.9 s"), (125, "2 min 5 s"), (3600, "60 min 0 s")]
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert operations.duration(timedelta(seconds=seconds)) == words
