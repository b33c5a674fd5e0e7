"""Which requests run, wait and are refused while others run. `tests/test_busy_accounts.py` does this on a server."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from accounts.errors import Unavailable
from accounts.turns import OPERATORS, TURN, Postponed, Turn, Turns, has_waited


class Request:
    """A request that changes an account, and how a server runs it."""

    def __init__(self, turns: Turns, account_id: int = 1, name: str = "", held_bytes: int = 0) -> None:
        self.turns, self.account_id, self.name = turns, account_id, name
        self.turn = Turn()
        self.turn.held_bytes = held_bytes
        self.is_running = self.was_resumed = False

    def run(self) -> bool:
        """Run the request. Returns False if it was postponed."""
        try:
            self.turns.take({TURN: self.turn}, self.account_id, keep=self.name)
        except Postponed as postponed:
            self.turns.end(self.turn)  # as a server does for every request
            self.turns.wait(postponed.turn, self.resume)
        else:
            self.is_running = True
        return self.is_running

    def resume(self) -> None:
        self.was_resumed = True
        assert self.run()

    def end(self) -> None:
        self.turns.end(self.turn)
        self.is_running = False


def _turns(of_one: int = 1, of_all: int = 9, places: int = 18) -> Turns:
    turns = Turns()
    turns.limit(of_one=of_one, of_all=of_all, places=places)
    return turns


def _fill(turns: Turns, account_id: int, held_bytes: int = 0) -> int:
    """Send requests until one is refused. Returns how many wait."""
    for number in range(100):
        try:
            assert not Request(turns, account_id, held_bytes=held_bytes).run()
        except Unavailable:
            return number
    raise AssertionError("none was refused")


def test_requests_of_one_account_begin_in_the_order_of_their_arrival() -> None:
    turns = _turns(of_one=2)
    first, second, third, fourth = requests = [Request(turns) for _ in range(4)]
    assert [request.run() for request in requests] == [True, True, False, False]
    second.end()
    assert (third.is_running, fourth.is_running) == (True, False)
    first.end()
    assert fourth.is_running
    assert Request(turns).run() is False


def test_a_request_of_another_account_does_not_wait() -> None:
    turns = _turns()
    assert Request(turns, 1).run()
    assert not Request(turns, 1).run()
    assert Request(turns, 2).run()


def test_accounts_that_wait_for_a_thread_take_turns() -> None:
    turns = _turns(of_one=1, of_all=1)
    running = Request(turns, 3)
    running.run()
    waiting = [Request(turns, account_id, name) for account_id, name in [(1, "a"), (1, "b"), (1, "c"), (2, "d")]]
    assert not any(request.run() for request in waiting)
    order = []
    while waiting:
        running.end()
        (running,) = (request for request in waiting if request.is_running)
        waiting.remove(running)
        order.append(running.name)
    assert order == ["a", "d", "b", "c"]


def test_an_account_with_room_goes_before_one_without() -> None:
    turns = _turns(of_one=1, of_all=2)
    requests = [Request(turns, account_id) for account_id in (1, 2, 1, 3)]
    assert [request.run() for request in requests] == [True, True, False, False]
    requests[1].end()
    assert [request.is_running for request in requests] == [True, False, False, True]


def test_what_the_first_run_kept_is_there_in_the_second_run() -> None:
    turns = _turns()
    first, second = Request(turns), Request(turns, name="accepted")
    first.run()
    second.run()
    first.end()
    assert second.was_resumed
    assert second.turn.kept == "accepted"


def test_only_a_request_that_was_postponed_has_waited() -> None:
    turns = _turns()
    first, second = requests = [Request(turns) for _ in range(2)]
    first.run()
    assert [has_waited({TURN: request.turn}) for request in requests] == [False, False]
    second.run()
    first.end()
    assert [has_waited({TURN: request.turn}) for request in requests] == [False, True]
    assert has_waited({}) is False


def test_a_turn_that_ended_before_the_request_waited_is_taken_at_once() -> None:
    turns = _turns()
    first, second = Request(turns), Request(turns)
    first.run()
    with pytest.raises(Postponed):
        turns.take({TURN: second.turn}, 1)
    first.end()
    turns.wait(second.turn, second.resume)
    assert second.is_running


def test_one_account_gets_half_of_the_places_and_the_others_the_rest() -> None:
    turns = _turns(of_all=1, places=16)
    Request(turns, 9).run()
    assert [_fill(turns, account_id) for account_id in (1, 2, 3, 4, 5, 6)] == [8, 4, 2, 1, 1, 0]


def test_a_request_that_was_refused_gets_a_place_when_another_one_has_begun() -> None:
    turns = _turns(places=4)
    first = Request(turns)
    first.run()
    assert _fill(turns, 1) == 2
    refused = Request(turns)
    with pytest.raises(Unavailable) as error:
        refused.run()
    assert error.value.retry_after == 1
    turns.end(refused.turn)
    first.end()
    assert not refused.run()
    assert _fill(turns, 1) == 0


@pytest.mark.parametrize(("kibibytes", "waiting"), [(255, 8), (256, 4), (1024, 2), (2048, 1)])
def test_a_request_with_a_large_body_takes_several_places(kibibytes: int, waiting: int) -> None:
    turns = _turns(places=16)
    first = Request(turns)
    first.run()
    assert _fill(turns, 1, kibibytes * 1024) == waiting
    first.end()
    assert _fill(turns, 1, kibibytes * 1024) == 1


def test_a_request_that_has_waited_for_ten_seconds_is_refused_and_the_next_one_begins() -> None:
    turns = _turns()
    first, second, third, fourth = requests = [Request(turns) for _ in range(4)]
    for request in requests:
        request.run()
    second.turn.arrived_at -= 10.5
    third.turn.arrived_at -= 9.5
    with pytest.raises(Unavailable):
        first.end()
    second.end()
    assert (third.is_running, fourth.is_running) == (True, False)


def test_a_turn_that_ends_twice_makes_room_for_one() -> None:
    turns = _turns()
    first, *others = [Request(turns) for _ in range(3)]
    for request in (first, *others):
        request.run()
    first.end()
    first.end()
    assert [request.is_running for request in others] == [True, False]


def test_one_request_runs_at_a_time_until_a_server_sets_the_limits() -> None:
    turns = Turns()
    assert [Request(turns, account_id).run() for account_id in (1, 2)] == [True, False]
    with pytest.raises(Unavailable):
        Request(turns, 2).run()


def test_no_account_has_the_id_of_operators() -> None:
    assert OPERATORS < 1  # a database counts from 1


def test_a_request_that_changes_nothing_ends_no_turn() -> None:
    turns = _turns()
    assert Request(turns).run()
    turns.end(Turn())
    assert not Request(turns).run()


def test_a_request_that_takes_its_turn_twice_has_one() -> None:
    turns = _turns()
    first, second = Request(turns), Request(turns)
    assert first.run()
    assert first.run()
    assert not second.run()
    first.end()
    assert second.is_running


def test_without_our_server_nothing_is_postponed() -> None:
    turns = _turns()
    for _ in range(3):
        turns.take({}, 1)


def test_many_threads_never_exceed_the_limits_and_leave_nothing_behind() -> None:
    turns = _turns(of_one=2, of_all=3, places=1000)
    running, most, most_of_all, done = Counter[int](), Counter[int](), [0], threading.Semaphore(0)
    lock = threading.Lock()

    def run(request: Request, pool: ThreadPoolExecutor) -> None:
        try:
            turns.take({TURN: request.turn}, request.account_id)
        except Postponed:
            turns.wait(request.turn, lambda: pool.submit(run, request, pool))
            return
        with lock:
            running[request.account_id] += 1
            most[request.account_id] = max(most[request.account_id], running[request.account_id])
            most_of_all[0] = max(most_of_all[0], running.total())
        time.sleep(0.0005)
        with lock:
            running[request.account_id] -= 1
        turns.end(request.turn)
        done.release()

    with ThreadPoolExecutor(12) as pool:
        for number in range(300):
            pool.submit(run, Request(turns, number % 4), pool)
        for _ in range(300):
            assert done.acquire(timeout=10)
    assert max(most.values()) == 2
    assert most_of_all == [3]
    assert vars(turns)["_waiting"] == {}
    assert not vars(turns)["_running"]
