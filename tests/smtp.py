"""A mail server for tests, which accepts mail, refuses it or stops answering."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from .servers import free_port


class _Session(socketserver.StreamRequestHandler):
    server: "MailServer"

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        server = self.server
        server.connections += 1
        if server.is_silent:
            server.released.wait(60)
            return
        self.say("220 test")
        recipient = ""
        while line := self.rfile.readline().decode().strip():
            command = line.upper()
            if command.startswith("RCPT TO:"):
                recipient = line[8:].partition(">")[0].strip(" <")
                self.say(server.replies.get(recipient, "250 ok"))
            elif command == "DATA":
                self.say("354 go on")
                text = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    text += part
                if server.before_taking and not server.before_taking():
                    return
                reply = server.replies.get("DATA", "250 taken")
                if reply.startswith("2"):
                    message: Any = message_from_bytes(text, policy=default)
                    server.taken.append((recipient, message))
                self.say(reply)
            elif command == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


class MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Session)
        self.port = port
        #: Accepted mail, with the recipient.
        self.taken: list[tuple[str, EmailMessage]] = []
        #: The refusal to send for a recipient or, under `DATA`, for a text.
        self.replies: dict[str, str] = {}
        self.is_silent = False
        #: Called when a text has arrived. If it returns False, the connection is closed and the mail is not accepted.
        self.before_taking: Callable[[], bool] | None = None
        self.released = threading.Event()
        self.connections = 0

    @property
    def recipients(self) -> list[str]:
        return sorted(recipient for recipient, _ in self.taken)

    def body(self, number: int = -1) -> str:
        part: Any = self.taken[number][1].get_body(("plain",))
        return str(part.get_content())


@contextmanager
def mail_server(port: int | None = None, **state: Any) -> Iterator[MailServer]:
    with MailServer(port or free_port()) as server:
        for name, value in state.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
