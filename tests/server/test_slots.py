"""Few threads work at a time. While one of them waits, another may work."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from atatus_dash.server.slots import LATE_SECONDS, Slots


def _work(slots: Slots, seconds: float, working: set[int], most: list[int]) -> None:
    slots.take()
    slots.begin()
    working.add(threading.get_ident())
    most.append(len(working))
    time.sleep(seconds)
    working.discard(threading.get_ident())
    if slots.end():
        slots._free.release()


def test_one_slot_is_used_by_one_thread_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atatus_dash.server.slots.LATE_SECONDS", 60)  # otherwise a thread may be late on a busy machine
    slots, working, most = Slots(1), set[int](), list[int]()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _work(slots, 0, working, most), range(200)))
    assert set(most) == {1}


def test_a_thread_that_waits_does_not_block_others() -> None:
    slots = Slots(1)
    begun, over = threading.Semaphore(0), threading.Event()

    def wait() -> bool:
        slots.take()
        slots.begin()
        begun.release()
        over.wait(10)
        return slots.end()

    with ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(wait) for _ in range(8)]
        for _ in waiting:
            assert begun.acquire(timeout=5)
        started = time.monotonic()
        pool.submit(_work, slots, 0, set(), []).result(timeout=5)
        took = time.monotonic() - started
        over.set()
    assert took < 1
    assert not any(each.result() for each in waiting)


def test_the_number_of_slots_stays_the_same() -> None:
    slots = Slots(3)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: _work(slots, number % 5 * LATE_SECONDS / 2, set(), []), range(300)))
    assert slots._free._value == 3
