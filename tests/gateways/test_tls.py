"""A guard and a service behind HTTPS, as a service's page configures it if `GUARD_URL` is the public address."""

import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from apikeys.guard import snippets

from ..nginx.front import SELF_SIGNED
from .conftest import Guard, require, running
from .listener import Listener
from .programs import PROGRAMS
from .relay import pass_on


class Terminator(Listener):
    """Terminates TLS, and forwards to a port of this machine."""

    def __init__(self, port: int, certificate: Path, private_key: Path) -> None:
        self.behind = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, private_key)
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        try:
            secure = self.context.wrap_socket(connection, server_side=True)
        except OSError:  # a client that didn't trust the certificate, or used plain HTTP
            return
        self.connections.add(secure)
        with secure, socket.create_connection(("127.0.0.1", self.behind)) as behind:
            threading.Thread(target=pass_on, args=(behind, secure), daemon=True).start()
            while part := secure.recv(65536):
                behind.sendall(part)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_gateway_asks_a_guard_and_serves_a_service_behind_https(name: str, guard: Guard, tmp_path: Path) -> None:
    require(name)
    certificate, private_key = tmp_path / "localhost.pem", tmp_path / "localhost.key"
    command = [*SELF_SIGNED.split(), "-keyout", str(private_key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with ExitStack() as stack:
        terminator = Terminator(guard.relay.port, certificate, private_key)
        stack.callback(terminator.stop)
        service = Terminator(guard.upstream.port, certificate, private_key)
        stack.callback(service.stop)
        values = {
            **snippets.addresses("upstream", f"https://localhost:{service.port}"),
            # HAProxy uses the first address of a name, which may be ::1 here.
            "guard_address": f"127.0.0.1:{terminator.port}",
            "upstream_address": f"127.0.0.1:{service.port}",
            "guard_ca": str(certificate),
            "upstream_ca": str(certificate),
        }
        gateway = stack.enter_context(
            running(PROGRAMS[name], guard, guard_url=f"https://localhost:{terminator.port}", **values)
        )
        assert gateway.request("GET", "/reports/today").status == 401
        assert gateway.received() is None
        assert gateway.request("GET", "/reports/today", key="read").status == 200, gateway.log()
        assert gateway.received() is not None
