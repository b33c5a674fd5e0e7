"""How a worker accepts connections, without its threads. `tests/test_serve.py` runs it with them."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from atatus_dash.server.worker import Worker


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize(("connections", "accepted"), [(0, 1), (15, 1), (16, 2), (400, 26)])
def test_a_worker_accepts_more_connections_at_a_time_the_more_it_has(
    opened: ExitStack, connections: int, accepted: int
) -> None:
    """A new connection waits for a request of each that is busy, and an idle worker leaves it to the others."""
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
    listener.setblocking(False)
    worker: Any = Worker.__new__(Worker)
    worker.poll = opened.enter_context(select.epoll())
    worker.listeners = {listener.fileno(): listener}
    worker.connections = {-number: None for number in range(1, connections + 1)}
    worker._most_connections = 1000
    worker.cfg = type("Config", (), {"workers": 1})
    for _ in range(30):
        opened.enter_context(socket.create_connection(listener.getsockname()))
    worker._handle(listener.fileno())
    accepted_now = {number: each for number, each in worker.connections.items() if number > 0}
    for each in accepted_now.values():
        opened.enter_context(each.socket)
    assert len(accepted_now) == accepted


def test_a_worker_that_has_accepted_all_connections_goes_on(opened: ExitStack) -> None:
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    worker: Any = Worker.__new__(Worker)
    worker.listeners = {listener.fileno(): listener}
    worker.connections = dict.fromkeys(range(-100, 0))
    worker._handle(listener.fileno())
    assert len(worker.connections) == 100
