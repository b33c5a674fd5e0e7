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
    assert _accepted(opened, new=30, connections=connections) == accepted


def test_a_worker_that_has_accepted_all_connections_goes_on(opened: ExitStack) -> None:
    assert _accepted(opened, new=3, connections=100) == 3


def test_a_worker_accepts_no_more_at_a_time_than_it_may_have(opened: ExitStack) -> None:
    """Each of the others cuts one off, which has to be closed first."""
    assert _accepted(opened, new=30, connections=400, most=402) == 2


def _accepted(opened: ExitStack, *, new: int, connections: int, most: int = 1000) -> int:
    """How many of these new connections a worker with some connections accepts at a time."""
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
    listener.setblocking(False)
    worker: Any = Worker.__new__(Worker)
    worker.poll = opened.enter_context(select.epoll())
    worker.listeners = {listener.fileno(): listener}
    worker.connections = {-number: None for number in range(1, connections + 1)}
    worker._most_connections = most
    worker.cfg = type("Config", (), {"workers": 1})
    for _ in range(new):
        opened.enter_context(socket.create_connection(listener.getsockname()))
    worker._handle(listener.fileno())
    accepted = [each for number, each in worker.connections.items() if number > 0]
    for each in accepted:
        opened.enter_context(each.socket)
    return len(accepted)
