"""What the guard reads and writes, and its answers without a database."""

import json
from unittest import mock

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from accounts.policy import KeyPermission
from apikeys import lookup, tokens
from apikeys.lookup import ServiceRecord
from apikeys.models import APIKey, KeyUsage, Service
from apikeys.services import Issued
from apikeys.usage import counts, questions
from tests import dead_connections, factories
from tests.authorization_requests import CLIENT, ask
from tests.conftest import Cast

from .test_guard import change, key, service

__all__ = ["key", "service"]


def test_use_is_counted_by_key_and_service_and_the_request_time_is_recorded(service: Service, key: Issued) -> None:
    ask(service, key=key.secret, headers=[("User-Agent", f"curl {key.secret}")])
    ask(service, "POST", key=factories.make_key(key.api_key.account, permission=KeyPermission.READ).secret)
    ask(service, key=tokens.generate())
    counts.flush()
    questions.flush()
    used = KeyUsage.objects.get(api_key=key.api_key)
    assert (used.service, used.requests, used.succeeded, used.in_header) == (service.id, 1, 1, 1)
    refused = KeyUsage.objects.exclude(api_key=key.api_key).get()
    assert (refused.service, refused.client_errors) == (service.id, 1)
    stored = APIKey.objects.get(pk=key.api_key.pk)
    assert stored.last_used_from == CLIENT
    assert key.secret not in stored.last_used_agent
    service.refresh_from_db()
    assert service.last_question_at is not None


def test_a_question_is_one_query_and_it_reads(service: Service, key: Issued) -> None:
    change(service, reading_paths=["/a"], query_keys=True)
    with CaptureQueriesContext(connection) as captured:
        assert ask(service, key=key.secret).status == 200
        assert ask(service, key="nonsense").status == 401
        assert ask("svc_nothing", key=key.secret).status == 403
    # one query for each: the service, the key and its account
    assert len(captured) == 3
    assert all(query["sql"].startswith("SELECT") for query in captured)


def test_the_statement_knows_every_column_of_its_records(cast: Cast, service: Service, key: Issued) -> None:
    change(service, reading_paths=["/a"], preflight=True, shared=False)
    found, record = lookup.at_service(service.id, tokens.digest(key.secret))
    assert record == lookup.by_digest(tokens.digest(key.secret))
    assert found is not None
    assert set(ServiceRecord._fields) <= {field.column for field in Service._meta.concrete_fields}
    service.refresh_from_db()
    for field in ServiceRecord._fields:
        value, stored = getattr(found, field), getattr(service, field)
        assert (json.loads(value) if isinstance(stored, list) else value) == stored
    assert lookup.at_service(service.id, "") == (found, None)
    assert lookup.at_service("svc_nothing", tokens.digest(key.secret)) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_a_dead_connection_is_replaced_once(service: Service, key: Issued) -> None:
    with dead_connections.replaced_once():
        assert ask(service, key=key.secret).status == 200


def test_an_unreachable_database_is_503(service: Service, key: Issued) -> None:
    with mock.patch("apikeys.lookup._fetch", side_effect=OperationalError("gone")):
        answer = ask(service, key=key.secret)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.message == "The database is unavailable. Please try again later."


def test_our_own_error_is_503_and_logged(service: Service, key: Issued, caplog: pytest.LogCaptureFixture) -> None:
    with mock.patch("apikeys.gate.decide", side_effect=ZeroDivisionError):
        answer = ask(service, key=key.secret)
    assert (answer.status, answer.message) == (503, "We have a problem with our server. Please try again later.")
    assert "ZeroDivisionError" in caplog.text
