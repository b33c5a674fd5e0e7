"""The gateways' configurations in `deploy/gateways/`, which the tests run, with a service's values filled in.

A value that only the reader knows, such as the path of a certificate, becomes an example. The top of the
configuration lists the examples, so that the reader knows what to replace.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from . import snippets

FOLDER = settings.BASE_DIR / "deploy" / "gateways"


class Gateway(NamedTuple):
    #: The folder in `deploy/gateways/`, and its name in URLs.
    name: str
    title: str
    #: Its files and their paths on the gateway. The first one is the main file.
    files: Mapping[str, str]
    #: The command that makes the gateway load its files.
    reload: str


class Placeholder(NamedTuple):
    """A value that the reader has to fill in: an example, and its meaning."""

    example: str
    meaning: str


class File(NamedTuple):
    name: str
    path: str
    text: str


GATEWAYS = {
    gateway.name: gateway
    for gateway in (
        Gateway("nginx", "nginx", {"nginx.conf": "/etc/nginx/conf.d/service.conf"}, "nginx -s reload"),
        Gateway("caddy", "Caddy", {"Caddyfile": "/etc/caddy/Caddyfile"}, "systemctl restart caddy"),
        Gateway(
            "traefik",
            "Traefik",
            {"traefik.yml": "/etc/traefik/traefik.yml", "dynamic.yml": "/etc/traefik/dynamic.yml"},
            "systemctl restart traefik",
        ),
        Gateway("envoy", "Envoy", {"envoy.yaml": "/etc/envoy/envoy.yaml"}, "systemctl restart envoy"),
        Gateway(
            "haproxy",
            "HAProxy",
            {"haproxy.cfg": "/etc/haproxy/haproxy.cfg", "atatus-guard.lua": "/etc/haproxy/atatus-guard.lua"},
            "systemctl reload haproxy",
        ),
    )
}

HOST = Placeholder("api.example.com", "the host name of your API")
_PLACEHOLDERS = {
    "host": HOST,
    "upstream": Placeholder("http://service.internal:3000", "where your service listens"),
    "certificate": Placeholder("/etc/ssl/api/fullchain.pem", "the certificate of your API"),
    "certificate_key": Placeholder("/etc/ssl/api/privkey.pem", "its private key"),
}
_PLACEHOLDERS_OF = {
    "haproxy": {"certificate": Placeholder("/etc/haproxy/api.pem", "the certificate of your API and its private key")},
}
#: Debian's trusted certificate authorities. They verify a guard or a service behind HTTPS.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"

#: The instructions in the files for filling them in by hand.
_BY_HAND = re.compile(r"Names in double braces .*?\(the id on the service's page, svc_…\)\.[^\n]*", re.DOTALL)


def files(gateway: Gateway, *, service: str, guard: str, upstream: str = "", host: str = "") -> list[File]:
    """The files of a gateway. `guard` is the origin at which the gateway reaches this server."""
    known = {"service": service, **({"host": host} if host else {})}
    values = {name: placeholder.example for name, placeholder in placeholders_of(gateway).items()}
    values |= {**known, **snippets.addresses("guard", guard)}
    values |= snippets.addresses("upstream", upstream or values["upstream"])
    values |= {f"{name}_ca": _AUTHORITIES for name in ("guard", "upstream") if f"{name}_tls" in values}
    left = _unfilled(gateway, host=host, upstream=upstream)
    return [
        File(name, path, _for_reader(snippets.fill(_text(gateway.name, name), values), left))
        for name, path in gateway.files.items()
    ]


def examples(gateway: Gateway, *, upstream: str = "", host: str = "") -> list[str]:
    """The examples in the files that the reader has to replace. Pages highlight them."""
    left = _unfilled(gateway, host=host, upstream=upstream)
    found = [placeholder.example for placeholder in left]
    # Some files contain only the address of the upstream.
    return [*found, *(example.partition("://")[2] for example in found if "://" in example)]


def placeholders_of(gateway: Gateway) -> dict[str, Placeholder]:
    """The placeholders that may be left to fill in, by name."""
    return {**_PLACEHOLDERS, **_PLACEHOLDERS_OF.get(gateway.name, {})}


def _unfilled(gateway: Gateway, *, host: str, upstream: str) -> list[Placeholder]:
    """The placeholders that the gateway's files contain and that have no value, in the order of the table."""
    known = {name for name, value in {"host": host, "upstream": upstream}.items() if value}
    used = "".join(_text(gateway.name, name) for name in gateway.files)
    return [
        placeholder
        for name, placeholder in placeholders_of(gateway).items()
        if name not in known and re.search(rf"^[^#\n]*{{{{{name}(_[a-z]+)?}}}}", used, re.MULTILINE)
    ]


def _for_reader(text: str, left: list[Placeholder]) -> str:
    width = max(len(placeholder.example) for placeholder in left)
    lines = [f"#   {placeholder.example:{width}}  {placeholder.meaning}" for placeholder in left]
    return _BY_HAND.sub(lambda _: "\n".join(["Replace these before you use it:", *lines]), text)


@cache
def _text(gateway: str, name: str) -> str:
    return Path(FOLDER, gateway, name).read_text()
