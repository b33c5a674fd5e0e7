"""The COMMIT of a flush or of a request gets no answer within the client's deadline: was it executed or not?"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import Error, InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoAssertNumQueries

from accounts.models import Project
from apikeys import outages, usage
from apikeys.gate import Place
from apikeys.models import KeyOrigin, KeyUsage
from apikeys.usage import buffer, counts, sources
from tests import factories
from tests.conftest import Cast, Program
from tests.servers import wait_for
from tests.tcp_proxy import Commit, TcpProxy

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.services,
    pytest.mark.xdist_group("servers"),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL"),
]


@pytest.fixture
def proxy(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """A proxy between the database and this thread, which waits at most a second for an answer."""
    database = connection.settings_dict
    with closing(TcpProxy((database["HOST"], int(database["PORT"] or 5432)))) as proxy, outages.wait_at_most(1):
        connection.close()
        monkeypatch.setitem(database, "HOST", "127.0.0.1")
        monkeypatch.setitem(database, "PORT", str(proxy.port))
        yield proxy
        connection.close()
        monkeypatch.undo()


def record(key: Any) -> None:
    usage.record({"REMOTE_ADDR": "203.0.113.7"}, key_id=key.id, place=Place.HEADER, status=200)


@pytest.mark.parametrize("fate", [Commit.ANSWER_HELD, Commit.LOST])
def test_requests_are_counted_once_whether_or_not_the_commit_succeeded(
    cast: Cast, proxy: TcpProxy, fate: Commit
) -> None:
    key = factories.make_key(cast.account).api_key
    for _ in range(3):
        record(key)
    proxy.next_commit = fate
    with pytest.raises(OperationalError):
        counts.flush()
    record(key)
    counts.flush()
    counts.flush()
    assert KeyUsage.objects.get().requests == 4


def test_a_commit_that_arrives_late_is_waited_for(cast: Cast, proxy: TcpProxy) -> None:
    key = factories.make_key(cast.account).api_key
    record(key)
    proxy.next_commit = Commit.HELD
    for _ in range(3):
        with pytest.raises(OperationalError):
            counts.flush()
        record(key)
    proxy.released.set()
    wait_for(lambda: KeyUsage.objects.exists(), "the commit")
    counts.flush()
    assert KeyUsage.objects.get().requests == 4


def test_a_server_that_was_down_is_asked_when_it_is_up_again(cast: Cast, proxy: TcpProxy) -> None:
    key = factories.make_key(cast.account).api_key
    record(key)
    proxy.next_commit = Commit.FREEZES
    for _ in range(2):
        with pytest.raises(OperationalError):
            counts.flush()
        record(key)
    proxy.flows.set()
    counts.flush()
    assert KeyUsage.objects.get().requests == 3


@pytest.mark.parametrize(("fate", "lost"), [(Commit.ANSWER_HELD, 0), (Commit.LOST, 1)])
def test_the_result_of_a_failed_commit_is_checked_immediately(
    cast: Cast, proxy: TcpProxy, fate: Commit, lost: int
) -> None:
    record(factories.make_key(cast.account).api_key)
    proxy.next_commit = fate
    with pytest.raises(OperationalError):
        counts.flush()
    assert counts.discard() == lost


def test_a_result_that_could_not_be_checked_is_checked_before_the_next_flush(
    cast: Cast, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(transaction_id: str) -> str:
        raise OperationalError("gone")

    key = factories.make_key(cast.account).api_key
    record(key)
    proxy.next_commit = Commit.LOST
    with monkeypatch.context() as patch:
        patch.setattr(buffer, "_status", fail)
        with pytest.raises(OperationalError):
            counts.flush()
    record(key)
    counts.flush()
    assert KeyUsage.objects.get().requests == 2


def test_a_transaction_whose_commit_never_left_ends_with_its_connection(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise InterfaceError("the connection is closed")

    record(factories.make_key(cast.account).api_key)
    with monkeypatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "_commit", fail)
        with pytest.raises(Error):
            counts.flush()
    counts.flush()
    assert KeyUsage.objects.get().requests == 1


def test_a_batch_that_a_restored_server_does_not_have_is_written_again(
    cast: Cast, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction ids continue from the time of the backup, and the transaction in doubt has a higher id."""
    key = factories.make_key(cast.account).api_key
    record(key)
    proxy.next_commit = Commit.LOST
    with monkeypatch.context() as patch:
        patch.setattr(buffer, "_current_transaction_id", lambda: str(2**40 + 12345))
        with pytest.raises(OperationalError):
            counts.flush()
    counts.flush()
    assert KeyUsage.objects.get().requests == 1


def test_sources_are_counted_once_too(cast: Cast, proxy: TcpProxy) -> None:
    key = factories.make_key(cast.account).api_key
    record(key)
    proxy.next_commit = Commit.ANSWER_HELD
    with pytest.raises(OperationalError):
        sources.flush()
    record(key)
    sources.flush()
    assert KeyOrigin.objects.get().requests == 2


def test_a_batch_in_doubt_is_discarded_with_the_rest(cast: Cast, proxy: TcpProxy) -> None:
    key = factories.make_key(cast.account).api_key
    record(key)
    proxy.next_commit = Commit.HELD
    with pytest.raises(OperationalError):
        counts.flush()
    record(key)
    assert (counts.discard(), counts.discard()) == (2, 0)


def test_a_flush_takes_one_statement_more_for_its_transactions_id(
    cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    record(factories.make_key(cast.account).api_key)
    with django_assert_num_queries(7):  # BEGIN, the keys' accounts, three writes, the transaction's id, COMMIT
        counts.flush()


@pytest.mark.parametrize("fate", [Commit.ANSWER_HELD, Commit.HELD, Commit.LOST])
def test_a_retry_with_an_idempotency_key_creates_one_item_whether_or_not_the_commit_succeeded(
    cast: Cast, proxy: TcpProxy, fate: Commit
) -> None:
    program = Program(factories.make_key(cast.account).secret)

    def send() -> int:
        answer = program.send("POST", "/v2/projects", {"name": "web"}, headers={"Idempotency-Key": "1"})
        return int(answer.status_code)

    proxy.next_commit = fate
    assert send() == 503
    # Until a late COMMIT arrives, PostgreSQL keeps the transaction's locks.
    assert send() == (409 if fate is Commit.HELD else 201)
    proxy.released.set()
    wait_for(lambda: send() == 201, "the lock to end")
    assert Project.objects.count() == 1
