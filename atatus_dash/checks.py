"""Mistakes of an installation, as system checks: errors stop `serve`, the rest shows in `check --deploy`."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register

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
def mail(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Mail carries links that set passwords."""
    if settings.EMAIL_BACKEND == "accounts.console.EmailBackend":
        return [Info("EMAIL_URL=consolemail:// sends no mail: links go to the log.", id="atatus_dash.I001")]
    return []
