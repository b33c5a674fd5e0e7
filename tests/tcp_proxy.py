"""A proxy between a client and PostgreSQL that tests can freeze, or cut at a COMMIT."""

import socket
import threading
from contextlib import suppress
from enum import Enum, auto


class Commit(Enum):
    """What the proxy does with a COMMIT."""

    ANSWER_HELD = auto()  # the server commits, and its answer is held back
    HELD = auto()  # the server gets it when the proxy is released
    FREEZES = auto()  # the server gets it, and then the proxy freezes
    LOST = auto()  # the connection is cut before the server gets it


class TcpProxy:
    """Passes bytes between clients and PostgreSQL, and can be frozen: it then accepts bytes and sends none."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target, self.flows, self.released = target, threading.Event(), threading.Event()
        self.flows.set()
        #: What happens to the next COMMIT. The ones after it pass.
        self.next_commit: Commit | None = None
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.sockets += [client, server]
            answers = threading.Event()
            answers.set()
            for passes_on in (self._pass_requests, self._pass_answers):
                self.threads.append(threading.Thread(target=passes_on, args=(client, server, answers)))
                self.threads[-1].start()

    def _pass_requests(self, client: socket.socket, server: socket.socket, answers: threading.Event) -> None:
        with suppress(OSError):
            while part := client.recv(65536):
                self.flows.wait()
                if self.next_commit and b"COMMIT" in part:
                    fate, self.next_commit = self.next_commit, None
                    if fate is Commit.LOST:
                        for end in (client, server):
                            end.shutdown(socket.SHUT_RDWR)
                        return
                    if fate is Commit.HELD:
                        self.released.wait()
                    elif fate is Commit.ANSWER_HELD:
                        answers.clear()
                    else:
                        self.flows.clear()
                server.sendall(part)
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, client: socket.socket, server: socket.socket, answers: threading.Event) -> None:
        with suppress(OSError):
            while part := server.recv(65536):
                self.flows.wait()
                if not answers.is_set():
                    self.released.wait()
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.flows.set()
        self.released.set()
        for end in self.sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for end in self.sockets:
            end.close()
