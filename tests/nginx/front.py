"""deploy/nginx.conf in a real nginx, on a test's ports, in front of a test's nodes."""

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ..answers import Answer
from ..servers import ROOT, free_port, wait_for

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

SELF_SIGNED = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
)
FORM: dict[str, Any] = {"Content_Type": "application/x-www-form-urlencoded"}
NODE = "server 127.0.0.1:8000 "

needs_nginx = [
    pytest.mark.xdist_group("gateways"),
    pytest.mark.skipif(NGINX is None and "REQUIRE_NGINX" not in os.environ, reason="nginx is not installed"),
]


@dataclass
class Front:
    """nginx with its two ports and its logs."""

    https_port: int
    http_port: int
    certificate: Path
    directory: Path

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        plain_http: bool = False,
        source: str = "",
        **headers: str,
    ) -> Answer:
        """The response to a request, which is sent from the address `source` if one is given."""
        options: dict[str, Any] = {"timeout": 10, "source_address": (source, 0)}
        if plain_http:
            connection = http.client.HTTPConnection("localhost", self.http_port, **options)
        else:
            context = _trusting(self.certificate)
            connection = http.client.HTTPSConnection("localhost", self.https_port, context=context, **options)
        with closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=sent)
            return Answer.read(connection.getresponse())

    def raw(self, request: bytes, *, plain_http: bool = False, method: str = "GET") -> Answer:
        """The response to raw bytes. `plain_http` uses the port of plain HTTP."""
        port = self.http_port if plain_http else self.https_port
        with socket.create_connection(("localhost", port), timeout=10) as connection:
            if not plain_http:
                connection = _trusting(self.certificate).wrap_socket(connection, server_hostname="localhost")
            with closing(connection):
                connection.sendall(request)
                response = http.client.HTTPResponse(connection, method=method)
                response.begin()
                return Answer.read(response)

    def log(self) -> str:
        return (self.directory / "atatus-dash.access.log").read_text()

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.directory.glob("*.log"))


@cache
def _trusting(certificate: Path) -> ssl.SSLContext:
    """Creating it takes as long as a handshake."""
    return ssl.create_default_context(cafile=str(certificate))


def configure(directory: Path, https_port: int, http_port: int, nodes: tuple[int, ...], options: str = "") -> Path:
    """deploy/nginx.conf unchanged except for its ports and paths, in a minimal main configuration with `options`."""
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    (node,) = (line for line in site.splitlines() if line.strip().startswith(NODE))
    for shipped, ours in {
        "listen 443 ": f"listen 127.0.0.1:{https_port} ",
        "listen 80;": f"listen 127.0.0.1:{http_port};",
        node: "\n".join(node.replace(NODE, f"server 127.0.0.1:{port} ") for port in nodes),
        "/etc/ssl/atatus-dash": str(directory),
        "/var/log/nginx": str(directory),
        "/var/www/html": str(directory),
        "/etc/nginx/atatus-dash-gateways": f"{directory}/gateways",
        "keys.example.com": "localhost",
    }.items():
        assert shipped in site
        site = site.replace(shipped, ours)
    site = re.sub(r"^ *listen \[::\].*$", "", site, flags=re.MULTILINE)
    (directory / "site.conf").write_text(site)
    places = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # other users can't read the test's directory
    frame = f"""
        {user}
        daemon off;
        pid {directory}/nginx.pid;
        error_log {directory}/nginx.error.log;
        events {{}}
        http {{ {places} {options} include {directory}/site.conf; }}
    """
    path = directory / "nginx.conf"
    path.write_text(frame)
    return path


def certify(directory: Path) -> Path:
    """A self-signed certificate for localhost, at the path in the configuration."""
    directory.chmod(0o755)
    certificate, private = directory / "fullchain.pem", directory / "privkey.pem"
    command = [*SELF_SIGNED.split(), "-keyout", str(private), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


@contextmanager
def in_front_of(directory: Path, *nodes: int, https_port: int | None = None, options: str = "") -> Iterator[Front]:
    """nginx with its logs in `directory`, in front of nodes on these ports, whether they listen or not."""
    https_port, http_port = https_port or free_port(), free_port()
    certificate = certify(directory)
    assert NGINX is not None
    nginx = subprocess.Popen(
        [NGINX, "-c", str(configure(directory, https_port, http_port, nodes, options))], stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: nginx.poll() is not None or _listens(https_port), "nginx")
        assert nginx.poll() is None, nginx.stderr and nginx.stderr.read().decode()
        yield Front(https_port, http_port, certificate, directory)
    finally:
        nginx.terminate()
        nginx.wait(timeout=10)
        assert nginx.stderr is not None
        nginx.stderr.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
