"""PostgreSQL and Redis may stop answering. Then no thread of a server waits for them longer than a few seconds.

A server calls `enable`; a command waits for as long as it takes. In a server:

- A dependency that leaves a probe unanswered, or a database that leaves a connection attempt unanswered, is marked
  *unresponsive*. New calls fail immediately and waiting calls give up, until a probe is answered. A thread of
  `heartbeat` probes. One call to Redis that times out only starts a probe, because other calls may get an answer.
- One thread always stays free. If all others wait for a dependency, the last one is refused after half a second. For
  Redis, which is optional, the limit is one thread lower, so that requests that need only the database still run.
- The log reports the beginning and the end of an outage once each, however many requests fail.

Pure: uses neither database nor Redis.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

#: Error texts for a refused thread.
ALL_WAITING = "all other threads wait for an answer"
UNRESPONSIVE = "it doesn't answer"
REDIS_BUSY = "none of the threads that wait for it got an answer"

#: After this many seconds without an answer, the dependency is probed.
SUSPECT_AFTER = 1
#: How long a probe waits for an answer, in seconds.
PROBE_SECONDS = 2
#: An outage has ended when a probe was answered and no call has failed for this many seconds.
QUIET_SECONDS = 3
#: How long the last free thread waits for a slot, in seconds.
SLOT_SECONDS = 0.5


class RedisUnavailable(Exception):
    """Takes the place of redis-py's errors, so that only what uses Redis has to import redis-py."""


class Dependency:
    """The database or Redis."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: Whether calls fail immediately. Never in a command.
        self.is_unresponsive = False
        self._is_suspect = False
        self._failed_at: float | None = None  # the last failure of the outage that was logged
        self._lock = threading.Lock()

    def suspect(self) -> None:
        """Have it probed."""
        self._is_suspect = True

    def mark_unresponsive(self) -> None:
        """Let calls fail immediately. Only in a server, where a probe notices when the dependency answers again."""
        self.is_unresponsive = slots.are_limited

    def record_failure(self, error: Exception, consequence: str = "") -> None:
        """Log that an outage has begun, and its effect, unless it was logged already.

        `ALL_WAITING` is not a failure of this dependency: the threads may be waiting for the other one.
        """
        if str(error) == ALL_WAITING:
            return
        with self._lock:
            is_new = self._failed_at is None
            self._failed_at = time.monotonic()
        if is_new:
            logger.warning("%s is unavailable%s: %s", self.name, consequence and f", so {consequence}", error)

    def check(self, probe: Callable[[], object]) -> None:
        """Probe it if it is suspect, unresponsive or failing."""
        if not (self.is_unresponsive or self._is_suspect or self._failed_at is not None):
            return
        started = time.monotonic()
        try:
            probe()
        except Exception as error:
            if time.monotonic() - started >= PROBE_SECONDS / 2:
                self.mark_unresponsive()
            self.record_failure(error)
            return
        self.is_unresponsive = self._is_suspect = False
        with self._lock:
            has_ended = self._failed_at is not None and time.monotonic() - self._failed_at >= QUIET_SECONDS
            if has_ended:
                self._failed_at = None
        if has_ended:
            logger.warning("%s answers again.", self.name)

    def reset(self) -> None:
        """Return to the initial state. For tests."""
        self.is_unresponsive = self._is_suspect = False
        self._failed_at = None


class Slots:
    """Limits how many of the threads that answer requests wait for dependencies at the same time.

    If all of them waited, not even `/healthz` would be answered, and a supervisor would stop a healthy process.
    """

    def __init__(self) -> None:
        self._most = 0
        self._waiting = 0
        self._is_stuck = False  # a thread got no slot, and none was released since
        self._next_log_at = 0.0
        self._released = threading.Condition(threading.Lock())

    @property
    def are_limited(self) -> bool:
        return self._most > 0

    def limit(self, most: int) -> None:
        """Let this many threads wait at the same time; 0 means no limit."""
        self._most, self._waiting, self._is_stuck = most, 0, False

    def acquire(self) -> bool:
        """Take a slot before waiting for a dependency. False if none was free for half a second."""
        if not self._most or _thread.is_background:
            return True
        with self._released:
            if self._waiting >= self._most:
                seconds = 0 if self._is_stuck else SLOT_SECONDS
                if not self._released.wait_for(lambda: self._waiting < self._most, seconds):
                    self._is_stuck = True
                    self._log()
                    return False
            self._waiting += 1
            return True

    def release(self) -> None:
        """Call it after each `acquire` that returned True."""
        if not self._most or _thread.is_background:
            return
        with self._released:
            self._waiting -= 1
            self._is_stuck = False
            self._released.notify()

    def _log(self) -> None:
        """Log it at most once a minute. `record_failure` logs the dependency's own failure."""
        now = time.monotonic()
        if now >= self._next_log_at:
            self._next_log_at = now + 60
            logger.info("%d threads wait for the database or Redis. Other requests are refused.", self._most)


class _ThreadState(threading.local):
    is_background = False
    longest_wait: float | None = None


_thread = _ThreadState()
slots = Slots()
#: To be acquired before one of `slots`.
redis_slots = Slots()
DATABASE = Dependency("The database")
REDIS = Dependency("Redis")


def enable(threads: int) -> None:
    """Limit waiting in this process, which must be a server with probes and one thread more than these."""
    slots.limit(threads)
    redis_slots.limit(threads and max(1, threads - 1))


def mark_background_thread() -> None:
    """This thread answers no requests, so it needs no slot to wait."""
    _thread.is_background = True


@contextmanager
def wait_at_most(seconds: float) -> Iterator[None]:
    """In this block, this thread waits at most this many seconds for the database, in a command too."""
    before, _thread.longest_wait = _thread.longest_wait, seconds
    try:
        yield
    finally:
        _thread.longest_wait = before


def longest_wait() -> float | None:
    """This thread's limit in seconds; None outside of `wait_at_most`."""
    return _thread.longest_wait
