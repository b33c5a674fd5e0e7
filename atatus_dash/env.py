"""Strict readers of environment variables.

A malformed value stops every command and the server: one sentence on stderr that names the variable, exit
status 1, no traceback. The sentence never repeats a value that may contain a password. For secrets and URLs,
`NAME_FILE` may name a file with the value, which takes precedence over `NAME`. Defaults are in `variables`.
"""

import os
import re
import warnings
from collections.abc import Callable
from email.utils import parseaddr
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from apikeys import networks, rates

from . import secret_scanning
from .variables import DEFAULTS

T = TypeVar("T")

_FLAGS = {"1": True, "0": False}
#: Values of `tls` and `ssl` in the query of EMAIL_URL, which django-environ leaves as text.
_MAIL_FLAGS = {"1": True, "true": True, "0": False, "false": False}
#: Our backends, in place of Django's.
_MAIL_BACKENDS = {"django.core.mail.backends.console.EmailBackend": "accounts.console.EmailBackend"}
_HOST = re.compile(r"\*|\.?[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\]", re.ASCII)

_LABEL = "[0-9a-z](?:[0-9a-z-]*[0-9a-z])?"
_ORIGIN = re.compile(rf"(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?/?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _fail(name: str, problem: str) -> NoReturn:
    raise SystemExit(f"{name}: {problem}")


def _parse(name: str, value: str, parse: Callable[[str], T], wanted: str) -> T:
    try:
        return parse(value)
    except (ValueError, KeyError, ImproperlyConfigured):
        _fail(name, f"{wanted} is needed, not {value!r}.")


def _parse_secret(name: str, value: str, parse: Callable[[str], T], wanted: str) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return parse(value)
    except (ValueError, KeyError, TypeError, ImproperlyConfigured, Warning):
        _fail(name, f"{wanted} is needed.")


def _default(name: str) -> str:
    return DEFAULTS.get(name, "")


def _content(name: str) -> str:
    """The content of the file that NAME_FILE names, without its final line end, or else the variable as it is."""
    path = os.environ.get(f"{name}_FILE", "")
    if not path:
        return os.environ.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        _fail(f"{name}_FILE", f"the file can't be read ({error.strerror}).")
    except ValueError:
        _fail(f"{name}_FILE", "the file is not UTF-8 text.")


# Plain values -----------------------------------------------------------------------------------


def text(name: str) -> str:
    """The value without surrounding white space; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or _default(name)


def flag(name: str) -> bool:
    return _parse(name, text(name) or "0", _FLAGS.__getitem__, "0 or 1")


def whole_number(name: str, *, minimum: int = 1, maximum: int = 1_000_000) -> int:
    def parse(value: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) is None or not minimum <= int(value) <= maximum:
            raise ValueError
        return int(value)

    return _parse(name, text(name), parse, f"a whole number from {minimum} to {maximum}")


def choice(name: str, choices: tuple[str, ...]) -> str:
    def parse(value: str) -> str:
        return choices[choices.index(value)]

    return _parse(name, text(name), parse, " or ".join(choices))


def rate(name: str) -> rates.Rate:
    return _parse(name, text(name), rates.parse, "a rate such as 600/minute")


def hosts(name: str) -> list[str]:
    """Host names, without scheme or port, for ALLOWED_HOSTS."""

    def parse(value: str) -> list[str]:
        words = _words(value)
        if not all(_HOST.fullmatch(word) for word in words):
            raise ValueError
        return words

    return _parse(name, text(name), parse, "a list of host names such as keys.example.com, without https://")


def cidrs(name: str) -> tuple[networks.Network, ...]:
    def parse(value: str) -> tuple[networks.Network, ...]:
        words = _words(value)
        for word in words:
            ip_network(word)  # strict: 10.0.0.1/8 is probably a mistake
        return tuple(networks.parse_network(word) for word in words)

    return _parse(name, text(name), parse, "a list of networks such as 10.0.0.0/8,::1/128")


def address(name: str) -> str:
    """An IP address to listen on."""

    def parse(value: str) -> str:
        return "127.0.0.1" if value == "localhost" else str(ip_address(value))

    return _parse(name, text(name), parse, "an IP address such as 0.0.0.0")


def sender(name: str) -> str:
    """The sender of mail: an address, with or without a name."""

    def parse(value: str) -> str:
        if re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(value)[1]) is None or not value.isprintable():
            raise ValueError
        return value

    return _parse(name, text(name), parse, "an address such as Keys <keys@example.com>")


def origin(name: str) -> str:
    """An origin as browsers write it (RFC 6454 §6.2), or an empty string."""

    def parse(value: str) -> str:
        match = _ORIGIN.fullmatch(value.lower())
        if match is None:
            raise ValueError
        scheme, host, port = match.groups(default="")
        if host.startswith("["):
            IPv6Address(host[1:-1])
        elif host.rpartition(".")[2].isdigit():
            IPv4Address(host)
        if port and not 1 <= int(port) <= 65535:
            raise ValueError
        is_default = not port or int(port) == _DEFAULT_PORTS[scheme]
        return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{int(port)}"

    value = text(name)
    wanted = "an address such as https://keys.example.com, without a path,"
    return _parse_secret(name, value, parse, wanted) if value else ""


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", value) if word]


# Secrets ----------------------------------------------------------------------------------------


def password(name: str) -> str:
    """The value unchanged, white space included, or an empty string."""
    return _content(name)


def secret(name: str, otherwise: str = "") -> str:
    """A required value."""
    value = _content(name).strip() or otherwise
    if not value:
        _fail(name, f"a value is needed; set it, or set {name}_FILE to the path of a file with the value.")
    return value


def secrets(name: str, *, shortest: int = 1) -> list[str]:
    """Values separated by white space or commas. Without the variable there are none; a file must contain one."""

    def parse(value: str) -> list[str]:
        words = _words(value)
        is_meant = bool(value.strip() or os.environ.get(f"{name}_FILE"))
        if (is_meant and not words) or not all(word.isprintable() and len(word) >= shortest for word in words):
            raise ValueError
        return words

    length = f" of at least {shortest} characters each" if shortest > 1 else ""
    return _parse_secret(name, _content(name), parse, f"a list of secrets{length}, separated by spaces or commas,")


def database(name: str, base: Path) -> dict[str, Any]:
    """Django's settings for a database, from `sqlite:///PATH` (relative to `base`) or `postgres://…`."""

    def parse(value: str) -> dict[str, Any]:
        config = dict(environ.Env.db_url_config(value))
        options = config.setdefault("OPTIONS", {})
        match config["ENGINE"]:
            case "django.db.backends.sqlite3":
                if not (urlsplit(value).path[1:] or value == "sqlite://:memory:") or options.keys() - {"timeout"}:
                    raise ValueError
                if config["NAME"] != ":memory:":
                    config["NAME"] = str(base / config["NAME"])
            case "django.db.backends.postgresql":
                config["HOST"] = unquote(config["HOST"])
                _require_connection_parameters(name, options)
                if not config["NAME"]:
                    raise ValueError
            case _:
                raise ValueError
        return config

    wanted = "sqlite:///PATH or postgres://USER:PASSWORD@HOST:PORT/NAME, reserved characters percent-encoded,"
    return _parse_secret(name, _content(name).strip() or _default(name), parse, wanted)


#: Parameters that libpq and psycopg parse as numbers only when they connect.
_NUMBERS = {
    *("connect_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
}


def _require_connection_parameters(name: str, options: dict[str, Any]) -> None:
    """Stop at a parameter that PostgreSQL's client library doesn't know, or a value that it doesn't accept."""
    from psycopg import pq

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for parameter, value in options.items():
        if parameter not in known:
            _fail(name, f"{parameter!r} is not a parameter of PostgreSQL's client library.")
        if parameter in _NUMBERS:
            is_accepted = re.fullmatch(r"[0-9]{1,9}", str(value), re.ASCII) is not None
        else:
            is_accepted = _is_accepted(parameter, str(value))
        if not is_accepted:
            _fail(name, f"{parameter!r} has a value that PostgreSQL's client library doesn't accept.")


def _is_accepted(parameter: str, value: str) -> bool:
    """Whether libpq accepts the value. It checks values before it connects, here to a directory without a server."""
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    attempt = pq.PGconn.connect_start(make_conninfo(**{"host": "/dev/null", parameter: value}).encode())
    try:
        return not attempt.error_message.startswith(b"invalid ")
    finally:
        attempt.finish()


def github_keys(name: str) -> secret_scanning.PublicKeys:
    """The public keys of GitHub's secret scanning. Without the variable there are none; a file must contain one."""
    value = _content(name).strip()
    if not value and not os.environ.get(f"{name}_FILE"):
        return {}
    wanted = "the JSON of https://api.github.com/meta/public_keys/secret_scanning"
    return _parse_secret(name, value, secret_scanning.parse_public_keys, wanted)


def redis(name: str) -> str:
    """A URL for redis-py, or an empty string."""

    def parse(value: str) -> str:
        if value:
            from redis.connection import parse_url  # here, because importing redis-py takes a tenth of a start

            parse_url(value)  # type: ignore[no-untyped-call]  # redis-py has no types for it
            if not value.startswith("unix:") and re.fullmatch(r"(/[0-9]*)?", urlsplit(value).path) is None:
                raise ValueError
        return value

    return _parse_secret(name, _content(name).strip(), parse, "redis://HOST:PORT/NUMBER")


def email(name: str, base: Path) -> dict[str, Any]:
    """Django's EMAIL_ settings from a URL in django-environ's forms. `filemail:///PATH` is relative to `base`.

    Port 465 means implicit TLS (RFC 8314 §3.3), whatever the scheme.
    """

    def parse(value: str) -> dict[str, Any]:
        config = dict(environ.Env.email_url_config(value))
        if config.get("OPTIONS"):
            raise ValueError
        tls, ssl = (_MAIL_FLAGS[str(config.get(f"EMAIL_USE_{kind}", "0")).lower()] for kind in ("TLS", "SSL"))
        ssl = ssl or config["EMAIL_PORT"] == 465
        path = config["EMAIL_FILE_PATH"]
        if urlsplit(value).scheme == "filemail" and not path:
            raise ValueError
        return {
            "backend": _MAIL_BACKENDS.get(config["EMAIL_BACKEND"], config["EMAIL_BACKEND"]),
            "host": config["EMAIL_HOST"] or "localhost",
            "port": config["EMAIL_PORT"] or (465 if ssl else 587 if tls else 25),
            "user": config["EMAIL_HOST_USER"] or "",
            "password": config["EMAIL_HOST_PASSWORD"] or "",
            "tls": tls and not ssl,
            "ssl": ssl,
            "directory": str(base / path) if path else None,
        }

    wanted = "a URL such as smtp+tls://USER:PASSWORD@HOST:587 or consolemail://, reserved characters percent-encoded,"
    return _parse_secret(name, _content(name).strip() or _default(name), parse, wanted)
