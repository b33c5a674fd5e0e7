"""Limits how many threads work at the same time."""

import threading
import time

#: Seconds after which a thread in a slot is assumed to wait for something, such as the database.
LATE_SECONDS = 0.005


class Slots:
    """Lets a few threads work at a time. While one of them waits for something, another may work in its place.

    Python runs one thread at a time. A thread that returns from a system call while another runs has to wait for the
    interpreter's lock: up to 5 ms, several times in a request. In that time the other thread may answer several
    requests. On SQLite, whose statements take microseconds, one slot halves p99 with four clients. With PostgreSQL or
    Redis, other threads can work while one waits for an answer: three slots were best.
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
