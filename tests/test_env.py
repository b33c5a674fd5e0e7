"""Environment variables: the valid forms of each, and one sentence for a malformed value."""

import importlib
import re
import sys
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from apikeys.rates import Rate
from atatus_dash import env
from atatus_dash.variables import DEFAULTS

from .servers import Installation

BASE = Path("/srv/base")


def _database(name: str) -> dict[str, Any]:
    return env.database(name, BASE)


def _email(name: str) -> dict[str, Any]:
    return env.email(name, BASE)


def _keys(name: str) -> list[str]:
    return env.secrets(name, shortest=32)


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda value: monkeypatch.setenv("NAME", value)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (env.flag, "2"),
        (env.flag, "yes"),
        (env.flag, "true"),
        (env.flag, "OFF"),
        (env.flag, "maybe"),
        (env.whole_number, "0"),
        (env.whole_number, "-1"),
        (env.whole_number, "1.5"),
        (env.whole_number, "١"),
        (lambda name: env.whole_number(name, maximum=65535), "65536"),
        (lambda name: env.choice(name, ("refuse", "allow")), "Allow"),
        (env.rate, "600/min"),
        (env.rate, "0/minute"),
        (env.hosts, "https://keys.example.com"),
        (env.hosts, "keys.example.com:443"),
        (env.cidrs, "10.0.0.1/8"),
        (env.cidrs, "10.0.0.0/8;::1"),
        (env.address, "everywhere"),
        (env.sender, "Keys"),
        (env.origin, "keys.example.com"),
        (env.origin, "ftp://keys.example.com"),
        (env.origin, "https://"),
        (env.origin, "https://keys.example.com/console"),
        (env.origin, "https://keys.example.com//"),
        (env.origin, "https://keys.example.com?"),
        (env.origin, "https://keys.example.com#"),
        (env.origin, "https://keys.example.com/?a=b"),
        (env.origin, "https://keys.example.com:port"),
        (env.origin, "https://keys.example.com:"),
        (env.origin, "https://keys.example.com:0"),
        (env.origin, "https://keys.example.com:65536"),
        (env.origin, "https://keys.example.com:٨"),
        (env.origin, "https://keys..example.com"),
        (env.origin, "https://keys_.example.com"),
        (env.origin, "https://-keys.example.com"),
        (env.origin, "https://schlüssel.example.com"),
        (env.origin, "https://*.example.com"),
        (env.origin, "https://keys.example.com, https://keys.example.org"),
        (env.origin, "https://keys\n.example.com"),
        (env.origin, "https://[::1"),
        (env.origin, "https://[keys]"),
        (env.origin, "https://1.2.3.4.5"),
        (env.redis, "localhost:6379"),
        (env.redis, "http://localhost"),
        (env.redis, "redis://localhost:port"),
        (env.redis, "redis://localhost/first"),
        (_keys, "too-short"),
        (_keys, f"{'k' * 32},too-short"),
        (_keys, f"{'k' * 32}\x01"),
        (_keys, "'"),
        (env.secrets, ","),
        (env.secrets, "\udcff" * 40),
        (_database, "db.sqlite3"),
        (_database, "sqlite://db.sqlite3"),
        (_database, "sqlite:///"),
        (_database, "sqlite:///db.sqlite3?colour=red"),
        (_database, "mysql://root@localhost/keys"),
        (_database, "postgres://localhost"),
        (_database, "postgres://localhost:port/keys"),
        (_database, "postgres://localhost/keys?colour=red"),
        (_database, "postgres://[::1/keys"),
        (_email, "mail.example.com"),
        (_email, "ftp://mail.example.com"),
        (_email, "smtp://mail.example.com:port"),
        (_email, "smtp://mail.example.com?colour=red"),
        (_email, "filemail://"),
    ],
)
def test_a_malformed_value_stops_with_a_sentence_that_names_it(
    variable: Callable[[str], None], read: Callable[[str], object], value: str
) -> None:
    variable(value)
    with pytest.raises(SystemExit) as stop:
        read("NAME")
    sentence = str(stop.value)
    assert sentence.startswith("NAME: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (_keys, "hunter2"),
        (env.secrets, "hunter2 \x01"),
        (_database, "postgres://keys:hunter2@localhost:port/keys"),
        (_database, "mysql://keys:hunter2@localhost/keys"),
        (_email, "ftp://keys:hunter2@localhost"),
        (env.redis, "redis://:hunter2@localhost/first"),
        (env.origin, "https://keys:hunter2@keys.example.com"),
    ],
)
def test_no_sentence_repeats_a_password(
    variable: Callable[[str], None], read: Callable[[str], object], value: str
) -> None:
    variable(value)
    with pytest.raises(SystemExit) as stop:
        read("NAME")
    assert "hunter2" not in str(stop.value)


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (env.flag, "1", True),
        (env.flag, " 0 ", False),
        (env.flag, " ", False),
        (env.whole_number, " 8 ", 8),
        (env.rate, "5/second", Rate(5, 1)),
        (
            env.hosts,
            "keys.example.com, .example.org *",
            ["keys.example.com", ".example.org", "*"],
        ),
        (env.cidrs, "10.0.0.0/8, ::1", (IPv4Network("10.0.0.0/8"), IPv6Network("::1/128"))),
        (env.cidrs, "::ffff:10.0.0.0/104", (IPv4Network("10.0.0.0/8"),)),
        (env.address, "::", "::"),
        (env.address, "localhost", "127.0.0.1"),
        (env.sender, "Keys <keys@example.com>", "Keys <keys@example.com>"),
        (env.origin, "", ""),
        (env.origin, "https://keys.example.com", "https://keys.example.com"),
        (env.origin, "HTTPS://Keys.Example.com/", "https://keys.example.com"),
        (env.origin, "https://keys.example.com:443", "https://keys.example.com"),
        (env.origin, "https://keys.example.com:08443", "https://keys.example.com:8443"),
        (env.origin, "http://localhost:80", "http://localhost"),
        (env.origin, "http://keys:8000/", "http://keys:8000"),
        (env.origin, "http://192.0.2.7:443", "http://192.0.2.7:443"),
        (env.origin, "https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        (env.origin, "https://xn--schlssel-95a.example.com", "https://xn--schlssel-95a.example.com"),
        (env.redis, "redis://:p%40ss@localhost:6379/1", "redis://:p%40ss@localhost:6379/1"),
        (env.redis, "rediss://cache.example.com", "rediss://cache.example.com"),
        (env.redis, "unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        (env.redis, "", ""),
        (env.secrets, "", []),
        (env.secrets, "one, two\tthree", ["one", "two", "three"]),
        (_keys, f"{'a' * 32} {'b' * 43}=", ["a" * 32, "b" * 43 + "="]),
    ],
)
def test_a_value_is_read(
    variable: Callable[[str], None], read: Callable[[str], object], value: str, expected: object
) -> None:
    variable(value)
    assert read("NAME") == expected


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///db.sqlite3", "/srv/base/db.sqlite3"),
        ("sqlite:////var/lib/keys/db.sqlite3", "/var/lib/keys/db.sqlite3"),
        ("sqlite:////var/lib/our%20keys/db.sqlite3", "/var/lib/our keys/db.sqlite3"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite://:memory:", ":memory:"),
        ("sqlite:///db.sqlite3?timeout=20", "/srv/base/db.sqlite3"),
    ],
)
def test_sqlite_is_named_by_a_path(variable: Callable[[str], None], url: str, name: str) -> None:
    variable(url)
    assert _database("NAME")["NAME"] == name


def test_a_database_url_has_everything_that_a_connection_needs(variable: Callable[[str], None]) -> None:
    variable("postgres://us%40er:p%40%3A%2F%23+w@db.example.com:5433/keys?sslmode=require&connect_timeout=3")
    config = _database("NAME")
    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert (config["USER"], config["PASSWORD"]) == ("us@er", "p@:/#+w")
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example.com", 5433, "keys")
    assert config["OPTIONS"] == {"sslmode": "require", "connect_timeout": 3}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("sslmode=require&colour=red", "colour"),
        ("sslmod=require", "sslmod"),
        ("pool=true", "pool"),
        ("sslmode=maybe", "sslmode"),
        ("target_session_attrs=best", "target_session_attrs"),
        ("connect_timeout=soon", "connect_timeout"),
        ("keepalives_idle=-1", "keepalives_idle"),
    ],
)
def test_a_parameter_that_postgresql_does_not_take_is_named_without_its_value(
    variable: Callable[[str], None], query: str, parameter: str
) -> None:
    variable(f"postgres://keys:hunter2@localhost/keys?{query}")
    with pytest.raises(SystemExit) as stop:
        _database("NAME")
    sentence = str(stop.value)
    assert sentence.startswith(f"NAME: '{parameter}' ")
    assert "hunter2" not in sentence
    assert query.rpartition("=")[2] not in sentence


def test_postgresql_is_reached_through_a_socket_too(variable: Callable[[str], None]) -> None:
    variable("postgres://%2Fvar%2Frun%2Fpostgresql/keys")
    assert (_database("NAME")["HOST"], _database("NAME")["NAME"]) == ("/var/run/postgresql", "keys")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", {"host": "mail.example.com", "port": 25, "tls": False, "ssl": False}),
        ("smtp+tls://u%40x:p%2Fw@mail.example.com:587", {"user": "u@x", "password": "p/w", "port": 587, "tls": True}),
        ("smtp+tls://mail.example.com", {"port": 587, "tls": True, "ssl": False}),
        ("smtp+ssl://mail.example.com", {"port": 465, "tls": False, "ssl": True}),
        ("smtps://mail.example.com:465", {"port": 465, "tls": False, "ssl": True}),
        ("smtp://mail.example.com?EMAIL_USE_TLS=True", {"tls": True}),
        ("consolemail://", {"backend": "accounts.console.EmailBackend"}),
        ("memorymail://", {"backend": "django.core.mail.backends.locmem.EmailBackend"}),
        ("dummymail://", {"backend": "django.core.mail.backends.dummy.EmailBackend"}),
        ("filemail:////var/mail/keys", {"directory": "/var/mail/keys"}),
        ("filemail:///mail", {"directory": "/srv/base/mail"}),
    ],
)
def test_mail_is_sent_to_the_server_of_its_url(
    variable: Callable[[str], None], url: str, expected: dict[str, object]
) -> None:
    variable(url)
    assert _email("NAME").items() >= expected.items()


def test_a_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    monkeypatch.setenv("NAME", "from the variable")
    monkeypatch.setenv("NAME_FILE", str(tmp_path / "secret"))
    assert env.secret("NAME") == "from the file"


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (_database, "postgres://localhost/keys"),
        (env.redis, "redis://localhost"),
        (env.secrets, "one\ntwo"),
        (_email, "memorymail://"),
        (env.password, " kept as it is "),
    ],
)
def test_every_setting_with_a_password_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[str], object], content: str
) -> None:
    monkeypatch.setenv("DIRECT", content)
    (tmp_path / "content").write_text(content + "\n")
    monkeypatch.setenv("NAME_FILE", str(tmp_path / "content"))
    assert read("NAME") == read("DIRECT")


def test_a_missing_file_stops_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME_FILE", "/nowhere/at/all")
    with pytest.raises(SystemExit, match=r"^NAME_FILE: the file can't be read \(No such file or directory\)\.$"):
        env.secret("NAME")


def test_a_file_that_is_not_text_stops_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("NAME_FILE", str(tmp_path / "secret"))
    with pytest.raises(SystemExit, match=r"^NAME_FILE: the file is not UTF-8 text\.$"):
        env.secret("NAME")


def test_a_file_without_secrets_stops_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    monkeypatch.setenv("NAME_FILE", str(tmp_path / "keys"))
    with pytest.raises(SystemExit, match=r"^NAME: a list of secrets of at least 32 characters each"):
        _keys("NAME")


def test_a_secret_that_is_not_set_stops_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAME", raising=False)
    with pytest.raises(SystemExit, match=r"^NAME: a value is needed"):
        env.secret("NAME")


#: A malformed value of each variable, except those that take any text.
MALFORMED = {
    "SECRET_KEY": "",
    "SECRET_KEY_FALLBACKS": ",",
    "ENCRYPTION_KEYS": "short",
    "DEBUG": "perhaps",
    "ALLOWED_HOSTS": "https://keys.example.com",
    "DATABASE_URL": "oracle://localhost/keys",
    "REDIS_URL": "memcached://localhost",
    "ALLOW_HTTP": "perhaps",
    "PUBLIC_URL": "keys.example.com",
    "GUARD_URL": "10.0.0.5:8000",
    "TRUSTED_PROXIES": "10.0.0.0/33",
    "EMAIL_URL": "pigeon://loft",
    "DEFAULT_FROM_EMAIL": "nobody",
    "SIGNUP_OPEN": "yes",
    "API_DOCS": "perhaps",
    "SUDO_MINUTES": "half",
    "SESSION_DAYS": "0",
    "LIMITS_WITHOUT_REDIS": "perhaps",
    "API_RATE_LIMIT": "fast",
    "FAILED_AUTH_LIMIT": "fast",
    "GITHUB_SECRET_SCANNING_KEYS": "{}",
    "WEB_CONCURRENCY": "many",
    "THREADS": "100000",
    "USAGE_FLUSH_SECONDS": "999999",
    "PORT": "70000",
    "BIND": "everywhere",
    "DATABASE_CONNECT_TIMEOUT": "0",
    "DATABASE_STATEMENT_TIMEOUT": "10s",
    "DATABASE_LOCK_TIMEOUT": "-1",
    "DATABASE_IDLE_TIMEOUT": "soon",
    "DATABASE_NETWORK_TIMEOUT": "1.5",
    "DATABASE_KEEPALIVE_SECONDS": "never",
}


def test_every_variable_has_a_malformed_value_here() -> None:
    of_text = {"ACCOUNT_OWNER_PASSWORD"}
    assert set(MALFORMED) == set(DEFAULTS) - of_text, "Add a value to MALFORMED, or the name to of_text"


@pytest.mark.parametrize("name", MALFORMED)
def test_the_settings_stop_at_a_malformed_value_of_each_variable(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in Installation(tmp_path).environ(**{name: MALFORMED[name]}).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delitem(sys.modules, "atatus_dash.settings")
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("atatus_dash.settings")
    assert re.fullmatch(rf"{name}: .+", str(stopped.value.code))  # Python prints it and exits with 1


@pytest.mark.parametrize("command", ["serve", "migrate", "check", "create_account"])
def test_a_malformed_value_stops_every_command(command: str, tmp_path: Path) -> None:
    stopped = Installation(tmp_path).manage(command, THREADS="many")
    assert stopped.returncode == 1
    assert stopped.stderr == "THREADS: a whole number from 1 to 256 is needed, not 'many'.\n"
    assert stopped.stdout == ""
