"""System checks for mistakes in the settings. Errors stop `serve`; warnings are shown by `check --deploy`."""

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
def exact_limits(**kwargs: Any) -> list[CheckMessage]:
    """Several processes share their counts only through Redis."""
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
def hosts(**kwargs: Any) -> list[CheckMessage]:
    """Without PUBLIC_URL, links lead to the host that the request's Host header names."""
    if LOOPBACK.issuperset(settings.ALLOWED_HOSTS):
        return [
            Warning("ALLOWED_HOSTS lists this machine only: requests to other hosts get 400.", id="atatus_dash.W001")
        ]
    if "*" in settings.ALLOWED_HOSTS:
        return [Warning("ALLOWED_HOSTS=* lets a request choose the host of links.", id="atatus_dash.W002")]
    return []


@register(Tags.security, deploy=True)
def public_url(**kwargs: Any) -> list[CheckMessage]:
    """Links in mail lead to PUBLIC_URL, so it has to be served here, over HTTPS."""
    if not settings.PUBLIC_URL:
        return [
            Warning(
                "PUBLIC_URL is not set: links in mail lead to the host of a request, and many mails have no link.",
                hint="Set it to the address that people open, such as https://keys.example.com.",
                id="atatus_dash.W005",
            )
        ]
    problems: list[CheckMessage] = []
    host = links.host_of(settings.PUBLIC_URL)
    if not validate_host(host, settings.ALLOWED_HOSTS):
        problems.append(
            Warning(
                f"ALLOWED_HOSTS doesn't list {host}, the host of PUBLIC_URL: requests to it get 400.",
                id="atatus_dash.W006",
            )
        )
    if settings.PUBLIC_URL.startswith("http:") and not settings.ALLOW_HTTP:
        problems.append(
            Warning("PUBLIC_URL begins with http:, but the API answers 403 to plain HTTP.", id="atatus_dash.W007")
        )
    return problems


@register(Tags.security, deploy=True)
def plain_http(**kwargs: Any) -> list[CheckMessage]:
    """Over plain HTTP, others on the network can read keys."""
    if settings.ALLOW_HTTP:
        return [Warning("ALLOW_HTTP=1 lets keys and sessions be sent unencrypted.", id="atatus_dash.W003")]
    return []


@register(Tags.security, deploy=True)
def proxies(**kwargs: Any) -> list[CheckMessage]:
    """A client that counts as a trusted proxy can forge its address."""
    if any(network.prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        return [
            Warning(
                "TRUSTED_PROXIES contains every address: a client can forge its address, and HTTPS.",
                id="atatus_dash.W004",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def tls_without_a_proxy(**kwargs: Any) -> list[CheckMessage]:
    """`serve` takes plain HTTP, so the proxy that terminates TLS has to be trusted when it says https."""
    if settings.ALLOW_HTTP or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "TRUSTED_PROXIES is not set, so no proxy can tell this server that a request came over HTTPS: "
            "every page redirects to itself without end, and the API answers 403.",
            hint="Set it to the addresses of the proxy that terminates TLS, such as 127.0.0.1/32.",
            id="atatus_dash.W011",
        )
    ]


@register(Tags.security, deploy=True)
def limits_of_several_nodes(**kwargs: Any) -> list[CheckMessage]:
    """An installation on PostgreSQL probably has several nodes, or will have them."""
    if settings.REDIS_URL or not settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        return []
    return [
        Warning(
            "DATABASE_URL names PostgreSQL, and REDIS_URL is not set: each node would count by itself, "
            "so that two nodes let twice as many requests and sign-ins pass.",
            hint="Set REDIS_URL, the same on all nodes.",
            id="atatus_dash.W012",
        )
    ]


@register(Tags.security, deploy=True)
def mail(**kwargs: Any) -> list[CheckMessage]:
    """The links in mail set passwords, so they must not be in the log."""
    if settings.EMAIL_BACKEND == "accounts.console.EmailBackend":
        return [
            Warning(
                "EMAIL_URL=consolemail:// sends no mail: links that set passwords are written to the log.",
                hint="Set it to a mail server, such as smtp+tls://USER:PASSWORD@HOST:587.",
                id="atatus_dash.W013",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def second_factors(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The same as `second_factors_of_databases`, for `check --deploy` without `--database`."""
    return [] if databases else _second_factors("default")


@register(Tags.database)
def second_factors_of_databases(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """A person whose second factor can't be decrypted can't sign in."""
    return [message for alias in databases or [] for message in _second_factors(alias)]


def _second_factors(alias: str) -> list[CheckMessage]:
    """No messages without a database or before its first migration: other commands report that."""
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
            f"{unreadable} second factor{'s'[: unreadable > 1]} can't be decrypted with the keys that are set. Add the "
            "missing key to ENCRYPTION_KEYS or SECRET_KEY_FALLBACKS. `manage.py reencrypt` lists the people.",
            id="atatus_dash.W010",
        )
    ]


def _may_connect(alias: str) -> bool:
    """False for a SQLite file that doesn't exist: connecting would create it."""
    is_sqlite = settings.DATABASES[alias]["ENGINE"].endswith("sqlite3")
    return not is_sqlite or Path(connections[alias].settings_dict["NAME"]).exists()


@register(Tags.security, deploy=True)
def scheduled_jobs(**kwargs: Any) -> list[CheckMessage]:
    """Jobs that fail or that no server runs. No messages without a database or before its first migration, as above."""
    if not _may_connect("default"):
        return []
    try:
        with transaction.atomic():
            statuses = operations.scheduled_jobs()
    except DatabaseError:
        return []
    hint = "A server that is up runs the jobs. The page Operations in /admin/ shows them."
    return [
        Warning(f"The scheduled job {status.job.name} {status.problem}", hint=hint, id="atatus_dash.W014")
        for status in statuses
        if status.problem
    ]
