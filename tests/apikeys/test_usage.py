from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest import mock

import pytest
from django.db import OperationalError

from apikeys import usage
from apikeys.models import APIKey, KeyUsage
from tests import factories
from tests.conftest import Program

pytestmark = pytest.mark.django_db


def test_requests_are_counted_by_status_and_by_way_of_sending(cast):
    issued = factories.make_key(cast.account, rate_limit="5/minute")
    in_header, anonymous = Program(issued.secret), Program()
    in_header.get("/v2")
    in_header.get("/v2/api-keys")
    anonymous.get("/v2", {"api_key": issued.secret})
    anonymous.post("/v2/projects", {"api_key": issued.secret, "name": "web"})
    anonymous.get("/v2", {"api_key": issued.secret})
    in_header.get("/v2")
    usage.flush()
    row = KeyUsage.objects.get(api_key=issued.api_key)
    assert (row.requests, row.succeeded, row.client_errors, row.throttled, row.server_errors) == (6, 4, 1, 1, 0)
    assert (row.in_header, row.in_query, row.in_body) == (3, 2, 1)


def test_flushes_add_up(program):
    for _ in range(3):
        program.get("/v2")
        usage.flush()
    usage.flush()
    assert KeyUsage.objects.get().requests == 3


def test_the_last_use_is_kept_with_address_and_user_agent(cast):
    issued = factories.make_key(cast.account)
    Program(issued.secret).get("/v2", REMOTE_ADDR="203.0.113.7", headers={"User-Agent": "x" * 500})
    usage.flush()
    issued.api_key.refresh_from_db()
    assert issued.api_key.last_used_at is not None
    assert issued.api_key.last_used_from == "203.0.113.7"
    assert issued.api_key.last_used_agent == "x" * 200


def test_a_key_in_a_user_agent_is_masked(cast):
    issued = factories.make_key(cast.account)
    Program(issued.secret).get("/v2", headers={"User-Agent": f"curl {issued.secret}"})
    usage.flush()
    issued.api_key.refresh_from_db()
    assert issued.api_key.last_used_agent == f"curl {issued.api_key.mask}"


def test_requests_that_opened_nothing_are_not_counted(cast):
    issued = factories.make_key(cast.account, allowed_networks=["10.0.0.0/8"])
    Program(issued.secret).get("/v2")
    Program("nonsense").get("/v2")
    usage.flush()
    assert not KeyUsage.objects.exists()


def test_a_flush_that_fails_loses_nothing_and_doubles_nothing(program):
    program.get("/v2")
    with mock.patch("apikeys.usage._last_used", side_effect=OperationalError), pytest.raises(OperationalError):
        usage.flush()
    program.get("/v2")
    usage.flush()
    usage.flush()
    assert KeyUsage.objects.get().requests == 2


def test_counts_of_a_key_that_is_gone_do_not_hold_up_the_others(cast):
    gone, stays = factories.make_key(cast.account), factories.make_key(cast.account)
    Program(gone.secret).get("/v2")
    Program(stays.secret).get("/v2")
    APIKey.objects.filter(pk=gone.api_key.pk).delete()
    usage.flush()
    assert KeyUsage.objects.get().api_key == stays.api_key


def test_counting_from_many_threads_loses_nothing(cast):
    key = factories.make_key(cast.account).api_key
    credential = SimpleNamespace(key=key, place="header")
    request = SimpleNamespace(META={"REMOTE_ADDR": "203.0.113.7"})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [usage.count(request, credential, 200) for _ in range(500)], range(8)))
    usage.flush()
    assert KeyUsage.objects.get().requests == 4000
