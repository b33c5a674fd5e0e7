import time
from datetime import timedelta
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone

from apikeys import usage
from apikeys.gate import Place
from apikeys.models import APIKey, KeyOrigin, KeyUsage
from apikeys.usage import counts, sources
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db


def record(key: APIKey, *, address: str = "203.0.113.7", agent: str = "", at: float = 1_700_000_000.0) -> None:
    with mock.patch("time.time", return_value=at):
        usage.record({"REMOTE_ADDR": address, "HTTP_USER_AGENT": agent}, key_id=key.id, place=Place.HEADER, status=200)


def listed(key: APIKey) -> list[tuple[str, int, str]]:
    return [(origin.origin, origin.requests, origin.last_used_agent) for origin in key.origins.all()]


def test_every_address_that_a_key_is_used_from_is_stored_the_latest_first(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    for address, agent in [("203.0.113.7", "old"), ("203.0.113.8", "curl"), ("203.0.113.7", "new")]:
        Program(issued.secret).get("/v2", REMOTE_ADDR=address, headers={"User-Agent": agent})
        sources.flush()
    assert listed(issued.api_key) == [("203.0.113.7", 2, "new"), ("203.0.113.8", 1, "curl")]


def test_a_request_that_was_refused_for_its_key_has_no_source(cast: Cast) -> None:
    Program("atk_" + "x" * 36).get("/v2")
    sources.flush()
    assert not KeyOrigin.objects.exists()


def test_addresses_of_one_household_are_one_source(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    for address in ("2001:db8:1:2::a", "2001:db8:1:2::b", "::ffff:203.0.113.7", "203.0.113.7"):
        record(key, address=address)
    sources.flush()
    assert {origin: requests for origin, requests, _ in listed(key)} == {"2001:db8:1:2::/64": 2, "203.0.113.7": 2}


def test_requests_from_very_many_addresses_are_all_counted_and_some_listed(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    for number in range(50):
        Program(issued.secret).get("/v2", REMOTE_ADDR=f"203.0.113.{number}")
    counts.flush()
    sources.flush()
    assert KeyUsage.objects.get().requests == 50
    assert len(listed(issued.api_key)) == sources.MAX_SOURCES


def test_a_source_keeps_its_latest_agent_whichever_is_written_last(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    for at, agent in [(1_700_000_000.0, "later"), (1_600_000_000.0, "earlier")]:
        record(key, agent=agent, at=at)
        sources.flush()
    assert listed(key) == [("203.0.113.7", 2, "later")]
    assert key.origins.get().last_used_at.timestamp() == 1_700_000_000


def test_what_a_flush_could_not_write_is_written_by_the_next(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    record(key, agent="first", at=1_600_000_000.0)
    record(key, address="203.0.113.8")
    with mock.patch.object(sources._buffer, "_write", side_effect=OperationalError), pytest.raises(OperationalError):
        sources.flush()
    record(key, agent="second", at=1_700_000_001.0)
    sources.flush()
    assert listed(key) == [("203.0.113.7", 2, "second"), ("203.0.113.8", 1, "")]


def test_what_is_recorded_while_a_flush_fails_is_added_and_the_latest_agent_stays(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    record(key, agent="first", at=1_700_000_000.0)
    record(key, address="203.0.113.8", agent="latest", at=1_700_000_005.0)

    def use_it_meanwhile(batch: object) -> None:
        record(key, agent="second", at=1_700_000_001.0)
        record(key, address="203.0.113.8", agent="by a clock that was set back", at=1_700_000_001.0)
        raise OperationalError

    with mock.patch.object(sources._buffer, "_write", use_it_meanwhile), pytest.raises(OperationalError):
        sources.flush()
    sources.flush()
    assert sorted(listed(key)) == [("203.0.113.7", 2, "second"), ("203.0.113.8", 2, "latest")]


def test_a_key_in_a_user_agent_is_masked(cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    record(issued.api_key, agent=f"curl {issued.secret}")
    sources.flush()
    assert listed(issued.api_key)[0][2] == f"curl {issued.api_key.mask}"


def test_a_deleted_key_is_skipped(cast: Cast) -> None:
    gone, there = factories.make_key(cast.account).api_key, factories.make_key(cast.account).api_key
    record(gone)
    record(there)
    gone.delete()
    sources.flush()
    assert listed(there) == [("203.0.113.7", 1, "")]


def test_a_clock_that_was_ahead_is_corrected_by_the_next_use(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    record(key, agent="first")
    sources.flush()
    key.origins.update(last_used_at=timezone.now() + timedelta(days=400), last_used_agent="ahead")
    record(key, agent="now", at=time.time())
    record(key, address="203.0.113.8", agent="ahead", at=time.time() + 86400)
    sources.flush()
    assert sorted(listed(key)) == [("203.0.113.7", 2, "now"), ("203.0.113.8", 1, "ahead")]
    assert all(origin.last_used_at <= timezone.now() for origin in key.origins.all())
