"""The buffer that counts and sources use."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError

from apikeys.gate import Place
from apikeys.usage.buffer import Buffer, KeyRequest

REQUEST = KeyRequest(at=0.0, address="", source="", agent="", place=Place.HEADER, status=200)


class Tally:
    def __init__(self) -> None:
        self.requests = 0

    def record(self, request: KeyRequest) -> None:
        before = self.requests
        threading.Event().wait(0)  # lets other threads in
        self.requests = before + 1

    def add(self, other: "Tally") -> None:
        self.requests += other.requests


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_written_once_whatever_fails_in_between(seed: int) -> None:
    chance, written = random.Random(seed), Counter[int]()

    def write(batch: dict[int, Tally]) -> None:
        if chance.random() < 0.5:
            raise OperationalError("gone")
        written.update({slot: tally.requests for slot, tally in batch.items()})

    buffer = Buffer(Tally, write)

    def record() -> None:
        for n in range(500):
            buffer.record(n % 5, REQUEST)

    with ThreadPoolExecutor(4) as pool:
        recording = [pool.submit(record) for _ in range(4)]
        while not all(future.done() for future in recording):
            _try(buffer)
    while buffer._pending:
        _try(buffer)
    assert written == dict.fromkeys(range(5), 400)


@pytest.mark.django_db
def test_what_is_recorded_while_a_flush_fails_is_added_to_the_restored_batch() -> None:
    written = Counter[int]()

    def write(batch: dict[int, Tally]) -> None:
        if not written:
            buffer.record(1, REQUEST)
            written[2] = 0
            raise OperationalError("gone")
        written.update({slot: tally.requests for slot, tally in batch.items()})

    buffer = Buffer(Tally, write)
    buffer.record(1, REQUEST)
    _try(buffer)
    buffer.flush()
    assert written[1] == 2


@pytest.mark.django_db
@pytest.mark.parametrize("refusal", [DataError("too long"), IntegrityError("a constraint"), OverflowError("too large")])
@pytest.mark.parametrize("refused", [{0}, {6}, {2, 3}, {0, 5, 6}], ids=str)
def test_slots_that_the_database_refuses_are_lost_and_the_others_written_once(
    refusal: Exception, refused: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    written = Counter[int]()

    def write(batch: dict[int, Tally]) -> None:
        if not refused.isdisjoint(batch):
            raise refusal
        written.update({slot: tally.requests for slot, tally in batch.items()})

    buffer = Buffer(Tally, write)
    for slot in [*range(7), *range(7)]:
        buffer.record(slot, REQUEST)
    buffer.flush()
    assert written == dict.fromkeys(set(range(7)) - refused, 2)
    assert caplog.messages == [
        f"2 requests of {slot} are lost: the database refused them. {refusal}" for slot in refused
    ]
    assert buffer.discard() == 0


@pytest.mark.django_db
def test_a_database_that_fails_during_a_flush_loses_and_doubles_nothing() -> None:
    written, calls = Counter[int](), 0

    def write(batch: dict[int, Tally]) -> None:
        nonlocal calls
        calls += 1
        if calls in (3, 5, 8):
            raise OperationalError("gone")
        if 4 in batch:
            raise DataError("too long")
        written.update({slot: tally.requests for slot, tally in batch.items()})

    buffer = Buffer(Tally, write)
    for slot in range(8):
        buffer.record(slot, REQUEST)
    for _ in range(20):
        _try(buffer)
    assert written == dict.fromkeys(set(range(8)) - {4}, 1)


@pytest.mark.django_db
def test_a_missing_table_loses_nothing() -> None:
    def write(batch: dict[int, Tally]) -> None:
        raise ProgrammingError("no such table")

    buffer = Buffer(Tally, write)
    buffer.record(1, REQUEST)
    with pytest.raises(ProgrammingError):
        buffer.flush()
    assert buffer.discard() == 1


def _try(buffer: Buffer[int, Tally]) -> None:
    with suppress(OperationalError):
        buffer.flush()


@pytest.mark.django_db
def test_nothing_is_written_when_nothing_was_recorded() -> None:
    def write(batch: dict[int, Tally]) -> None:
        raise AssertionError

    buffer = Buffer(Tally, write)
    buffer.flush()
    buffer.record(1, REQUEST)
    assert buffer.discard() == 1
    buffer.flush()
