"""One thread per process for what must not happen on a request: reading maintenance, writing usage.

It is no daemon and has no `atexit`: some servers never run those, and what was counted last would be
lost. It waits on the main thread instead, and when that ends it flushes once more.
"""

import logging
import threading
import time

from django.conf import settings
from django.db import close_old_connections, connection

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
    next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
    while main.is_alive():
        _safely(maintenance.refresh)
        if time.monotonic() >= next_flush:
            _safely(usage.flush)
            next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
        close_old_connections()
        main.join(INTERVAL)
    _safely(usage.flush)
    connection.close()


def _safely(task: object) -> None:
    """The heart goes on beating whatever one beat meets."""
    try:
        task()  # type: ignore[operator]
    except Exception:
        logger.exception("A heartbeat failed.")
