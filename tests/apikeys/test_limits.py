import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import pytest
from pytest_django import Settings
from redis import RedisError

from accounts.errors import TooManyRequests, Unavailable
from apikeys import limits, rates, redis_limits
from apikeys.limits import DryRun, MemoryLimiter
from apikeys.rates import Outcome, Rate
from apikeys.redis_limits import RedisLimiter
from tests.conftest import Program
from tests.tcp_proxy import TcpProxy

REDIS_URL = os.environ.get("REDIS_URL", "")
NOWHERE = "redis://127.0.0.1:1/0"


class WithinReach(Protocol):
    """A limiter that never returns None."""

    def hit(self, bucket: str, rate: Rate) -> Outcome: ...

    def peek(self, bucket: str, rate: Rate) -> Outcome: ...

    def clear(self) -> None: ...


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


def test_the_headers_of_an_outcome() -> None:
    outcome = Outcome(True, Rate(3, 60), 2, 59)
    assert (outcome.policy_header, outcome.header) == ('"default";q=3;w=60', '"default";r=2;t=59')


def test_the_time_left_is_rounded_up_and_never_negative() -> None:
    assert [rates.whole_seconds(left, Rate(1, 60)) for left in (-0.5, 0.5, 59.5, 60.5)] == [0, 1, 60, 60]


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
    threading.Event().wait(0.9)  # a window that began at the `peek` would have ended
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


def test_a_dry_run_may_count_some_buckets() -> None:
    dry_run = cast(WithinReach, DryRun(MemoryLimiter(), counting="failed:"))
    assert [dry_run.hit("failed:1", Rate(1, 60)).allowed for _ in range(2)] == [True, False]
    assert [dry_run.hit("key", Rate(1, 60)).allowed for _ in range(2)] == [True, True]


def test_a_cleared_limiter_starts_anew(limiter: WithinReach) -> None:
    limiter.hit("key", Rate(1, 60))
    limiter.clear()
    assert limiter.hit("key", Rate(1, 60)).allowed


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of memory limiters, which tests can move."""
    now = [100.0]
    monkeypatch.setattr("apikeys.limits.time.monotonic", lambda: now[0])
    return now


def test_a_window_in_memory_ends_exactly_at_its_end(now: list[float]) -> None:
    limiter, rate = MemoryLimiter(), Rate(1, 60)
    assert limiter.hit("key", rate).reset == 60
    now[0] += 50
    refused = limiter.hit("key", rate)
    assert (refused.allowed, refused.reset) == (False, 10)
    now[0] += 10
    assert limiter.hit("key", rate).allowed


def test_the_memory_limiter_drops_windows_that_have_ended_when_it_has_doubled_in_size(now: list[float]) -> None:
    limiter = MemoryLimiter()

    def size_after(more: int, window: int) -> int:
        for _ in range(more):
            limiter.hit(f"key{next(numbers)}", Rate(1, window))
        return len(limiter._windows)

    numbers = count()
    assert size_after(1024, 1) == 1024
    now[0] += 1
    assert size_after(1, 1) == 1
    assert size_after(1023, 1) == 1024
    now[0] += 1
    assert size_after(1, 60) == 1
    assert size_after(1499, 60) == 1500  # it looked for ended windows at 1024 entries, and will look again at 2048
    now[0] += 60
    assert size_after(548, 60) == 2048
    assert size_after(1, 60) == 549


@pytest.fixture
def in_redis() -> RedisLimiter:
    limiter = RedisLimiter(REDIS_URL)
    limiter.clear()
    return limiter


@pytest.mark.services
@pytest.mark.skipif(not REDIS_URL, reason="needs REDIS_URL")
def test_a_count_in_redis_has_a_name_that_all_versions_share_and_ends_with_its_window(in_redis: RedisLimiter) -> None:
    """During an upgrade, processes of two versions count together."""
    in_redis.hit("key", Rate(1, 36_000))
    client: Any = in_redis._client
    assert client.keys("atatus:limit:*") == [b"atatus:limit:key:36000"]
    assert 35_990_000 < client.pttl("atatus:limit:key:36000") <= 36_000_000
    client.pexpire("atatus:limit:key:36000", 18_000_000)
    assert cast(WithinReach, in_redis).peek("key", Rate(1, 36_000)).reset in range(17_990, 18_001)


@pytest.mark.services
@pytest.mark.skipif(not REDIS_URL, reason="needs REDIS_URL")
def test_clearing_the_limits_leaves_what_else_is_in_redis(in_redis: RedisLimiter) -> None:
    in_redis._client.set("atatus:other", 1, ex=60)
    in_redis.clear()
    assert in_redis._client.get("atatus:other") == b"1"


@pytest.mark.services
@pytest.mark.skipif(not REDIS_URL, reason="needs REDIS_URL")
def test_redis_gets_the_script_only_if_it_does_not_know_it(
    in_redis: RedisLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, answer = [], redis_limits._answer

    def recording(connection: Any, *command: str | int) -> Any:
        sent.append(command[0])
        return answer(connection, *command)

    monkeypatch.setattr(redis_limits, "_answer", recording)
    in_redis._client.script_flush()
    for _ in range(3):
        in_redis.hit("key", Rate(1, 60))
    assert sent == ["EVALSHA", "EVAL", "EVALSHA", "EVALSHA"]


def test_a_call_to_redis_takes_a_second_at_most_and_is_not_repeated() -> None:
    options = RedisLimiter(NOWHERE)._client.connection_pool.connection_kwargs
    assert (options["socket_connect_timeout"], options["socket_timeout"], options["retry"].get_retries()) == (1, 1, 0)


def test_a_forked_process_uses_no_connection_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    in_child: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda after_in_child: in_child.append(after_in_child))
    limiter = RedisLimiter(NOWHERE)
    limiter._idle.append(cast(Any, object()))
    for run in in_child:
        run()
    assert not limiter._idle


def test_a_probe_fails_without_redis() -> None:
    with pytest.raises(RedisError):
        RedisLimiter(NOWHERE).probe()


def test_limits_are_in_redis_if_there_is_one() -> None:
    assert isinstance(limits.limiter, RedisLimiter if REDIS_URL else MemoryLimiter)


def test_an_attempt_past_the_limit_is_refused_and_told_when_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "limiter", MemoryLimiter())
    limits.require_within_limit("key", Rate(1, 60))
    with pytest.raises(TooManyRequests, match="Too many attempts") as refused:
        limits.require_within_limit("key", Rate(1, 60))
    assert refused.value.retry_after == 60


def test_an_attempt_passes_if_nothing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "limiter", limits.UNLIMITED)
    limits.require_within_limit("key", Rate(1, 60))


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
    with closing(TcpProxy((url.hostname or "", url.port or 6379))) as proxy:
        limiter = RedisLimiter(url._replace(netloc=f"127.0.0.1:{proxy.port}").geturl())
        limiter.clear()
        limiter.hit("key", Rate(5, 60))
        proxy.flows.clear()
        with pytest.raises(Unavailable):
            limiter.hit("key", Rate(5, 60))
        proxy.flows.set()
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
