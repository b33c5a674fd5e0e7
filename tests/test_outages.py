"""Outages of the database or Redis: pages, answers, health checks and log lines."""

import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from allauth.usersessions.models import UserSession
from django.core.cache import caches
from django.db import OperationalError, ProgrammingError, connection
from django.test import override_settings
from pytest_django import Settings

from accounts.errors import Unavailable
from apikeys import limits, outages
from apikeys.outages import Dependency, RedisUnavailable, Slots
from apikeys.redis_limits import NO_ANSWER, RedisLimiter, call_redis
from atatus_dash import availability, heartbeat

from . import factories
from .conftest import Browser, Cast, Program, SecureClient
from .servers import Installation, install, serving, wait_for
from .tcp_proxy import TcpProxy

pytestmark = pytest.mark.stores

NOWHERE = "redis://127.0.0.1:1"


# The database, at each of a request's statements -------------------------------------------------


class _Gone:
    """Fails the given statement and, unless only that one should fail, all statements after it."""

    def __init__(self, first: int, *, only: bool) -> None:
        self.first, self.only, self.seen = first, only, 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.seen += 1
        if self.seen == self.first or (self.seen > self.first and not self.only):
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, params, many, context)


REQUESTS = [
    ("get", "/", {}),
    ("get", "/accounts/acme/", {}),
    ("get", "/accounts/acme/settings/api-keys/", {}),
    ("get", "/accounts/acme/settings/audit-log/", {}),
    ("get", "/accounts/acme/nowhere/", {}),
    ("get", "/accounts/elsewhere/", {}),
    ("get", "/profile/", {}),
    ("get", "/auth/sessions/", {}),
    ("get", "/auth/nowhere/", {}),
    ("get", "/auth/", {}),
    ("get", "/admin/", {}),
    ("post", "/accounts/acme/projects/new/", {"name": "Web"}),
    ("post", "/profile/", {"name": "Olivia"}),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("only", [True, False], ids=["one statement", "every statement from one on"])
@pytest.mark.parametrize(("method", "path", "data"), REQUESTS)
def test_a_page_is_503_whichever_statement_meets_no_database(
    cast: Cast, method: str, path: str, data: dict[str, str], only: bool
) -> None:
    statuses = []
    for number in itertools.count(1):
        UserSession.objects.all().delete()  # a page that lists them would take statements for each
        browser = Browser(raise_request_exception=False).as_(cast.owner)
        gone = _Gone(number, only=only)
        with connection.execute_wrapper(gone):
            answer = getattr(browser, method)(path, data)
        if gone.seen < number:
            break
        statuses.append(answer.status_code)
        if answer.status_code == 503:
            assert int(answer["Retry-After"]) > 0
            assert "database is unavailable" in answer.content.decode()
    assert statuses
    assert not {400, 500} & set(statuses)
    assert statuses[0] == 503


@pytest.mark.django_db(transaction=True)
def test_a_form_refused_for_its_csrf_token_is_503_without_a_database(cast: Cast) -> None:
    browser = Browser(raise_request_exception=False, enforce_csrf_checks=True).as_(cast.owner)
    for number in range(1, 10):
        with connection.execute_wrapper(_Gone(number, only=False)):
            assert browser.post("/profile/", {"name": "Olivia"}).status_code in (403, 503)


def test_an_outage_is_logged_once_however_many_pages_fail(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    browser = Browser(raise_request_exception=False).as_(cast.owner)
    with connection.execute_wrapper(_Gone(1, only=False)):
        for _ in range(5):
            assert browser.get("/accounts/acme/").status_code == 503
            assert Program("atk_" + "a" * 36).get("/v2").status_code in (401, 503)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "The database is unavailable: server closed the connection unexpectedly"
    ]


def test_our_own_error_is_still_a_500(cast: Cast) -> None:
    def nonsense(*args: object) -> None:
        raise ProgrammingError("no such column")

    browser = Browser(raise_request_exception=False).as_(cast.owner)
    with connection.execute_wrapper(nonsense):
        assert browser.get("/accounts/acme/").status_code == 500


def test_healthz_does_not_read_the_session(cast: Cast) -> None:
    browser = Browser().as_(cast.owner)
    with connection.execute_wrapper(_Gone(1, only=False)):
        assert browser.get("/healthz").status_code == 200


@pytest.mark.parametrize("sqlstate", ["25006", "25P03"])
def test_a_standby_and_an_ended_idle_transaction_are_outages(sqlstate: str) -> None:
    from django.db import InternalError

    error = InternalError("cannot execute INSERT in a read-only transaction")
    error.__cause__ = psycopg.errors.lookup(sqlstate)("cannot execute INSERT in a read-only transaction")
    assert availability.is_outage(error)
    error.__cause__ = psycopg.errors.lookup("25P02")("current transaction is aborted")
    assert not availability.is_outage(error)


# Log lines ---------------------------------------------------------------------------------------


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def _works() -> None:
    pass


def _refuses() -> None:
    raise OSError("refused")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("apikeys.outages.time.monotonic", lambda: now[0])
    return now


def test_an_outage_begins_once_and_ends_once(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    service = Dependency("Redis")
    for _ in range(3):
        service.record_failure(OSError("refused"), "requests pass unlimited")
        service.check(_refuses)
    clock[0] += outages.QUIET_SECONDS
    for _ in range(3):
        service.check(_works)
    service.record_failure(OSError("refused"))
    assert _said(caplog) == [
        "Redis is unavailable, so requests pass unlimited: refused",
        "Redis answers again.",
        "Redis is unavailable: refused",
    ]


def test_an_outage_continues_while_requests_still_fail(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    service = Dependency("Redis")
    for _ in range(5):
        service.record_failure(OSError("refused"))
        clock[0] += outages.QUIET_SECONDS / 2
        service.check(_works)
    assert _said(caplog) == ["Redis is unavailable: refused"]


def test_nothing_is_probed_without_a_reason() -> None:
    Dependency("Redis").check(_refuses)


@pytest.fixture
def _watched() -> Iterator[None]:
    outages.enable(2)
    yield
    outages.enable(0)


@pytest.mark.usefixtures("_watched")
def test_a_service_is_unresponsive_until_a_probe_is_answered(clock: list[float]) -> None:
    def hangs() -> None:
        clock[0] += outages.PROBE_SECONDS
        raise OSError("timed out")

    service = Dependency("The database")
    service.suspect()
    service.check(_refuses)
    assert not service.is_unresponsive
    service.check(hangs)
    assert service.is_unresponsive
    service.check(_works)
    assert not service.is_unresponsive


def test_a_command_waits_for_as_long_as_it_takes() -> None:
    service = Dependency("The database")
    service.mark_unresponsive()
    assert not service.is_unresponsive


def test_several_tasks_without_a_database_log_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    def flush() -> None:
        raise OperationalError("gone")

    def examine() -> None:
        raise OperationalError("gone")

    tasks = heartbeat.TaskRunner()
    for task in (flush, examine, flush):
        tasks.run(task)
    assert _said(caplog) == ["The database is unavailable: gone"]


# Threads -----------------------------------------------------------------------------------------


def test_the_last_free_thread_is_refused_after_half_a_second_and_then_immediately() -> None:
    slots = Slots()
    slots.limit(2)
    assert slots.acquire()
    assert slots.acquire()
    started = time.monotonic()
    assert not slots.acquire()
    assert outages.SLOT_SECONDS <= time.monotonic() - started < 3 * outages.SLOT_SECONDS
    started = time.monotonic()
    assert not slots.acquire()
    assert time.monotonic() - started < outages.SLOT_SECONDS / 2
    slots.release()
    assert slots.acquire()


def test_a_thread_that_finishes_lets_a_waiting_one_continue() -> None:
    slots = Slots()
    slots.limit(1)
    assert slots.acquire()
    threading.Timer(0.05, slots.release).start()
    assert slots.acquire()


def test_background_threads_need_no_slot() -> None:
    slots, taken = Slots(), list[bool]()
    slots.limit(1)

    def wait() -> None:
        outages.mark_background_thread()
        taken.extend(slots.acquire() for _ in range(3))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert taken == [True, True, True]
    assert slots.acquire()


@pytest.mark.usefixtures("_watched")
def test_a_request_that_finds_all_others_waiting_is_503(program: Program) -> None:
    for _ in range(2):
        assert outages.slots.acquire()
    assert program.get("/v2").status_code == 503
    assert Program().get("/healthz").status_code == 200
    for _ in range(2):
        outages.slots.release()
    assert program.get("/v2").status_code == 200


# Redis -------------------------------------------------------------------------------------------


@contextmanager
def _without_redis(monkeypatch: pytest.MonkeyPatch, mode: str) -> Iterator[None]:
    from django.conf import settings

    cache = {"BACKEND": "atatus_dash.cache.RedisCache", "LOCATION": NOWHERE}
    monkeypatch.setattr(limits, "limiter", RedisLimiter(NOWHERE))
    with override_settings(LIMITS_WITHOUT_REDIS=mode, CACHES={**settings.CACHES, "default": cache}):
        yield


@pytest.fixture
def signing_in() -> dict[str, str]:
    return {"login": "owner@example.com", "password": factories.PASSWORD}


def test_people_sign_in_without_redis_if_the_operator_says_so(
    cast: Cast, browser: Browser, signing_in: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with _without_redis(monkeypatch, "allow"):
        assert browser.post("/auth/login/", signing_in).status_code == 302
        assert browser.get("/accounts/acme/").status_code == 200
        assert SecureClient().post("/auth/password/reset/", {"email": "owner@example.com"}).status_code == 302
        wrong = SecureClient().post("/auth/login/", {**signing_in, "password": "wrong"})
        assert wrong.status_code in (200, 422)


def test_pages_are_503_without_redis_otherwise(
    cast: Cast, signing_in: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with _without_redis(monkeypatch, "refuse"):
        for path, data in [("/auth/login/", signing_in), ("/auth/password/reset/", {"email": "owner@example.com"})]:
            answer = SecureClient(raise_request_exception=False).post(path, data)
            assert answer.status_code == 503
            assert "Rate limits are unavailable." in answer.content.decode()
            assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize(("mode", "status"), [("allow", 200), ("refuse", 503)])
def test_readyz_fails_for_an_unavailable_cache_unless_it_is_optional(
    db: None, monkeypatch: pytest.MonkeyPatch, mode: str, status: int
) -> None:
    with _without_redis(monkeypatch, mode):
        answer = SecureClient().get("/readyz")
    assert (answer.status_code, answer.json()) == (status, {"database": True, "migrations": True, "cache": False})


def test_a_cache_without_redis_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    with _without_redis(monkeypatch, "allow"):
        cache = caches["default"]
        cache.set("a", 1)
        cache.set_many({"a": 1})
        cache.delete_many(["a"])
        assert (cache.get("a", "none"), cache.get_many(["a"]), cache.add("a", 1)) == ("none", {}, True)
        assert (cache.touch("a"), cache.delete("a"), cache.has_key("a"), cache.incr("a")) == (False, False, False, 1)


def test_an_outage_of_redis_is_logged_once(
    cast: Cast,
    program: Program,
    signing_in: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with _without_redis(monkeypatch, "allow"):
        for _ in range(3):
            program.get("/v2")
            SecureClient().post("/auth/login/", signing_in)
    warnings = [message for message in _said(caplog) if "Redis" in message]
    assert len(warnings) == 1
    assert "requests pass unlimited" in warnings[0]


def _times_out() -> None:
    raise redis.TimeoutError("timed out")


@pytest.mark.usefixtures("_watched")
@pytest.mark.parametrize("mode", ["allow", "refuse"])
def test_one_time_out_of_redis_stops_other_calls_only_if_a_probe_fails_too(
    settings: Settings, clock: list[float], mode: str
) -> None:
    def hangs() -> None:
        clock[0] += outages.PROBE_SECONDS
        _times_out()

    settings.LIMITS_WITHOUT_REDIS = mode
    with suppress(RedisUnavailable):
        call_redis(_times_out)
    assert call_redis(lambda: "answer") == "answer"
    outages.REDIS.check(hangs)
    with suppress(RedisUnavailable):
        assert call_redis(lambda: "answer") is NO_ANSWER


@pytest.mark.usefixtures("_watched")
def test_a_thread_that_finds_all_others_waiting_for_redis_has_it_probed_and_passes_if_it_is_optional(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []
    settings.LIMITS_WITHOUT_REDIS = "allow"
    assert outages.redis_slots.acquire()
    assert call_redis(lambda: asked.append("in vain")) is NO_ANSWER
    settings.LIMITS_WITHOUT_REDIS = "refuse"
    with pytest.raises(RedisUnavailable):
        call_redis(lambda: asked.append("in vain"))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"Redis is unavailable, so requests pass unlimited: {outages.REDIS_BUSY}"]
    outages.REDIS.check(lambda: asked.append("probe"))
    outages.redis_slots.release()
    call_redis(lambda: asked.append("call"))
    assert asked == ["probe", "call"]


@pytest.mark.usefixtures("_watched")
def test_a_call_to_redis_frees_its_slot() -> None:
    assert [call_redis(lambda: "answer") for _ in range(4)] == ["answer"] * 4


@pytest.mark.usefixtures("_watched")
def test_requests_are_not_unlimited_because_others_wait_for_the_database(settings: Settings) -> None:
    settings.LIMITS_WITHOUT_REDIS = "allow"
    for _ in range(2):
        assert outages.slots.acquire()
    with pytest.raises(Unavailable):
        call_redis(lambda: "answer")


@pytest.mark.usefixtures("_watched")
def test_the_database_is_used_while_threads_wait_for_redis(program: Program, settings: Settings) -> None:
    settings.LIMITS_WITHOUT_REDIS = "allow"
    held, freed = threading.Event(), threading.Event()

    def wait() -> None:
        def ask() -> None:
            held.set()
            freed.wait(5)

        call_redis(ask)

    thread = threading.Thread(target=wait)
    thread.start()
    assert held.wait(5)
    assert program.get("/v2").status_code == 200
    freed.set()
    thread.join()


# A database that doesn't answer ------------------------------------------------------------------


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that accepts connections and sends nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(200)
        yield listener.getsockname()[1]


@pytest.mark.xdist_group("servers")
def test_a_server_whose_database_does_not_answer_logs_it_listens_and_answers_503(mute: int, tmp_path: Path) -> None:
    installation = Installation(
        tmp_path, {"ALLOW_HTTP": "1", "DATABASE_URL": f"postgres://keys@127.0.0.1:{mute}/keys", "THREADS": "2"}
    )
    with serving(installation, by_command=True) as server:
        assert "The database is unavailable: connection timeout expired" in server.log.read_text()
        started = time.monotonic()
        assert server.get("/v2", "atk_" + "0" * 36).status == 401  # not looked up, because its checksum is wrong
        assert server.get("/readyz").status == 503
        assert time.monotonic() - started < 6
        answers: list[tuple[int, float]] = []

        def ask() -> None:
            asked = time.monotonic()
            answers.append((server.get("/readyz").status, time.monotonic() - asked))

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        assert server.get("/healthz").status == 200
        assert time.monotonic() - started < 1
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} == {503}
        assert max(took for _, took in answers) < 5


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's time-outs")
def test_a_server_limits_the_time_of_statements_and_a_command_does_not(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> list[str]:
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
                return [cursor.execute(f"SHOW {name}").fetchone()[0] for name in names]
        finally:
            other.close()

    assert shown() == ["0", "0", "0"]
    outages.enable(2)
    try:
        assert shown() == ["10s", "5s", "1min"]
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "options", "-c statement_timeout=2s")
        assert shown() == ["2s", "5s", "1min"]
    finally:
        outages.slots.limit(0)


@pytest.mark.services
@pytest.mark.xdist_group("servers")
@pytest.mark.skipif(not os.environ.get("REDIS_URL"), reason="needs REDIS_URL")
def test_while_redis_is_frozen_every_request_passes_if_the_operator_says_so(tmp_path: Path) -> None:
    real = urlsplit(os.environ["REDIS_URL"])
    with closing(TcpProxy((real.hostname or "127.0.0.1", real.port or 6379))) as proxy:
        away = real._replace(netloc=f"{real.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}".lstrip("@"))
        installation = install(tmp_path, ALLOW_HTTP="1", LIMITS_WITHOUT_REDIS="allow")
        key = installation.key()
        with serving(installation, REDIS_URL=away.geturl(), THREADS="4", API_RATE_LIMIT="1000000/minute") as server:
            answers: list[tuple[int, float]] = []
            ends_at = time.monotonic() + 5

            def ask() -> None:
                while time.monotonic() < ends_at:
                    asked = time.monotonic()
                    answers.append((server.get("/v2", key).status, time.monotonic() - asked))
                    time.sleep(0.05)

            assert "ratelimit" in server.get("/v2", key).headers
            proxy.flows.clear()
            threads = [threading.Thread(target=ask) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert {status for status, _ in answers} == {200}
            assert max(took for _, took in answers) < 5
            proxy.flows.set()
            wait_for(lambda: "ratelimit" in server.get("/v2", key).headers, "Redis to be asked again", 5)


@pytest.mark.services
@pytest.mark.xdist_group("servers")
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
@pytest.mark.django_db(transaction=True)
def test_a_frozen_database_blocks_no_request_and_recovers(cast: Cast, tmp_path: Path) -> None:
    key = factories.make_key(cast.account, rate_limit="1000000/minute").secret
    database = connection.settings_dict
    login = ":".join(filter(None, (database["USER"], database["PASSWORD"])))
    with (
        closing(TcpProxy((database["HOST"], int(database["PORT"] or 5432)))) as proxy,
        serving(
            Installation(tmp_path, {"ALLOW_HTTP": "1"}),
            DATABASE_URL=f"postgres://{login}@127.0.0.1:{proxy.port}/{database['NAME']}",
        ) as server,
    ):
        answers: list[tuple[int, float]] = []
        ends_at = time.monotonic() + 6

        def ask() -> None:
            while time.monotonic() < ends_at:
                asked = time.monotonic()
                answers.append((server.get("/v2", key).status, time.monotonic() - asked))
                time.sleep(0.1)

        assert server.get("/v2", key).status == 200
        proxy.flows.clear()
        threads = [threading.Thread(target=ask) for _ in range(60)]
        for thread in threads:
            thread.start()
        health = []
        while time.monotonic() < ends_at:
            asked = time.monotonic()
            assert server.get("/healthz").status == 200
            health.append(time.monotonic() - asked)
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} == {503}
        assert max(took for _, took in answers) < 5
        assert max(health) < 1
        proxy.flows.set()
        wait_for(lambda: server.get("/v2", key).status == 200, "the database to answer again", 5)
        wait_for(lambda: "answers again" in server.log.read_text(), "the end of the outage in the log", 10)
        told = [line for line in server.log.read_text().splitlines() if " WARNING " in line]
        assert [line.partition("] ")[2].partition(":")[0] for line in told] == [
            "The database is unavailable",
            "The database answers again.",
        ]
