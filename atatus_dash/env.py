"""Strict readers of the environment.

A malformed value stops every command and the server: one sentence on stderr that names the variable,
exit status 1, no traceback. `NAME_FILE` names a file that holds the value of NAME, for secrets.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

from apikeys import networks, rates

T = TypeVar("T")

_env = environ.FileAwareEnv()


def _stop(name: str, problem: str) -> NoReturn:
    raise SystemExit(f"{name}: {problem}")


def _read(name: str, default: str, parse: Callable[[str], T], wanted: str) -> T:
    value = text(name, default)
    try:
        return parse(value)
    except (ValueError, KeyError, ImproperlyConfigured):
        _stop(name, f"{wanted} is needed, not {value!r}.")


def text(name: str, default: str = "") -> str:
    """The value without surrounding white space; an empty one counts as not set."""
    try:
        return str(_env(name, default="")).strip() or default
    except OSError as error:
        _stop(f"{name}_FILE", f"the file can't be read ({error.strerror}).")
    except UnicodeDecodeError:
        _stop(f"{name}_FILE", "the file is not UTF-8 text.")


def secret(name: str, default: str | None = None) -> str:
    """A value that has to be there."""
    value = text(name, default or "")
    if not value:
        _stop(name, "a value is needed; set it, or set " + name + "_FILE to the path of a file that holds it.")
    return value


def flag(name: str, default: bool = False) -> bool:
    values = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return _read(name, "1" if default else "0", lambda value: values[value.lower()], "0 or 1")


def whole_number(name: str, default: int, *, minimum: int = 1) -> int:
    def parse(value: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) is None or int(value) < minimum:
            raise ValueError
        return int(value)

    return _read(name, str(default), parse, f"a whole number, {minimum} or more,")


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    def parse(value: str) -> str:
        return choices[choices.index(value)]

    return _read(name, default, parse, " or ".join(choices))


def words(name: str, default: str = "") -> list[str]:
    return [word for word in re.split(r"[\s,]+", text(name, default)) if word]


def cidrs(name: str) -> tuple[networks.Network, ...]:
    def parse(value: str) -> tuple[networks.Network, ...]:
        return tuple(ip_network(word) for word in re.split(r"[\s,]+", value) if word)

    return _read(name, "", parse, "a list of networks such as 10.0.0.0/8,::1/128")


def rate(name: str, default: str) -> rates.Rate:
    return _read(name, default, rates.parse, "a rate such as 600/minute")


def database(name: str, default: str, base: Path) -> dict[str, Any]:
    """Django's settings for a `sqlite:///PATH` (relative to `base`) or `postgres://…` URL."""

    def parse(value: str) -> dict[str, Any]:
        config = dict(_env.db_url_config(value))
        if config["ENGINE"] == "django.db.backends.sqlite3":
            if config["NAME"] != ":memory:":
                config["NAME"] = str(base / config["NAME"])
        elif config["ENGINE"] != "django.db.backends.postgresql" or not config["NAME"]:
            raise ValueError
        return config

    # The value may hold a password, so the sentence doesn't repeat it.
    try:
        return parse(text(name, default))
    except (ValueError, KeyError, TypeError, ImproperlyConfigured):
        _stop(name, "sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME is needed.")


def redis(name: str) -> str:
    value = text(name)
    if value and re.match(r"(redis|rediss|unix)://.", value) is None:
        _stop(name, "redis://HOST:PORT/NUMBER is needed.")
    return value


def email(name: str, default: str) -> dict[str, Any]:
    """Django's EMAIL_ settings for a URL in django-environ's forms."""
    try:
        return dict(_env.email_url_config(text(name, default)))
    except (ValueError, ImproperlyConfigured):
        _stop(name, "a URL such as smtp+tls://USER:PASSWORD@HOST:587 or consolemail:// is needed.")
