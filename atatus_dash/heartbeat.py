"""Threads for work that no request should wait for: reading maintenance, writing usage, sending mail, jobs.

The heartbeat must write the last counts. So it is not a daemon, and doesn't use `atexit`, which some servers never run:
it waits for the main thread to end, and then flushes once more.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import Error, close_old_connections, connection

from accounts import outbox
from apikeys import exposure, limits, notices, outages
from apikeys.usage import counts, problems, questions, sources

from . import availability, maintenance
from .scheduler import Scheduler

logger = logging.getLogger(__name__)

#: Seconds between two reads of the maintenance state, which has to change in every process within a second.
INTERVAL = 0.5

#: Seconds between two writes of the sources that keys are used from. These writes are not urgent.
SOURCES_INTERVAL = 10

#: Seconds between two probes of a database or Redis that failed.
PROBE_INTERVAL = 0.25

#: Seconds that a stop waits for the mail being sent, and for running jobs to reach their next checkpoint.
STOP_SECONDS = 3

_lock = threading.Lock()
_has_started = False


def start() -> None:
    """Start the threads, once per process, and wait at most `INTERVAL` for the first read of the maintenance state.

    A worker of `manage.py serve` calls this before it serves; under another server the first request does. An import
    must not start them, because some servers load the application and then fork, and threads don't survive a fork.
    """
    global _has_started
    if _has_started:
        return
    with _lock:
        if _has_started:
            return
        outages.enable(settings.THREADS)
        mail = threading.Thread(target=_send_mail, name="mail", daemon=True)
        mail.start()
        has_looked = threading.Event()
        threading.Thread(target=_run, args=[mail, has_looked], name="heartbeat").start()
        # A daemon, because it has nothing to write at the end, and has to run while the others finish.
        threading.Thread(target=_probe, name="probe", daemon=True).start()
        has_looked.wait(INTERVAL)
        _has_started = True


def _run(mail: threading.Thread, has_looked: threading.Event) -> None:
    outages.mark_background_thread()
    main = threading.main_thread()
    tasks = TaskRunner()
    scheduler = Scheduler()
    next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
    next_sources = time.monotonic() + SOURCES_INTERVAL
    while main.is_alive():
        tasks.run(maintenance.refresh)
        has_looked.set()
        tasks.run(exposure.examine)
        if time.monotonic() >= next_flush:
            tasks.run(counts.flush)
            tasks.run(questions.flush)
            tasks.run(problems.flush)
            next_flush = time.monotonic() + settings.USAGE_FLUSH_SECONDS
        if time.monotonic() >= next_sources:
            tasks.run(sources.flush)
            next_sources = time.monotonic() + SOURCES_INTERVAL
        tasks.run(scheduler.start_due_jobs)
        close_old_connections()
        main.join(INTERVAL)
    _finish(tasks)
    connection.close()
    deadline = time.monotonic() + STOP_SECONDS
    for thread in (mail, *scheduler.threads.values()):
        thread.join(max(0, deadline - time.monotonic()))


def _finish(tasks: "TaskRunner") -> None:
    """Write what is left, and log how much could not be written."""
    tasks.run(counts.flush)
    if requests := counts.discard():
        logger.error("%d counted requests are lost: they could not be written before the stop.", requests)
    tasks.run(exposure.examine)
    if plain := exposure.discard():
        logger.error("%d requests over plain HTTP were not searched for keys before the stop.", plain)
    tasks.run(sources.flush)
    tasks.run(questions.flush)
    tasks.run(problems.flush)


def _send_mail() -> None:
    """Send this process's mail soon after it is committed. In its own thread, because a mail server may be slow.

    Mail that fails, or that other processes couldn't send, is sent by a scheduled job. The thread is a daemon, because
    a mail server that hangs must not delay a stop: an interrupted mail is sent again later.
    """
    outages.mark_background_thread()
    main = threading.main_thread()
    tasks = TaskRunner()
    while main.is_alive():
        if outbox.pending.is_set():
            outbox.pending.clear()  # mail that is committed later sets it again
            tasks.run(notices.mail_pending)
            tasks.run(outbox.deliver)
        close_old_connections()
        main.join(INTERVAL)
    connection.close()


def _probe() -> None:
    """Probe the database and Redis if they may be down. In its own thread, because the others may wait for them."""
    outages.mark_background_thread()
    while True:
        outages.DATABASE.check(availability.probe_database)
        outages.REDIS.check(limits.limiter.probe)
        time.sleep(PROBE_INTERVAL)


class TaskRunner:
    """Runs tasks, and runs them again after a failure. A failure is logged once, not twice a second."""

    def __init__(self) -> None:
        self._failing: set[Callable[[], object]] = set()

    def run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except (Error, outbox.ServerUnreachable) as error:
            if availability.is_outage(error):
                availability.unavailable(error)
            elif task not in self._failing:
                logger.warning("%s.%s fails and is tried again: %s", task.__module__, task.__name__, error)
                self._failing.add(task)
        except Exception:
            logger.exception("%s.%s failed.", task.__module__, task.__name__)
        else:
            if task in self._failing:
                logger.info("%s.%s works again.", task.__module__, task.__name__)
            self._failing.discard(task)
