"""PostgreSQL and Redis as this process meets them: one that doesn't answer stops nobody for longer than seconds.

Three things see to that in a server, which calls `watch`; a command waits for as long as it takes.

- A service that leaves a probe without an answer, or the database an attempt to connect, is *silent*: whoever needs it
  is refused at once, and who waits for it gives up, until a probe finds that it answers. A thread of `heartbeat`
  probes. One call to Redis that times out only has it probed: others may get their answer.
- One thread always stays free: where all others wait for a service, the last one is refused after half a second. For
  Redis, which may be missed, one thread fewer may wait, so that what needs the database goes on.
- An outage is told once when it begins and once when it ends, whatever the number of requests that meet it.

Pure: knows neither database nor Redis.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

#: What a refused thread is told.
STUCK = "every other thread waits for an answer"
SILENT = "it doesn't answer"
NOBODY_ANSWERED = "it answered none of those who wait"

#: After so many seconds of waiting for an answer somebody asks whether the service answers anybody.
DOUBT_AFTER = 1
#: How long a probe waits for an answer, in seconds.
PROBE_SECONDS = 2
#: An outage has ended when a probe was answered and nothing failed for so many seconds.
QUIET_SECONDS = 3
#: How long the last free thread waits for another to come back, in seconds.
TURN_SECONDS = 0.5


class Service:
    """One that we depend on."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: Whether asking it is in vain. Never in a command.
        self.is_silent = False
        self._is_doubted = False
        self._failed_at: float | None = None  # when it last failed, in the outage that was told of
        self._lock = threading.Lock()

    def doubt(self) -> None:
        """Have it probed."""
        self._is_doubted = True

    def fall_silent(self) -> None:
        """Note that it didn't answer. Only where somebody probes, and so will find that it does again."""
        self.is_silent = turns.are_limited

    def failed(self, error: Exception, so: str = "") -> None:
        """Note that it could not be used. Tells of it if that is news, with what happens because of it.

        That all threads wait says nothing of this service: it may be another that they wait for.
        """
        if str(error) == STUCK:
            return
        with self._lock:
            is_news = self._failed_at is None
            self._failed_at = time.monotonic()
        if is_news:
            logger.warning("%s is out of reach%s: %s", self.name, so and f", so {so}", error)

    def look(self, probe: Callable[[], object]) -> None:
        """Ask whether it answers, if anybody had reason to doubt that."""
        if not (self.is_silent or self._is_doubted or self._failed_at is not None):
            return
        started = time.monotonic()
        try:
            probe()
        except Exception as error:
            if time.monotonic() - started >= PROBE_SECONDS / 2:
                self.fall_silent()
            self.failed(error)
            return
        self.is_silent = self._is_doubted = False
        with self._lock:
            has_ended = self._failed_at is not None and time.monotonic() - self._failed_at >= QUIET_SECONDS
            if has_ended:
                self._failed_at = None
        if has_ended:
            logger.warning("%s answers again.", self.name)

    def forget(self) -> None:
        """Think of it as on the first day."""
        self.is_silent = self._is_doubted = False
        self._failed_at = None


class Turns:
    """Bounds how many threads that answer requests wait for services at the same time.

    If every one did, not even `/healthz` would be answered, and a supervisor would end a process that is well.
    """

    def __init__(self) -> None:
        self._most = 0
        self._waiting = 0
        self._is_stuck = False  # nobody has come back since somebody waited for it in vain
        self._tell_at = 0.0
        self._came_back = threading.Condition(threading.Lock())

    @property
    def are_limited(self) -> bool:
        return self._most > 0

    def limit(self, most: int) -> None:
        """Let so many threads wait at the same time; 0 is any number."""
        self._most, self._waiting, self._is_stuck = most, 0, False

    def take(self) -> bool:
        """Begin to wait for a service. False if all others have been waiting for half a second."""
        if not self._most or _mine.is_background:
            return True
        with self._came_back:
            if self._waiting >= self._most:
                seconds = 0 if self._is_stuck else TURN_SECONDS
                if not self._came_back.wait_for(lambda: self._waiting < self._most, seconds):
                    self._is_stuck = True
                    self._tell()
                    return False
            self._waiting += 1
            return True

    def give_back(self) -> None:
        """After each `take` that was granted."""
        if not self._most or _mine.is_background:
            return
        with self._came_back:
            self._waiting -= 1
            self._is_stuck = False
            self._came_back.notify()

    def _tell(self) -> None:
        """Once a minute at most: whoever keeps them waiting is told of when it fails."""
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + 60
            logger.info("%d threads wait for the database or Redis: nobody else does until one is back.", self._most)


class _Mine(threading.local):
    """What holds for one thread."""

    is_background = False
    patience: float | None = None


_mine = _Mine()
turns = Turns()
#: Taken before one of `turns`.
turns_at_redis = Turns()
DATABASE = Service("The database")
REDIS = Service("Redis")


def watch(threads: int) -> None:
    """From here on this process is a server that starts one thread more than these. Somebody has to probe."""
    turns.limit(threads)
    turns_at_redis.limit(threads and max(1, threads - 1))


def in_background() -> None:
    """This thread answers no requests: it may wait beside those that do."""
    _mine.is_background = True


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """In this block this thread waits for no answer of the database for longer, in a command too."""
    before, _mine.patience = _mine.patience, seconds
    try:
        yield
    finally:
        _mine.patience = before


def patience_of_this_thread() -> float | None:
    """Seconds, or None outside of `patience`."""
    return _mine.patience
