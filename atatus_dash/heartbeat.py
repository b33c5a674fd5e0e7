"""Threads for what must not happen on a request: reading maintenance, writing usage, sending mail.

The heartbeat is no daemon and has no `atexit`: some servers never run those, and what was counted last would be
lost. It waits on the main thread instead, and when that ends it flushes once more.
"""

import logging
import threading
import time

from django.conf import settings
from django.db import close_old_connections, connection

from apikeys import exposure, notices, usage

from . import maintenance

logger = logging.getLogger(__name__)

#: Seconds between two looks at the maintenance state: every process obeys within a second.
INTERVAL = 0.5

#: Seconds between two looks for notices of other processes, such as a command's.
MAIL_INTERVAL = 60

_started = threading.Lock()


def start() -> None:
    """Start the threads, once per process."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_run, name="heartbeat").start()
        threading.Thread(target=_send_mail, name="mail").start()


def _run() -> None:
    main = threading.main_thread()
    next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
    while main.is_alive():
        _safely(maintenance.refresh)
        if time.monotonic() >= next_flush:
            _safely(usage.flush)
            _safely(exposure.examine)
            next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
        close_old_connections()
        main.join(INTERVAL)
    _safely(usage.flush)
    connection.close()


def _send_mail() -> None:
    """Send notices soon after they are committed. Its own thread, because a mail server may be slow."""
    main = threading.main_thread()
    next_look = 0.0
    while main.is_alive():
        if notices.pending.is_set() or time.monotonic() >= next_look:
            _safely(notices.deliver)
            next_look = time.monotonic() + MAIL_INTERVAL
        close_old_connections()
        main.join(INTERVAL)
    connection.close()


def _safely(task: object) -> None:
    """The heart goes on beating whatever one beat meets."""
    try:
        task()  # type: ignore[operator]
    except Exception:
        logger.exception("A heartbeat failed.")
