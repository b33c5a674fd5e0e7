"""How many threads work at the same time."""

import threading
import time

#: Seconds after which a thread that still works is taken to wait for something, such as a database.
LATE_SECONDS = 0.005


class Slots:
    """Lets few threads work at a time, and one more for each of them that waits for something.

    Python runs one thread at a time. Who comes back from a system call while another runs waits for the interpreter's
    lock, up to 5 ms and several times a request, while a lucky thread answers one request after the other. With one
    slot on SQLite, whose statements take microseconds, p99 of four clients is half as long. While PostgreSQL or Redis
    answer, others can work: three slots were best there.
    """

    def __init__(self, number: int) -> None:
        self._free = threading.Semaphore(number)
        #: When those that work began, by thread. Who takes an entry out has its slot: the thread itself, or `_lend`.
        self._began: dict[int, float] = {}
        self._is_used = threading.Event()
        threading.Thread(target=self._lend, name="slots", daemon=True).start()

    def take(self) -> None:
        """Wait for a slot."""
        self._free.acquire()

    def begin(self) -> None:
        """Begin to work in the slot."""
        self._began[threading.get_ident()] = time.monotonic()
        if not self._is_used.is_set():
            self._is_used.set()

    def end(self) -> bool:
        """End the work. False if the slot has been lent to another thread meanwhile, for good."""
        return self._began.pop(threading.get_ident(), None) is not None

    def _lend(self) -> None:
        while True:
            self._is_used.wait()
            self._is_used.clear()
            while self._began:
                time.sleep(LATE_SECONDS)
                late = time.monotonic() - LATE_SECONDS
                for thread in list(self._began):  # not of pairs: making one may run other threads, which change it
                    if self._began.get(thread, late) < late and self._began.pop(thread, None) is not None:
                        self._free.release()
