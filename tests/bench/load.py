"""Sends keep-alive requests, and measures the CPU time of a server's processes."""

import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its descendants, so far."""
    total, waiting = 0.0, [pid]
    while waiting:
        process = waiting.pop()
        with open(f"/proc/{process}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/children") as children:
                waiting += [int(child) for child in children.read().split()]
    return total


def send(port: int, requests: Sequence[bytes], count: int, connections: int = 4) -> list[float]:
    """Send `count` requests in rotation over a few connections, and return how many seconds each took.

    Raises `RefusedError` if the status isn't 200.
    """

    def one_connection(number: int) -> list[float]:
        mine = islice(cycle(requests), number, None, connections)
        seconds = []
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in islice(mine, count // connections):
                started = time.perf_counter()
                connection.sendall(request)
                head = _answer(connection)
                seconds.append(time.perf_counter() - started)
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RefusedError(head.decode("latin-1"))
        return seconds

    with ThreadPoolExecutor(connections) as pool:
        return list(chain.from_iterable(pool.map(one_connection, range(connections))))


class RefusedError(Exception):
    """The status of a response was not 200."""


def _answer(connection: socket.socket) -> bytes:
    """Read one complete response, and return its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    while len(body) < int(length) if length else not body.endswith(b"0\r\n\r\n"):
        body += _receive(connection)
    return head


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data
