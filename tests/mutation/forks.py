"""Forked processes, as many at the same time as there are cores. With Redis only one, because they would share it."""

import gc
import os
import traceback
from collections.abc import Callable
from typing import Any

BROKEN = 10


class Forks:
    """`ended` is called for each process that has ended, with its id, its task and its status."""

    def __init__(self, ended: Callable[[int, Any, int], None]) -> None:
        self._ended = ended
        self._running: dict[int, Any] = {}

    def start(self, reason: Any, run: Callable[..., int], *arguments: Any) -> None:
        """Run a function in a forked process. The function returns the exit status of the process."""
        while len(self._running) >= (1 if os.environ.get("REDIS_URL") else os.cpu_count() or 1):
            self._wait()
        if (pid := os.fork()) == 0:
            try:
                gc.freeze()
                os._exit(run(*arguments))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(BROKEN)
        self._running[pid] = reason

    def wait(self) -> None:
        while self._running:
            self._wait()

    def _wait(self) -> None:
        pid, status = os.wait()
        if pid in self._running:  # and not a process that a test has left behind
            self._ended(pid, self._running.pop(pid), status)
