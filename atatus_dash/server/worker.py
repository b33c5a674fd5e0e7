"""A worker of `manage.py serve`: threads that share connections, and a stop that loses no request.

A thread waits for the next readable connection, reads it, runs the application and answers. No request is passed from
one thread to another: that would cost more than everything else. A connection with an incomplete request goes back to
the poll and occupies no thread. Nor does a connection whose request has to wait for others of its account
(`accounts.turns`). A few threads work at a time (`slots`); the others take over while those wait for a database.

A proxy keeps connections open and may send a request at the moment when one is closed. It can't repeat a POST that got
no answer, so the worker must not close such a connection. On SIGTERM

1. every answer says `Connection: close`, so the proxy doesn't reuse that connection. A proxy closes its idle
   connections within `DRAIN_SECONDS` (`keepalive_timeout` of deploy/nginx.conf is shorter);
2. new connections are no longer accepted. When the whole server stops, `__main__` has told the kernel by then to
   establish none: closing the socket would reset connections that no worker has accepted, with their requests;
3. the remaining requests are answered, and the heartbeat writes the counts.

Without a proxy, the worker starts with the second step.
"""

import logging
import os
import resource
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from gunicorn.workers import base

from accounts.turns import Postponed, turns

from .connection import Connection, GoneError, Phase
from .slots import Slots

logger = logging.getLogger(__name__)

#: Longer than a proxy keeps an idle connection.
DRAIN_SECONDS = 1.5
#: How long the last connections may take to be accepted and to send their request.
ACCEPT_SECONDS = 0.2
#: Seconds between two searches for overdue connections and checks that the parent process is alive.
SWEEP_SECONDS = 0.5
#: Connections of one worker. If there are more, each new one cuts off another.
MAX_CONNECTIONS = 850
#: New connections are accepted after one request of each busy connection. So for each so many connections, a worker
#: accepts one more at a time. One with few leaves new connections to the other workers.
CONNECTIONS_PER_ACCEPT = 16
#: Connections that were cut off and are not yet closed. If there are more, new ones are closed immediately.
MAX_CUT = 50
#: Files that a worker has open besides its connections, and files of each thread. A database in WAL mode is three
#: files.
OTHER_FILES, FILES_OF_THREAD = 64, 4
#: Bytes of incomplete bodies and unsent answers in one worker. If there are more, the largest are cut off.
MAX_HELD_BYTES = 256 * 1024 * 1024


def _most_connections(threads: int) -> int:
    """As many as the limit of open files allows, which is 1,024 by default."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, files - MAX_CUT - OTHER_FILES - FILES_OF_THREAD * threads))


def _deadline(connection: Connection) -> float:
    return connection.deadline or 0.0  # None if a thread works on it in the meantime


class Worker(base.Worker):
    """Gunicorn forks it, watches it, and lets it load the application before `run`."""

    is_draining = False
    skips_proxy_wait = False

    def run(self) -> None:
        from accounts import exports  # imported here, because only workers load the apps
        from atatus_dash import heartbeat

        heartbeat.start()
        self.connections: dict[int, Connection] = {}
        self.poll = select.epoll()
        self.listeners: dict[int, socket.socket] = {}
        for listener in self.sockets:
            listener.setblocking(False)
            self.listeners[listener.fileno()] = listener.sock
            # Of the workers that wait for the same socket, the kernel wakes one.
            self.poll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        waits = settings.REDIS_URL or not settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
        working = 3 if waits else 1
        self._slots = Slots(working)
        # An export occupies a thread until its client has read it, so a thread for each export is added to THREADS. One
        # more is added because `outages` keeps one free to answer while all others wait for the database.
        threads = settings.THREADS + exports.MAX_EXPORTS + 1
        self._most_connections = _most_connections(threads)
        turns.limit(
            of_one=max(1, working - 1),  # another thread can work for others, and SQLite has one writer
            of_all=max(1, settings.THREADS * 3 // 4),
            places=max(1, self._most_connections // 2),
        )
        for number in range(threads):
            threading.Thread(target=self._serve, name=f"request-{number}", daemon=True).start()
        while self.alive and os.getppid() == self.ppid:
            self._watch(SWEEP_SECONDS)
        self._drain()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Stop as on SIGTERM, but without waiting for a proxy."""
        self.skips_proxy_wait = True
        self.handle_exit(sig, frame)

    # In each of the threads ---------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self._slots.take()
            has_slot = True
            while has_slot:
                for number, _ in self.poll.poll(None, 1):
                    self._slots.begin()
                    try:
                        self._handle(number)
                    except Exception:
                        logger.exception("A connection failed.")
                    has_slot = self._slots.end()

    def _handle(self, number: int) -> None:
        if listener := self.listeners.get(number):
            for _ in range(1 + len(self.connections) // CONNECTIONS_PER_ACCEPT):
                if not self._accept(listener) or len(self.connections) >= self._most_connections:
                    break  # beyond the limit, the one that was cut off is closed before the next
        elif connection := self.connections.get(number):
            self._work(number, connection)

    def _accept(self, listener: socket.socket) -> bool:
        """Accept a connection. False if there is no new connection."""
        try:
            accepted, peer = listener.accept()
        except BlockingIOError:
            return False  # another worker has accepted it
        except OSError:
            self._make_room()
            time.sleep(0.1)  # too many open files, or the client has gone: let others finish
            return False
        if len(self.connections) >= self._most_connections:
            self._make_room()
            if len(self.connections) >= self._most_connections + MAX_CUT:
                accepted.close()
                return True
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name, port = accepted.getsockname()[:2]
        environ = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "REMOTE_ADDR": peer[0],
            "REMOTE_PORT": str(peer[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": self.cfg.workers > 1,
            "wsgi.run_once": False,
        }
        self.connections[accepted.fileno()] = Connection(accepted, environ)
        self.poll.register(accepted, select.EPOLLIN | select.EPOLLONESHOT)
        return True

    def _make_room(self) -> None:
        """Cut off a connection of the client that has the most, so that one client can't block all others.

        It is the one with the earliest deadline. Behind a proxy, all connections are the proxy's.
        """
        waiting = [each for each in self._all() if each.is_waiting]
        if waiting:
            numbers = Counter(each.origin for each in waiting)
            most = max(numbers.values())
            min((each for each in waiting if numbers[each.origin] == most), key=_deadline).cut()

    def _work(self, number: int, connection: Connection) -> None:
        goes_on, turn = False, None
        try:
            goes_on = connection.work(self.wsgi, is_draining=self.is_draining)
        except GoneError:
            pass
        except Postponed as postponed:
            turn = postponed.turn
        finally:
            if turn is not None:
                turns.wait(turn, partial(self._resume, number, connection))
            elif goes_on:
                self._resume(number, connection)
            else:
                del self.connections[number]  # before it is closed, which frees its file number
                connection.socket.close()

    def _resume(self, number: int, connection: Connection) -> None:
        self.poll.modify(number, connection.events | select.EPOLLONESHOT)

    # In the main thread -------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        """Cut off connections that are overdue or hold too much, then wait for a signal or the next check."""
        self.notify()
        now = time.monotonic()
        held = 0
        for connection in sorted(self._all(), key=lambda each: each.held_bytes):
            held += connection.held_bytes
            if connection.deadline is not None and (connection.deadline < now or held > MAX_HELD_BYTES):
                connection.cut()
        if select.select([self.PIPE[0]], [], [], seconds)[0]:
            os.read(self.PIPE[0], 4096)

    def _watch_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            self._watch(min(left, 0.05))

    def _drain(self) -> None:
        self.is_draining = True
        if settings.TRUSTED_PROXIES and not self.skips_proxy_wait:
            self._watch_for(DRAIN_SECONDS + ACCEPT_SECONDS)
        for number, listener in self.listeners.items():
            self.poll.unregister(number)
            while self._accept(listener):
                pass
            listener.close()
        self._watch_for(ACCEPT_SECONDS, until=lambda: all(each.is_used for each in self._all()))
        for connection in self._all():
            if connection.phase is Phase.IDLE or not connection.is_used:
                connection.cut()
        self._watch_for(float("inf"), until=lambda: not self.connections)  # gunicorn kills a worker that takes too long

    def _all(self) -> list[Connection]:
        return list(self.connections.values())
