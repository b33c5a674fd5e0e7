"""Maintenance mode in each process, and the thread that reads it."""

import logging

import pytest
from django.db import OperationalError, ProgrammingError

from apikeys import exposure
from apikeys.usage import counts
from atatus_dash import heartbeat, maintenance
from atatus_dash.models import Maintenance

from .conftest import Browser, Cast, Program


@pytest.fixture(autouse=True)
def _online_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_current", maintenance.current())


def test_switching_on_is_seen_at_the_next_read(db: None) -> None:
    maintenance.switch(on=True, message="Back at noon.", retry_after=60)
    assert maintenance.current() is None
    maintenance.refresh()
    assert maintenance.current() == ("Back at noon.", 60)


def test_switching_off_clears_the_message(db: None) -> None:
    maintenance.switch(on=True, message="Back at noon.", retry_after=60)
    maintenance.switch(on=False)
    maintenance.refresh()
    assert maintenance.current() is None
    assert Maintenance.objects.get().message == Maintenance.MESSAGE


def test_the_last_state_stays_while_the_database_is_unavailable(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    maintenance.switch(on=True)
    maintenance.refresh()

    def unreachable(**lookup: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(Maintenance.objects, "filter", unreachable)
    with pytest.raises(OperationalError):
        maintenance.refresh()
    assert maintenance.current() is not None


def test_pages_are_offline_but_signing_in_admin_and_the_probes_are_not(cast: Cast, browser: Browser) -> None:
    maintenance.switch(on=True, message="Back at noon.", retry_after=60)
    maintenance.refresh()
    page = browser.get("/accounts/acme/")
    assert (page.status_code, page["Retry-After"]) == (503, "60")
    assert "Back at noon." in page.content.decode()
    assert browser.get("/auth/login/").status_code == 200
    assert browser.get("/healthz").status_code == 200
    assert browser.get("/readyz").status_code == 200
    assert browser.get("/static/nothing.css").status_code == 404
    assert browser.get("/admin/").status_code == 302


def test_a_task_that_fails_is_logged_once_and_run_again(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = iter([ProgrammingError("gone"), ProgrammingError("gone"), None, None])

    def task() -> None:
        if error := next(outcomes):
            raise error

    tasks = heartbeat.TaskRunner()
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            tasks.run(task)
    said = [record.getMessage() for record in caplog.records]
    assert [sentence.split(".task ")[1] for sentence in said] == ["fails and is tried again: gone", "works again."]


def test_a_stop_that_can_not_write_logs_how_much_is_lost(
    program: Program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        program.get("/v2")
    program.get("/v2", plain_http=True)

    def unreachable(*args: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(counts._buffer, "_write", unreachable)
    monkeypatch.setattr(exposure, "_flag", unreachable)
    heartbeat._finish(heartbeat.TaskRunner())
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [sentence.split(":")[0].split(" before")[0] for sentence in said] == [
        "3 counted requests are lost",
        "1 requests over plain HTTP were not searched for keys",
    ]


def test_a_task_may_raise_an_unexpected_error(caplog: pytest.LogCaptureFixture) -> None:
    def task() -> None:
        raise ZeroDivisionError

    heartbeat.TaskRunner().run(task)
    assert caplog.records[0].exc_info
