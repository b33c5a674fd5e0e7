"""Connections to the server, as the kernel sees them: WSGI gives a view no hold of the one that it answers."""

import os
import socket
import stat
from contextlib import suppress

from django.conf import settings

#: Where a process finds its open files: on Linux, macOS and the BSDs.
OPEN_FILES = "/dev/fd"
#: 0 where the system has no such option: it is Linux's.
TCP_USER_TIMEOUT: int = getattr(socket, "TCP_USER_TIMEOUT", 0)


def end_stalled_readers(seconds: int) -> None:
    """Have the kernel close those of the server's connections whose reader takes nothing for so long (RFC 5482).

    A thread that sends waits for its reader, and nothing in Python can wake it. Without the option a stalled
    reader holds its thread until it goes.
    """
    if not TCP_USER_TIMEOUT:
        return
    for number in map(int, os.listdir(OPEN_FILES)):
        with suppress(OSError):  # another thread may close one meanwhile
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as connection:
                    _end_if_stalled(connection, seconds)


def _end_if_stalled(connection: socket.socket, seconds: int) -> None:
    if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == settings.PORT:
        connection.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, seconds * 1000)
