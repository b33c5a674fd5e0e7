"""Of requests with one `Idempotency-Key` at the same time, one has an effect."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from accounts import services as account_services
from accounts.models import Project
from accounts.services import create_project
from apikeys import idempotency
from tests import factories
from tests.conftest import Cast, Program

from .test_idempotency import assert_refused, post


class Slow:
    """Creating a project waits until it is released."""

    def __init__(self) -> None:
        self.started, self.released, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def __call__(self, **fields: Any) -> Project:
        project = create_project(**fields)
        self.started.set()
        assert self.released.wait(20)
        if self.error is not None:
            raise self.error
        return project


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow()
    monkeypatch.setattr(account_services, "create_project", slow)
    yield slow
    slow.released.set()


def in_thread(answers: list[Any], program: Program) -> threading.Thread:
    def send() -> None:
        try:
            answers.append(post(program, "/v2/projects"))
        finally:
            connection.close()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_409_while_the_first_request_runs(cast: Cast, slow: Slow) -> None:
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    thread = in_thread(answers, Program(secret))
    assert slow.started.wait(20)
    meanwhile = post(Program(secret), "/v2/projects")
    slow.released.set()
    thread.join(20)
    assert_refused(meanwhile, 409, "A request with this Idempotency-Key is still running. Try again in a moment.")
    assert meanwhile["Retry-After"] == "1"
    assert post(Program(secret), "/v2/projects").json() == answers[0].json()
    assert cast.account.projects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_another_process_does_not_run_it_a_second_time(cast: Cast, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL, the second request gets a 409. On SQLite, it waits for the first, and then finds its answer."""
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    threads = [in_thread(answers, Program(secret))]
    assert slow.started.wait(20)
    monkeypatch.setattr(idempotency, "_running", set())  # of the other process
    threads.append(in_thread(answers, Program(secret)))
    threads[1].join(0.5)
    assert threads[1].is_alive() == (connection.vendor == "sqlite")
    slow.released.set()
    for thread in threads:
        thread.join(20)
    assert sorted(answer.status_code for answer in answers) == (
        [201, 201] if connection.vendor == "sqlite" else [201, 409]
    )
    assert cast.account.projects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("one_process", [True, False])
def test_of_many_attempts_at_once_one_has_an_effect(
    cast: Cast, one_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(factories.make_key(cast.account, rate_limit="10000/minute").secret)
    if not one_process:

        class Forgetful(set[Any]):
            def add(self, item: Any) -> None:
                """Each process knows only its own running requests."""

        monkeypatch.setattr(idempotency, "_running", Forgetful())

    def send(start: threading.Barrier, key: str) -> Any:
        start.wait()
        try:
            return post(program, "/v2/projects", key=key)
        finally:
            connection.close()

    for number in range(1, 11):
        start = threading.Barrier(6)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(send, [start] * 6, [f"attempt {number}".replace(" ", "-")] * 6))
        assert {answer.status_code for answer in answers} <= {201, 409}
        created = {answer.json()["id"] for answer in answers if answer.status_code == 201}
        assert len(created) == 1
        assert cast.account.projects.count() == number
        assert sum("Idempotent-Replayed" not in a for a in answers if a.status_code == 201) == 1


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_failed_does_not_block_the_next(cast: Cast, slow: Slow) -> None:
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    slow.error = RuntimeError("bug")
    thread = in_thread(answers, Program(secret, raise_request_exception=False))
    assert slow.started.wait(20)
    assert post(Program(secret), "/v2/projects").status_code == 409
    slow.released.set()
    thread.join(20)
    slow.error = None
    assert [answer.status_code for answer in answers] == [500]
    assert post(Program(secret), "/v2/projects").status_code == 201
    assert cast.account.projects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.services
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
def test_a_node_that_dies_while_it_runs_does_not_block_the_next_attempt(
    cast: Cast, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = factories.make_key(cast.account).secret
    answers: list[Any] = []
    thread = in_thread(answers, Program(secret))
    assert slow.started.wait(20)
    monkeypatch.setattr(idempotency, "_running", set())  # of another node
    assert post(Program(secret), "/v2/projects").status_code == 409
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    slow.released.set()
    assert post(Program(secret), "/v2/projects").status_code == 201
    thread.join(20)
    assert [answer.status_code for answer in answers] == [503]
    assert cast.account.projects.count() == 1
