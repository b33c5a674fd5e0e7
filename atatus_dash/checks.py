"""Mistakes of an installation, as system checks: errors stop `serve`, the rest shows in `check --deploy`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.http.request import validate_host

from accounts import factors, links

from . import operations

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


@register(Tags.security)
def exact_limits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Several processes count together only through Redis."""
    if settings.WEB_CONCURRENCY > 1 and not settings.REDIS_URL:
        return [
            Error(
                f"WEB_CONCURRENCY={settings.WEB_CONCURRENCY} needs REDIS_URL: "
                "several processes can't keep exact rate limits without it.",
                id="atatus_dash.E001",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def hosts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Whoever can choose the Host header can choose where links lead."""
    if LOOPBACK.issuperset(settings.ALLOWED_HOSTS):
        return [Warning("ALLOWED_HOSTS names no host but this machine: all others get 400.", id="atatus_dash.W001")]
    if "*" in settings.ALLOWED_HOSTS:
        return [Warning("ALLOWED_HOSTS=* lets a request choose where links lead.", id="atatus_dash.W002")]
    return []


@register(Tags.security, deploy=True)
def public_url(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Where mail leads is the operator's to say, and what it names has to be served, over HTTPS."""
    if not settings.PUBLIC_URL:
        return [
            Warning(
                "PUBLIC_URL is not set: links in mail lead where a request says, and many mails have none.",
                hint="Set it to the address that people open, such as https://keys.example.com.",
                id="atatus_dash.W005",
            )
        ]
    problems: list[CheckMessage] = []
    host = links.host_of(settings.PUBLIC_URL)
    if not validate_host(host, settings.ALLOWED_HOSTS):
        problems.append(
            Warning(f"ALLOWED_HOSTS doesn't name {host}, where PUBLIC_URL leads: it gets 400.", id="atatus_dash.W006")
        )
    if settings.PUBLIC_URL.startswith("http:") and not settings.ALLOW_HTTP:
        problems.append(
            Warning("PUBLIC_URL leads to plain HTTP, where the API answers 403 only.", id="atatus_dash.W007")
        )
    return problems


@register(Tags.security, deploy=True)
def plain_http(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A key that travels in the clear is a key that others have."""
    if settings.ALLOW_HTTP:
        return [Warning("ALLOW_HTTP=1 lets keys and sessions travel in the clear.", id="atatus_dash.W003")]
    return []


@register(Tags.security, deploy=True)
def proxies(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A proxy list that holds everybody lets everybody choose their address."""
    if any(network.prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        return [
            Warning(
                "TRUSTED_PROXIES holds every address: a client can claim any address and that it came over HTTPS.",
                id="atatus_dash.W004",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def tls_without_a_proxy(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`serve` speaks plain HTTP: who ends TLS before it has to be believed when it says so."""
    if settings.ALLOW_HTTP or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "TRUSTED_PROXIES is not set, so nobody can tell this server that a request came over HTTPS: "
            "every page redirects to itself without end, and the API answers 403.",
            hint="Set it to the addresses of the proxy that ends TLS, such as 127.0.0.1/32.",
            id="atatus_dash.W011",
        )
    ]


@register(Tags.security, deploy=True)
def limits_of_several_nodes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Who runs PostgreSQL has, or will have, a second node."""
    if settings.REDIS_URL or not settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        return []
    return [
        Warning(
            "DATABASE_URL names PostgreSQL, and REDIS_URL is not set: with a second node every limit, "
            "those of sign-in included, would let twice as much pass.",
            hint="Set REDIS_URL, for all nodes the same.",
            id="atatus_dash.W012",
        )
    ]


@register(Tags.security, deploy=True)
def mail(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Mail carries links that set passwords."""
    if settings.EMAIL_BACKEND == "accounts.console.EmailBackend":
        return [
            Warning(
                "EMAIL_URL=consolemail:// sends no mail: links that set passwords go to the log.",
                hint="Set it to a mail server, such as smtp+tls://USER:PASSWORD@HOST:587.",
                id="atatus_dash.W013",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def second_factors(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """As `second_factors_of_databases`, where `check --deploy` names no database."""
    return [] if databases else _second_factors("default")


@register(Tags.database)
def second_factors_of_databases(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """A factor that can't be read keeps its person out."""
    return [message for alias in databases or [] for message in _second_factors(alias)]


def _second_factors(alias: str) -> list[CheckMessage]:
    """Nothing without a database or before its first migration: other commands tell that."""
    if not _may_connect(alias):
        return []
    try:
        with transaction.atomic(using=alias):
            stored = factors.with_secrets().using(alias).order_by("pk").iterator()
            unreadable = sum(not factors.is_readable(factor) for factor in stored)
    except DatabaseError:
        return []
    if not unreadable:
        return []
    return [
        Warning(
            f"{unreadable} second factor{'s'[: unreadable > 1]} can't be read with the keys that are set. Add the "
            "missing one to ENCRYPTION_KEYS or SECRET_KEY_FALLBACKS; `manage.py reencrypt` tells whose they are.",
            id="atatus_dash.W010",
        )
    ]


def _may_connect(alias: str) -> bool:
    """Connecting to SQLite would make the file."""
    is_sqlite = settings.DATABASES[alias]["ENGINE"].endswith("sqlite3")
    return not is_sqlite or Path(connections[alias].settings_dict["NAME"]).exists()


@register(Tags.security, deploy=True)
def scheduled_jobs(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A job that nobody runs is missed when the first mail stays away. Nothing without a database, as above."""
    if not _may_connect("default"):
        return []
    try:
        with transaction.atomic():
            statuses = operations.scheduled_jobs()
    except DatabaseError:
        return []
    hint = "A running server runs the jobs by itself. The page Operations in /admin/ shows each of them."
    return [
        Warning(f"The scheduled job {status.job.name} {status.problem}", hint=hint, id="atatus_dash.W014")
        for status in statuses
        if status.problem
    ]
