"""A worker of `manage.py serve`: the application, and how it leaves without losing a request.

A proxy keeps connections open and may send a request at the very moment at which one is closed. It can't repeat a
POST that got no answer, so none may be closed on it. On SIGTERM

1. every answer says `Connection: close`, so the proxy doesn't use that connection again; one that it doesn't use at all
   it closes by itself within `LEAVING_SECONDS` (`keepalive_timeout` of deploy/nginx.conf is shorter);
2. new connections are no longer answered, so the proxy's kernel tries again a second later, when they are refused and
   the proxy turns to another node, or accepted by this one's successor. Closing the socket instead would reset those
   which the kernel has accepted and granian hasn't, request and all;
3. SIGINT, which granian takes for the end: it finishes what it has, and the heartbeat writes what was counted.

Without a proxy there is nobody to wait for, and the worker goes straight on to the last step.
"""

import ctypes
import os
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

# Before any other thread is started, which inherits it: SIGTERM waits for `_leave`, whatever granian does with it.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from django.conf import settings  # noqa: E402

from . import wsgi  # noqa: E402  loads the apps, which the next needs
from .heartbeat import start as start_heartbeat  # noqa: E402

#: Longer than a proxy keeps a connection that it doesn't use.
LEAVING_SECONDS = 1.5
#: How long what was connected before the last step may take to be accepted, and its request to arrive.
ACCEPTING_SECONDS = 0.2
#: How often we look whether the process that started us is there.
PARENT_SECONDS = 0.5

_leaving = threading.Event()


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """The WSGI application, which closes each connection while the worker leaves."""
    if not _leaving.is_set():
        return wsgi.application(environ, start_response)

    def start_last_response(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        return start_response(status, [*headers, ("Connection", "close")], *exc_info)

    return wsgi.application(environ, start_last_response)


def _leave() -> None:
    """Wait for SIGTERM, then for the proxy."""
    signal.sigwait({signal.SIGTERM})
    if settings.TRUSTED_PROXIES:
        _leaving.set()
        time.sleep(LEAVING_SECONDS)
        _refuse_connections()
        time.sleep(ACCEPTING_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)


def _refuse_connections() -> None:
    """Let the kernel drop each SYN to a socket on which this process listens. Does nothing but on Linux."""
    with suppress(OSError):
        for number in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as found:
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_SYN)


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


def _leave_with_parent(parent: int) -> None:
    """Stop as by SIGTERM when the process that started us is gone, killed perhaps: nobody else would stop us.

    The port would stay taken, and the next server on it would share its requests with us.
    """
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=_leave, name="leave", daemon=True).start()
threading.Thread(target=_leave_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()
start_heartbeat()
