"""The buffer under counts and sources."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import OperationalError

from apikeys.usage.buffer import Buffer, KeyRequest

REQUEST = KeyRequest(at=0.0, address="", source="", agent="", place="header", status=200)


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
    with ThreadPoolExecutor(4) as pool:
        noting = [pool.submit(lambda: [buffer.record(n % 5, REQUEST) for n in range(500)]) for _ in range(4)]
        while not all(future.done() for future in noting):
            _try(buffer)
    while buffer._pending:
        _try(buffer)
    assert written == dict.fromkeys(range(5), 400)


@pytest.mark.django_db
def test_what_is_noted_while_a_flush_fails_is_added_to_what_comes_back() -> None:
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


def _try(buffer: Buffer[int, Tally]) -> None:
    with suppress(OperationalError):
        buffer.flush()


@pytest.mark.django_db
def test_nothing_is_written_when_nothing_was_noted() -> None:
    def write(batch: dict[int, Tally]) -> None:
        raise AssertionError

    buffer = Buffer(Tally, write)
    buffer.flush()
    buffer.record(1, REQUEST)
    assert buffer.discard() == 1
    buffer.flush()
