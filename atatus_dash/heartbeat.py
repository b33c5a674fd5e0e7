"""One thread per process for what must not happen on a request: reading maintenance, writing usage.

It is no daemon and has no `atexit`: some servers never run those, and what was counted last would be
lost. It waits on the main thread instead, and when that ends it flushes once more.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import Error, close_old_connections, connection

from apikeys import usage

from . import maintenance

logger = logging.getLogger(__name__)

#: Seconds between two looks at the maintenance state: every process obeys within a second.
INTERVAL = 0.5

_started = threading.Lock()


def start() -> None:
    """Start the thread, once per process."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_run, name="heartbeat").start()


def _run() -> None:
    main = threading.main_thread()
    beats = Beats()
    next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
    while main.is_alive():
        beats.beat(maintenance.refresh)
        if time.monotonic() >= next_flush:
            beats.beat(usage.flush)
            next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
        close_old_connections()
        main.join(INTERVAL)
    beats.beat(usage.flush)
    connection.close()


class Beats:
    """Runs tasks whatever they met the last time. A database out of reach is told once, not twice a second."""

    def __init__(self) -> None:
        self._failing: set[Callable[[], None]] = set()

    def beat(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Error as error:
            if task not in self._failing:
                logger.warning("%s.%s fails and is tried again: %s", task.__module__, task.__name__, error)
            self._failing.add(task)
        except Exception:
            logger.exception("%s.%s failed.", task.__module__, task.__name__)
        else:
            if task in self._failing:
                logger.info("%s.%s works again.", task.__module__, task.__name__)
            self._failing.discard(task)
