"""A threaded server that can stop and start again on its port."""

import socket
import threading
from contextlib import suppress

from ..servers import free_port


class Listener:
    """Calls `serve` in a thread for each connection. Listens on 127.0.0.1 at `port` from the start."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections: set[socket.socket] = set()
        self.accepted = 0
        self.start()

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", self.port), backlog=256)
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def stop(self) -> None:
        """Refuse new connections and close the open ones."""
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.close_connections()

    def close_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.accepted += 1
                self.connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            self.serve(connection)
        self.connections.discard(connection)
