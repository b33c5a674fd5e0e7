"""Limits how many threads work at the same time."""

import threading
import time

#: Seconds after which a thread in a slot is assumed to wait for something, such as the database.
LATE_SECONDS = 0.005


class Slots:
    """Lets a few threads work at a time, and another one for each of them that waits for something.

    Python runs one thread at a time. A thread that returns from a system call while another runs waits for the
    interpreter's lock, up to 5 ms and several times in a request, while the other may answer several requests. With
    one slot on SQLite, whose statements take microseconds, p99 of four clients is half as long. With PostgreSQL or
    Redis, other threads can work during their answers: three slots were best.
    """

    def __init__(self, number: int) -> None:
        self._free = threading.Semaphore(number)
        #: Start times by thread. Removing an entry releases its slot: the thread itself does so, or `_lend`.
        self._began: dict[int, float] = {}
        self._is_used = threading.Event()
        threading.Thread(target=self._lend, name="slots", daemon=True).start()

    def take(self) -> None:
        """Wait for a slot."""
        self._free.acquire()

    def begin(self) -> None:
        """Start to work in the slot."""
        self._began[threading.get_ident()] = time.monotonic()
        if not self._is_used.is_set():
            self._is_used.set()

    def end(self) -> bool:
        """Stop working. False if the slot was given to another thread in the meantime."""
        return self._began.pop(threading.get_ident(), None) is not None

    def _lend(self) -> None:
        while True:
            self._is_used.wait()
            self._is_used.clear()
            while self._began:
                time.sleep(LATE_SECONDS)
                late = time.monotonic() - LATE_SECONDS
                for thread in list(self._began):  # not of items(): other threads could change it meanwhile
                    if self._began.get(thread, late) < late and self._began.pop(thread, None) is not None:
                        self._free.release()
