"""Requests that change something take turns, so that those of one account never occupy all threads of a process.

Changes of one account wait for each other, because they lock the same rows (on SQLite, all changes do). Meanwhile
requests of other accounts would find no thread and no slot of `apikeys.outages`. So only some requests of one account,
and only some of all accounts, run at the same time. Any other request is *postponed*: it ends with `Postponed` before
it has changed anything. The server keeps it without a thread, and runs it again when its turn comes. The accounts take
turns too.

Only `atatus_dash.server` can do this. Under another server, nothing is postponed. Pure.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from .errors import Unavailable

#: The key of a request's `Turn` in its WSGI environ.
TURN = "atatus_dash.turn"
#: Stands for an account's id: changes in Django admin, of any account.
OPERATORS = 0
#: A request that is older when its turn comes is refused.
MAX_SECONDS = 10
#: A waiting request takes one place, and another one for each so many bytes that its connection holds in memory.
PLACE_BYTES = 256 * 1024


class Postponed(BaseException):
    """Ends a request that has to wait. It is not an `Exception`, so no handler turns it into a response."""

    def __init__(self, turn: "Turn") -> None:
        self.turn = turn


class Turn:
    """A request's turn to change its account. The request has the same turn when it runs again."""

    __slots__ = ("account_id", "arrived_at", "has_begun", "has_waited", "held_bytes", "kept")

    def __init__(self) -> None:
        self.arrived_at = time.monotonic()
        self.account_id = OPERATORS
        #: Bytes that its connection holds while it waits, such as its body.
        self.held_bytes = 0
        #: Whether the turn has begun and has not ended.
        self.has_begun = False
        #: Whether the request was postponed. Its second run counts nothing that the first one has counted.
        self.has_waited = False
        #: What the first run keeps for the second one.
        self.kept: Any = None

    @property
    def places(self) -> int:
        return 1 + self.held_bytes // PLACE_BYTES


class Turns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._most_of_one = self._most_of_all = self._places = 1
        self._running: Counter[int] = Counter()
        self._taken: Counter[int] = Counter()  # places, by account
        self._waiting: dict[int, deque[tuple[Turn, Callable[[], object]]]] = {}
        self._lock = threading.Lock()

    def limit(self, *, of_one: int, of_all: int, places: int) -> None:
        """Set how many requests run at the same time, of one account and of all, and the places for those that wait.

        An account gets at most as many places as are still free: one alone half of them, two a third each. So some are
        left for others (Choudhury and Hahne, "Dynamic queue length thresholds", 1998).
        """
        self._most_of_one, self._most_of_all, self._places = of_one, of_all, places

    def take(self, meta: Mapping[str, Any], account_id: int, *, keep: Any = None) -> None:
        """Begin the turn of a request, before its first change.

        Raises `Postponed` if it has to wait, and `Unavailable` if it has waited too long or too many wait already.
        """
        turn: Turn | None = meta.get(TURN)
        if turn is None:
            return
        if turn.has_begun:
            if time.monotonic() - turn.arrived_at > MAX_SECONDS:
                raise _busy()
            return
        turn.account_id, turn.kept = account_id, keep
        with self._lock:
            if self._begin(turn):
                return
            if self._taken[account_id] + turn.places > self._places - self._taken.total():
                raise _busy()
        raise Postponed(turn)

    def wait(self, turn: Turn, resume: Callable[[], object]) -> None:
        """Call `resume` when the turn of a postponed request begins: from any thread, and maybe before this returns."""
        turn.has_waited = True
        with self._lock:
            if not self._begin(turn):
                self._waiting.setdefault(turn.account_id, deque()).append((turn, resume))
                self._taken[turn.account_id] += turn.places
                return
        resume()

    def end(self, turn: Turn) -> None:
        """End the turn of a request, if it has begun, and begin the next one."""
        if not turn.has_begun:
            return
        turn.has_begun = False
        with self._lock:
            self._running -= Counter([turn.account_id])
            resume = self._begin_next()
        if resume is not None:
            resume()

    def _begin(self, turn: Turn) -> bool:
        """Begin the turn if the limits allow it. Returns whether it has begun."""
        running = self._running
        turn.has_begun = running[turn.account_id] < self._most_of_one and running.total() < self._most_of_all
        if turn.has_begun:
            running[turn.account_id] += 1
        return turn.has_begun

    def _begin_next(self) -> Callable[[], object] | None:
        """Begin the oldest waiting turn of an account, and move the account behind all others."""
        for account_id, waiting in self._waiting.items():
            if self._begin(waiting[0][0]):
                turn, resume = waiting.popleft()
                self._taken -= Counter({account_id: turn.places})
                del self._waiting[account_id]
                if waiting:
                    self._waiting[account_id] = waiting
                return resume
        return None


def has_waited(meta: Mapping[str, Any]) -> bool:
    """Whether this is the second run of a request that was postponed."""
    turn: Turn | None = meta.get(TURN)
    return turn is not None and turn.has_waited


def _busy() -> Unavailable:
    return Unavailable("Too many requests wait for an answer. Please try again later.")


turns = Turns()
