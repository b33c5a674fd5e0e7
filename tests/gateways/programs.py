"""The gateways: the program of each, and how it is started with its files in deploy/gateways/."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..servers import ROOT

CONFIGURATIONS = ROOT / "deploy" / "gateways"


@dataclass(frozen=True)
class Program:
    """A gateway. `shipped` maps texts of its files to replacements, which may contain `{port}` and `{directory}`."""

    name: str
    title: str
    binary: str
    arguments: tuple[str, ...]
    shipped: Mapping[str, str]
    #: Additional files that a test writes, such as the main configuration that a distribution ships.
    frame: Callable[[Path], Mapping[str, str]] = field(default=lambda directory: {})

    @property
    def path(self) -> str | None:
        beside = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        return shutil.which(self.binary, path=beside)


def _nginx_frame(directory: Path) -> Mapping[str, str]:
    """In place of /etc/nginx/nginx.conf."""
    places = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # other users can't read the test's directory
    return {
        "frame.conf": f"""
            {user}
            daemon off;
            pid {directory}/nginx.pid;
            error_log {directory}/error.log;
            events {{}}
            http {{ {places} access_log off; include {directory}/nginx.conf; }}
        """
    }


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            "nginx",
            "nginx",
            "nginx",
            ("-c", "{directory}/frame.conf", "-e", "{directory}/error.log"),
            {
                "listen 443 ssl http2;": "listen 127.0.0.1:{port} ssl http2;",
                "listen [::]:443 ssl http2;": "",
            },
            _nginx_frame,
        ),
        Program(
            "caddy",
            "Caddy",
            "caddy",
            ("run", "--config", "{directory}/Caddyfile", "--adapter", "caddyfile"),
            {
                "https://api.example.com {{": "https://api.example.com:{port} {{\n\tbind 127.0.0.1",
                "admin off": "admin off\n\tauto_https disable_redirects",  # the test doesn't own port 80
            },
        ),
        Program(
            "traefik",
            "Traefik",
            "traefik",
            ("--configFile={directory}/traefik.yml",),
            {
                'address: ":443"': 'address: "127.0.0.1:{port}"',
                "127.0.0.1:8079": "127.0.0.8:{port}",
                "/etc/traefik/": "{directory}/",
            },
        ),
        Program(
            "envoy",
            "Envoy",
            "envoy",
            ("--config-path", "{directory}/envoy.yaml", "--use-dynamic-base-id", "--log-level", "warning"),
            {"address: 0.0.0.0, port_value: 443": "address: 127.0.0.1, port_value: {port}"},
        ),
        Program(
            "haproxy",
            "HAProxy",
            "haproxy",
            ("-db", "-f", "{directory}/haproxy.cfg"),
            {
                "bind :443 ": "bind 127.0.0.1:{port} ",
                "abns@atatus-guard": "abns@atatus-guard-{port}",
                "/etc/haproxy/": "{directory}/",
            },
        ),
    )
}
