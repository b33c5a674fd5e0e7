"""Stands between the gateways and the guard: tells what was asked, and makes the guard go away or hang."""

import re
import socket
import threading
from contextlib import suppress

from .listener import Listener
from .upstream import Received

#: Which header has the original target. With ext-authz it stands behind the contract's name in the target itself.
TARGET_IN = {"auth-request": "X-Original-URI", "forward-auth": "X-Forwarded-Uri"}


class Relay(Listener):
    def __init__(self, guard_port: int) -> None:
        self.guard_port = guard_port
        self.asked: list[Received] = []
        self.hangs = False
        super().__init__()

    def ask_at(self, guard_port: int) -> None:
        self.guard_port = guard_port
        self.cut()

    def judged_target(self) -> str | None:
        """The target that the last authorization request was about; None if there was none."""
        return self.judged_targets()[-1] if self.asked else None

    def judged_targets(self) -> list[str]:
        return [self._judged(asked) for asked in self.asked]

    def _judged(self, asked: Received) -> str:
        found = re.fullmatch(r"/v2/verify/[^/]+/(auth-request|forward-auth|ext-authz)(.*)", asked.target)
        assert found, asked.target
        if found[1] in TARGET_IN:
            (target,) = asked.values(TARGET_IN[found[1]])
            return target
        return found[2]

    def serve(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.guard_port)) as guard:
            threading.Thread(target=pass_on, args=(guard, connection), daemon=True).start()
            waiting = b""
            while part := connection.recv(65536):
                waiting = self._note(waiting + part)
                if self.hangs:
                    continue  # reads, and never answers
                guard.sendall(part)

    def _note(self, waiting: bytes) -> bytes:
        """Note each whole head, and return what follows. Authorization requests have no body."""
        while b"\r\n\r\n" in waiting:
            head, _, waiting = waiting.partition(b"\r\n\r\n")
            line, *headers = head.decode("latin-1").split("\r\n")
            method, _, rest = line.partition(" ")
            target = rest.rpartition(" ")[0]
            pairs = [(name, value.strip()) for name, _, value in (text.partition(":") for text in headers)]
            self.asked.append(Received(method, target, pairs))
        return waiting


def pass_on(guard: socket.socket, connection: socket.socket) -> None:
    with suppress(OSError):
        while part := guard.recv(65536):
            connection.sendall(part)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
