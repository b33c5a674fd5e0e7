"""The process that `manage.py serve` becomes: gunicorn's arbiter, which starts, watches and replaces workers."""

import ctypes
import os
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from .worker import DRAIN_SECONDS

#: Seconds within which a worker has to load the application or report that it is alive, or it is replaced.
ALIVE_SECONDS = 60
#: Seconds before a stopping worker is killed: two for a proxy to close its connections, ten to finish the requests.
STOP_SECONDS = 12


#: The longest that a reload waits for new workers. Other signals have to wait for the reload.
START_SECONDS = 20


class Server(BaseApplication):
    """Configured by our settings only: gunicorn's configuration file and variables are ignored."""

    def load_config(self) -> None:
        host = f"[{settings.BIND}]" if ":" in settings.BIND else settings.BIND
        options: dict[str, Any] = {
            "bind": f"{host}:{settings.PORT}",
            "workers": settings.WEB_CONCURRENCY,
            "worker_class": "atatus_dash.server.worker.Worker",
            "timeout": ALIVE_SECONDS,
            "graceful_timeout": STOP_SECONDS,
            "loglevel": "error",
            "accesslog": None,  # an access log would contain query strings with keys
            "control_socket_disable": True,
        }
        if not hasattr(select, "epoll"):  # macOS, for development
            options |= {"worker_class": "gthread", "threads": settings.THREADS, "limit_request_line": 8190}
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from atatus_dash.wsgi import application  # in the worker, so that a reload imports it again

        return application

    def run(self) -> None:
        DrainingArbiter(self).run()


class DrainingArbiter(Arbiter):
    """Lets workers finish the proxy's connections before the listening socket is closed."""

    def manage_workers(self) -> None:
        """Let new workers load the application before old ones, which they replace, stop accepting connections."""
        newest = sorted(self.WORKERS.values(), key=lambda worker: worker.age)[-self.num_workers :]
        if len(newest) < len(self.WORKERS):
            end = time.monotonic() + START_SECONDS
            while not all(map(_has_started, newest)) and time.monotonic() < end:
                time.sleep(0.05)
                self.reap_workers()  # raises `HaltServer` for a worker that could not load the application
        super().manage_workers()

    def stop(self, graceful: bool = True) -> None:
        if graceful and settings.TRUSTED_PROXIES and self.WORKERS:
            self.kill_workers(signal.SIGTERM)
            time.sleep(DRAIN_SECONDS)
            for listener in self.LISTENERS:
                _refuse_connections(listener.sock)
        super().stop(graceful)

    def reexec(self) -> None:
        """Do nothing on SIGUSR2: a new release has its own interpreter, and needs a restart."""


def _has_started(worker: Any) -> bool:
    """Whether a worker has loaded the application: its first report sets its file to the time of a monotonic clock."""
    try:
        return bool(worker.tmp.last_update() <= time.monotonic())
    except (OSError, ValueError):  # its file is closed, because it has ended
        return True


#: From asm-generic/socket.h.
_SO_ATTACH_FILTER = 26
#: A classic BPF program (linux/filter.h): load byte 13 of the TCP header; if it has SYN, keep 0 bytes, else all.
_INSTRUCTIONS = ctypes.create_string_buffer(
    b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]
    )
)
_DROP_SYN = struct.pack("HP", 4, ctypes.addressof(_INSTRUCTIONS))


def _refuse_connections(listener: socket.socket) -> None:
    """Let the kernel drop every SYN: the client tries again a second later, and reaches another node or server.

    Linux only.
    """
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_SYN)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")
    Server().run()
