import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.policy import KeyPermission
from apikeys import limits, usage
from apikeys.gate import Place
from apikeys.models import AccountUsage, APIKey, KeyUsage
from apikeys.redis_limits import RedisLimiter
from apikeys.usage import counts
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db


def count(key: APIKey, *, status: int = 200, address: str = "203.0.113.7", **service: Any) -> None:
    usage.record({"REMOTE_ADDR": address}, key_id=key.id, place=Place.HEADER, status=status, **service)


def test_requests_are_counted_by_status_and_by_the_place_of_the_key(cast: Cast) -> None:
    issued = factories.make_key(cast.account, rate_limit="5/minute")
    in_header, anonymous = Program(issued.secret), Program()
    in_header.get("/v2")
    in_header.get("/v2/api-keys")
    anonymous.get("/v2", {"api_key": issued.secret})
    anonymous.post("/v2/projects", {"api_key": issued.secret, "name": "web"})
    anonymous.get("/v2", {"api_key": issued.secret})
    in_header.get("/v2")
    counts.flush()
    row = KeyUsage.objects.get(api_key=issued.api_key)
    assert (row.requests, row.succeeded, row.client_errors, row.throttled, row.server_errors) == (6, 4, 1, 1, 0)
    assert (row.in_header, row.in_query, row.in_body) == (3, 2, 1)


@pytest.mark.parametrize(
    ("status", "column"),
    [
        (200, "succeeded"),
        (399, "succeeded"),
        (400, "client_errors"),
        (429, "throttled"),
        (499, "client_errors"),
        (500, "server_errors"),
        (503, "server_errors"),
    ],
)
def test_a_status_falls_in_one_class(cast: Cast, status: int, column: str) -> None:
    count(factories.make_key(cast.account).api_key, status=status)
    counts.flush()
    row = KeyUsage.objects.values("succeeded", "client_errors", "throttled", "server_errors").get()
    assert {name for name, number in row.items() if number} == {column}


def test_an_accounts_usage_is_the_sum_of_its_keys(cast: Cast) -> None:
    first, second = (factories.make_key(cast.account).api_key for _ in range(2))
    elsewhere = factories.make_key(cast.elsewhere).api_key
    for key, status in [(first, 200), (second, 200), (second, 429), (elsewhere, 500)]:
        count(key, status=status)
        counts.flush()
    count(first, status=404)
    counts.flush()

    ours = AccountUsage.objects.for_account(cast.account).get()
    assert (ours.requests, ours.succeeded, ours.client_errors, ours.throttled, ours.in_header) == (4, 2, 1, 1, 4)
    assert AccountUsage.objects.for_account(cast.elsewhere).get().server_errors == 1


def test_one_flush_adds_up_the_keys_of_an_account(cast: Cast) -> None:
    for status in (200, 404):
        count(factories.make_key(cast.account).api_key, status=status)
    counts.flush()
    ours = AccountUsage.objects.for_account(cast.account).get()
    assert (ours.requests, ours.succeeded, ours.client_errors) == (2, 1, 1)


def test_usage_is_counted_by_key_and_service_and_in_total_by_account(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    for _ in range(2):
        count(key)
        count(key, service="svc_1", status=403)
        count(key, service="svc_1")
        count(key, service="svc_2", status=429)
        counts.flush()

    rows = KeyUsage.objects.order_by("service").values_list(
        "service", "requests", "succeeded", "client_errors", "throttled"
    )
    assert list(rows) == [("api", 2, 2, 0, 0), ("svc_1", 4, 2, 2, 0), ("svc_2", 2, 0, 0, 2)]
    total = AccountUsage.objects.get()
    assert (total.requests, total.succeeded, total.client_errors, total.throttled) == (8, 4, 2, 2)


def test_the_last_use_is_that_of_any_service_and_is_written_once(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    for seconds, service in [(1, "svc_1"), (3, "svc_2"), (2, "api")]:
        with mock.patch("time.time", return_value=1_700_000_000.0 + seconds):
            count(key, service=service, address=f"203.0.113.{seconds}")
    with mock.patch.object(counts, "_last_used", side_effect=counts._last_used) as last_used:
        counts.flush()
    key.refresh_from_db()
    assert (last_used.call_count, key.last_used_from) == (1, "203.0.113.3")
    assert key.last_used_at == datetime.fromtimestamp(1_700_000_003, UTC)


def test_flushes_are_added_up(program: Program) -> None:
    for _ in range(3):
        program.get("/v2")
        counts.flush()
    counts.flush()
    assert KeyUsage.objects.get().requests == 3


def test_the_last_use_is_kept_with_address_and_user_agent(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    Program(issued.secret).get("/v2", REMOTE_ADDR="203.0.113.7", headers={"User-Agent": "x" * 500})
    counts.flush()
    issued.api_key.refresh_from_db()
    assert issued.api_key.last_used_at is not None
    assert issued.api_key.last_used_from == "203.0.113.7"
    assert issued.api_key.last_used_agent == "x" * 200


def test_the_last_use_is_the_latest_whichever_is_written_last(cast: Cast) -> None:
    """Nodes flush in any order, and a flush that failed may be written after later requests."""
    key = factories.make_key(cast.account).api_key
    with mock.patch("time.time", return_value=1_700_000_000.0):
        count(key, address="203.0.113.2")
    counts.flush()
    with mock.patch("time.time", return_value=1_600_000_000.0):
        count(key, address="203.0.113.1")
    counts.flush()
    key.refresh_from_db()
    assert (key.last_used_at, key.last_used_from) == (datetime.fromtimestamp(1_700_000_000, UTC), "203.0.113.2")


def test_a_failed_flush_overwrites_no_newer_use(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    count(key, address="203.0.113.1")

    def use_it_meanwhile(*args: object) -> None:
        count(key, address="203.0.113.2")
        raise OperationalError

    with mock.patch.object(counts._buffer, "_write", side_effect=use_it_meanwhile), pytest.raises(OperationalError):
        counts.flush()
    counts.flush()
    key.refresh_from_db()
    assert key.last_used_from == "203.0.113.2"
    assert KeyUsage.objects.get().requests == 2


def test_a_key_in_a_user_agent_is_masked(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    Program(issued.secret).get("/v2", headers={"User-Agent": f"curl {issued.secret}"})
    counts.flush()
    issued.api_key.refresh_from_db()
    assert issued.api_key.last_used_agent == f"curl {issued.api_key.mask}"


def test_requests_that_were_refused_for_their_key_are_not_counted(cast: Cast) -> None:
    issued = factories.make_key(cast.account, allowed_networks=["10.0.0.0/8"])
    Program(issued.secret).get("/v2")
    Program("nonsense").get("/v2")
    counts.flush()
    assert not KeyUsage.objects.exists()


IN_THE_PAST = timezone.now() - timedelta(minutes=1)

#: The request, the kind of key, the status, and whether it counts as a use.
USES: dict[str, tuple[dict[str, Any], str, str, int, bool]] = {
    "passes": ({}, "GET", "/v2/projects", 200, True),
    "asks too often": ({"rate_limit": "1/minute"}, "GET", "/v2", 429, True),
    "asks for an unknown method": ({}, "DELETE", "/v2/projects", 405, True),
    "has no permission": ({"permission": KeyPermission.WRITE}, "GET", "/v2/projects", 403, True),
    "has no administrator access": ({}, "GET", "/v2/api-keys", 403, True),
    "sends wrong fields": ({}, "POST", "/v2/projects", 400, True),
    "asks for a missing item": ({}, "GET", "/v2/projects/0", 404, True),
    "asks for an unknown path": ({}, "GET", "/v2/nowhere", 404, False),
    "is revoked": ({"revoked_at": IN_THE_PAST}, "GET", "/v2", 401, False),
    "has expired": ({"expires_at": IN_THE_PAST}, "GET", "/v2", 401, False),
    "is disabled": ({"disabled_at": IN_THE_PAST}, "GET", "/v2", 401, False),
    "comes from elsewhere": ({"allowed_networks": ["10.0.0.0/8"]}, "GET", "/v2", 403, False),
    "is sent in a forbidden place": ({"accepts_query": False}, "GET", "/v2?api_key={}", 403, False),
}


@pytest.mark.parametrize("use", USES)
def test_a_refusal_is_a_use_of_a_valid_key(cast: Cast, use: str) -> None:
    fields, method, path, status, counts_as_use = USES[use]
    secret = factories.make_key(cast.account, **fields).secret
    in_query = "api_key" in path
    program = Program(None if in_query else secret)
    if status == 429:
        program.get("/v2")
        counts.discard()
    answer = program.send(method, path.format(secret), {} if method == "POST" else None)
    assert answer.status_code == status
    assert ("RateLimit" in answer) == counts_as_use
    counts.flush()
    assert [row.requests for row in KeyUsage.objects.all()] == ([1] if counts_as_use else [])


def test_a_request_of_a_valid_key_counts_while_the_limits_are_unreachable(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=1))
    monkeypatch.setattr(limits, "limiter", RedisLimiter("redis://127.0.0.1:1/0"))
    answer = Program(issued.secret).get("/v2")
    assert (answer.status_code, answer["Retry-After"], "Sunset" in answer) == (503, "1", True)
    Program("nonsense").get("/v2")
    counts.flush()
    row = KeyUsage.objects.get()
    assert (row.requests, row.server_errors) == (1, 1)


def test_a_failed_flush_neither_loses_nor_doubles_anything(program: Program) -> None:
    program.get("/v2")
    with mock.patch("apikeys.usage.counts._last_used", side_effect=OperationalError), pytest.raises(OperationalError):
        counts.flush()
    program.get("/v2")
    counts.flush()
    counts.flush()
    assert KeyUsage.objects.get().requests == 2


def test_counts_of_a_deleted_key_do_not_block_the_others(cast: Cast) -> None:
    gone, stays = factories.make_key(cast.account), factories.make_key(cast.account)
    Program(gone.secret).get("/v2")
    Program(stays.secret).get("/v2")
    APIKey.objects.filter(pk=gone.api_key.pk).delete()
    counts.flush()
    assert KeyUsage.objects.get().api_key == stays.api_key


def test_counts_that_the_database_refuses_do_not_block_the_others(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    keys = [factories.make_key(cast.account, str(number)).api_key for number in range(5)]
    for key in keys:
        count(key)
    [bad] = (tally for (key, *_), tally in counts._buffer._pending.items() if key == keys[2].id)
    bad.counts[0] = 2**70  # beyond the column
    counts.flush()
    assert sorted(KeyUsage.objects.exclude(api_key=keys[2]).values_list("requests", flat=True)) == [1, 1, 1, 1]
    assert AccountUsage.objects.get().requests == 4
    assert keys[2].id in caplog.text


def test_counting_from_many_threads_loses_nothing(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key

    def count_often(_: int) -> None:
        for _ in range(500):
            count(key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_often, range(8)))
    counts.flush()
    assert KeyUsage.objects.get().requests == 4000


def test_a_clock_that_was_ahead_is_corrected_by_the_next_use(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    APIKey.objects.filter(pk=key.pk).update(
        last_used_at=timezone.now() + timedelta(days=400), last_used_from="203.0.113.1"
    )
    count(key, address="203.0.113.2")
    counts.flush()
    key.refresh_from_db()
    assert key.last_used_from == "203.0.113.2"
    assert key.last_used_at is not None
    assert key.last_used_at <= timezone.now()


def test_nodes_whose_clocks_differ_by_seconds_keep_the_latest_use(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    ahead = timezone.now() + timedelta(seconds=20)
    APIKey.objects.filter(pk=key.pk).update(last_used_at=ahead, last_used_from="203.0.113.1")
    count(key, address="203.0.113.2")
    counts.flush()
    key.refresh_from_db()
    assert (key.last_used_at, key.last_used_from) == (ahead, "203.0.113.1")


def test_a_use_that_was_recorded_before_the_clock_was_set_back_is_not_written_in_the_future(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    with mock.patch("time.time", return_value=time.time() + 86400 * 400):
        count(key)
    counts.flush()
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at <= timezone.now()


def test_the_number_of_discarded_requests_is_returned(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    for _ in range(3):
        count(key)
    assert (counts.discard(), counts.discard()) == (3, 0)
