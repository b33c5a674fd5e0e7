import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import pytest
from pytest_django import Settings

from accounts.errors import Unavailable
from apikeys import limits
from apikeys.limits import DryRun, MemoryLimiter, Outcome, RedisLimiter
from apikeys.rates import Rate
from tests.cables import Cable
from tests.conftest import Program

REDIS_URL = os.environ.get("REDIS_URL", "")
NOWHERE = "redis://127.0.0.1:1/0"


class WithinReach(Protocol):
    """A limiter that never returns None."""

    def hit(self, bucket: str, rate: Rate) -> Outcome: ...

    def peek(self, bucket: str, rate: Rate) -> Outcome: ...


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def limiter(request: pytest.FixtureRequest) -> WithinReach:
    if request.param == "memory":
        return MemoryLimiter()
    if not REDIS_URL:
        pytest.skip("needs REDIS_URL")
    limiter = RedisLimiter(REDIS_URL)
    limiter.clear()
    return cast(WithinReach, limiter)


@pytest.fixture
def eager_thread_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_exactly_the_limit_passes_however_many_arrive_at_once(
    limiter: WithinReach, eager_thread_switches: None
) -> None:
    rate, together = Rate(100, 60), threading.Barrier(16)

    def hit_often(_: int) -> int:
        together.wait()
        return sum(limiter.hit("key", rate).allowed for _ in range(25))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(hit_often, range(16))) == 100


def test_the_remaining_number_counts_down_to_zero_and_stays_there(limiter: WithinReach) -> None:
    assert [limiter.hit("key", Rate(2, 60)).remaining for _ in range(4)] == [1, 0, 0, 0]


def test_the_window_starts_at_the_first_request_and_ends_on_time(limiter: WithinReach) -> None:
    assert limiter.hit("key", Rate(1, 1)).reset == 1
    assert not limiter.hit("key", Rate(1, 1)).allowed
    threading.Event().wait(1.05)
    assert limiter.hit("key", Rate(1, 1)).allowed


def test_a_rate_with_another_window_starts_a_new_count(limiter: WithinReach) -> None:
    assert limiter.hit("key", Rate(1, 60)).allowed
    assert limiter.hit("key", Rate(1, 3600)).allowed
    assert not limiter.hit("key", Rate(1, 3600)).allowed


def test_a_request_that_is_refused_as_the_window_ends_waits_for_a_second() -> None:
    assert [Outcome(False, Rate(1, 60), 0, reset).retry_after for reset in (0, 1, 60)] == [1, 1, 60]


def test_the_time_left_is_never_longer_than_the_window(limiter: WithinReach) -> None:
    assert {limiter.hit(f"time{number}", Rate(1, 60)).reset for number in range(500)} <= {59, 60}


def test_keys_do_not_count_for_each_other(limiter: WithinReach) -> None:
    assert limiter.hit("one", Rate(1, 60)).allowed
    assert limiter.hit("two", Rate(1, 60)).allowed


def test_refused_requests_do_not_use_up_a_limit_that_is_raised(limiter: WithinReach) -> None:
    for _ in range(10):
        limiter.hit("key", Rate(2, 60))
    assert limiter.hit("key", Rate(3, 60)).allowed


def test_a_peek_returns_what_the_next_hit_returns_and_counts_nothing(limiter: WithinReach) -> None:
    for _ in range(4):
        peeked = [limiter.peek("key", Rate(3, 60)) for _ in range(5)]
        hit = limiter.hit("key", Rate(3, 60))
        assert {(outcome.allowed, outcome.remaining) for outcome in peeked} == {(hit.allowed, hit.remaining)}
        assert {outcome.reset for outcome in peeked} <= {59, 60}


def test_a_peek_starts_no_window(limiter: WithinReach) -> None:
    assert limiter.peek("key", Rate(1, 2)).reset == 2
    threading.Event().wait(1.2)
    limiter.hit("key", Rate(1, 2))
    threading.Event().wait(0.9)  # a window that began with the peek would have ended
    assert not limiter.peek("key", Rate(1, 2)).allowed


def test_a_peek_sees_a_window_end(limiter: WithinReach) -> None:
    limiter.hit("key", Rate(1, 1))
    assert not limiter.peek("key", Rate(1, 1)).allowed
    threading.Event().wait(1.05)
    assert limiter.peek("key", Rate(1, 1)).allowed


def test_the_limit_is_exact_while_others_peek(limiter: WithinReach, eager_thread_switches: None) -> None:
    rate, together = Rate(100, 60), threading.Barrier(16)

    def hit_or_peek(number: int) -> int:
        together.wait()
        if number % 2:
            return sum(limiter.hit("key", rate).allowed for _ in range(25))
        return sum(limiter.peek("key", rate) is None for _ in range(25))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(hit_or_peek, range(16))) == 100


def test_a_dry_run_counts_no_hit(limiter: WithinReach) -> None:
    dry_run = cast(WithinReach, DryRun(limiter))
    assert [dry_run.hit("key", Rate(1, 60)).allowed for _ in range(3)] == [True, True, True]
    limiter.hit("key", Rate(1, 60))
    assert not dry_run.hit("key", Rate(1, 60)).allowed


def test_the_memory_limiter_drops_windows_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter, now = MemoryLimiter(), [0.0]
    monkeypatch.setattr("apikeys.limits.time.monotonic", lambda: now[0])
    for number in range(5000):
        now[0] += 1
        limiter.hit(f"key{number}", Rate(1, 60))
    assert len(limiter._windows) < 2048


@pytest.mark.services
@pytest.mark.skipif(not REDIS_URL, reason="needs REDIS_URL")
def test_a_limit_goes_on_when_redis_was_restarted() -> None:
    redis = RedisLimiter(REDIS_URL)
    redis.clear()
    limiter = cast(WithinReach, redis)
    assert limiter.hit("key", Rate(3, 60)).remaining == 2
    connection: Any = redis._idle[0]
    connection.send_command("CLIENT", "ID")
    redis._client.client_kill_filter(_id=connection.read_response())
    redis._client.script_flush()
    assert limiter.hit("key", Rate(3, 60)).remaining == 1
    assert limiter.hit("key", Rate(3, 60)).remaining == 0


@pytest.mark.services
@pytest.mark.skipif(not REDIS_URL, reason="needs REDIS_URL")
def test_a_late_reply_of_redis_is_not_read_as_the_next_one(settings: Settings) -> None:
    settings.LIMITS_WITHOUT_REDIS = "refuse"
    url = urlsplit(REDIS_URL)
    with closing(Cable((url.hostname or "", url.port or 6379))) as cable:
        limiter = RedisLimiter(url._replace(netloc=f"127.0.0.1:{cable.port}").geturl())
        limiter.clear()
        limiter.hit("key", Rate(5, 60))
        cable.flows.clear()
        with pytest.raises(Unavailable):
            limiter.hit("key", Rate(5, 60))
        cable.flows.set()
        assert cast(WithinReach, limiter).hit("other", Rate(9, 60)).remaining == 8


def test_without_redis_requests_are_refused_at_once(settings: Settings) -> None:
    settings.LIMITS_WITHOUT_REDIS = "refuse"
    with pytest.raises(Unavailable):
        RedisLimiter(NOWHERE).hit("key", Rate(1, 60))
    with pytest.raises(Unavailable):
        RedisLimiter(NOWHERE).peek("key", Rate(1, 60))


def test_without_redis_requests_pass_if_the_operator_says_so_and_it_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LIMITS_WITHOUT_REDIS = "allow"
    assert RedisLimiter(NOWHERE).hit("key", Rate(1, 60)) is None
    assert "pass unlimited" in caplog.text


def test_a_response_without_redis_is_503_or_has_no_ratelimit_headers(
    program: Program, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "limiter", RedisLimiter(NOWHERE))
    refused = program.get("/v2")
    assert (refused.status_code, int(refused["Retry-After"])) == (503, 1)
    settings.LIMITS_WITHOUT_REDIS = "allow"
    passed = program.get("/v2")
    assert passed.status_code == 200
    assert passed.json()["rate_limit"] is None
    assert "RateLimit" not in passed
