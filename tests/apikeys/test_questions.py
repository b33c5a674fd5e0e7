"""The time of a service's last authorization request."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys import usage
from apikeys.models import Service
from apikeys.usage import questions
from apikeys.usage.latest import Latest
from tests import factories
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account)


def asked_at(service: Service, seconds: float) -> None:
    with mock.patch("time.time", return_value=1_700_000_000.0 + seconds):
        usage.record_question(service.pk)


def last_question(service: Service) -> float | None:
    service.refresh_from_db()
    return service.last_question_at.timestamp() - 1_700_000_000 if service.last_question_at else None


def test_a_question_is_written_by_the_next_flush(service: Service) -> None:
    asked_at(service, 1)
    assert last_question(service) is None
    questions.flush()
    assert last_question(service) == 1


def test_many_questions_take_one_update_for_each_service(
    cast: Cast, service: Service, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = factories.make_service(cast.account)
    for seconds in range(100):
        asked_at(service, seconds)
        asked_at(other, seconds)
    with mock.patch.object(Latest, "_rows", side_effect=Latest._rows) as rows:
        questions.flush()
    assert [len(call.args[0]) for call in rows.call_args_list] == [2]
    assert (last_question(service), last_question(other)) == (99, 99)
    with django_assert_num_queries(0):
        questions.flush()


def test_the_latest_question_is_kept_whichever_node_writes_last(service: Service) -> None:
    asked_at(service, 5)
    questions.flush()
    asked_at(service, 3)
    questions.flush()
    assert last_question(service) == 5


def test_a_failed_flush_is_repeated_and_overwrites_no_newer_question(cast: Cast, service: Service) -> None:
    other = factories.make_service(cast.account)
    asked_at(service, 1)
    asked_at(other, 1)

    def ask_meanwhile(*_: object) -> None:
        asked_at(service, 2)
        raise OperationalError

    with mock.patch.object(Latest, "_rows", side_effect=ask_meanwhile), pytest.raises(OperationalError):
        questions.flush()
    questions.flush()
    assert (last_question(service), last_question(other)) == (2, 1)


def test_a_deleted_service_does_not_block_the_others(cast: Cast, service: Service) -> None:
    gone = factories.make_service(cast.account)
    asked_at(gone, 1)
    asked_at(service, 1)
    Service.objects.filter(pk=gone.pk).delete()
    questions.flush()
    assert last_question(service) == 1


def test_a_clock_that_was_ahead_is_corrected_by_the_next_question(service: Service) -> None:
    Service.objects.filter(pk=service.pk).update(last_question_at=timezone.now() + timedelta(days=400))
    usage.record_question(service.pk)
    questions.flush()
    service.refresh_from_db()
    assert service.last_question_at is not None
    assert service.last_question_at <= timezone.now()


def test_no_thread_loses_a_question(cast: Cast) -> None:
    services = [factories.make_service(cast.account) for _ in range(8)]

    def record_often(service: Service) -> None:
        for _ in range(500):
            usage.record_question(service.pk)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record_often, services))
    questions.flush()
    assert not Service.objects.filter(last_question_at=None).exists()
