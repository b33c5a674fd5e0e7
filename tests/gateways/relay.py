"""A proxy between the gateways and the guard: it records authorization requests, and can stop or hang."""

import re
import socket
import threading
from contextlib import suppress

from .listener import Listener
from .upstream import Received

#: The header with the original target. With ext-authz the target itself contains it, after the contract's name.
TARGET_IN = {"auth-request": "X-Original-URI", "forward-auth": "X-Forwarded-Uri"}


class Relay(Listener):
    def __init__(self, guard_port: int, source: str = "127.0.0.1") -> None:
        self.guard_port = guard_port
        self.source = source
        self.requests: list[Received] = []
        self.hangs = False
        super().__init__()

    def checked_target(self) -> str | None:
        """The original target in the last authorization request; None if there was none."""
        return self.checked_targets()[-1] if self.requests else None

    def checked_targets(self) -> list[str]:
        return [self._checked(request) for request in self.requests]

    def _checked(self, request: Received) -> str:
        found = re.fullmatch(r"/v2/verify/[^/]+/(auth-request|forward-auth|ext-authz)(.*)", request.target)
        assert found, request.target
        if found[1] in TARGET_IN:
            (target,) = request.values(TARGET_IN[found[1]])
            return target
        return found[2]

    def serve(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.guard_port), source_address=(self.source, 0)) as guard:
            threading.Thread(target=pass_on, args=(guard, connection), daemon=True).start()
            waiting = b""
            while part := connection.recv(65536):
                waiting = self._record(waiting + part)
                if self.hangs:
                    continue  # reads, but never responds
                guard.sendall(part)

    def _record(self, waiting: bytes) -> bytes:
        """Record each complete head, and return the rest. Authorization requests have no body."""
        while b"\r\n\r\n" in waiting:
            head, _, waiting = waiting.partition(b"\r\n\r\n")
            line, *headers = head.decode("latin-1").split("\r\n")
            method, _, rest = line.partition(" ")
            target = rest.rpartition(" ")[0]
            pairs = [(name, value.strip()) for name, _, value in (text.partition(":") for text in headers)]
            self.requests.append(Received(method, target, pairs))
        return waiting


def pass_on(guard: socket.socket, connection: socket.socket) -> None:
    with suppress(OSError):
        while part := guard.recv(65536):
            connection.sendall(part)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
