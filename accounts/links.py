"""Absolute URLs of this server, for mail, terminals and programs.

They begin with `PUBLIC_URL`. Without it, only the request's `Host` is known, and `ALLOWED_HOSTS` doesn't check its
port.
"""

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.request import split_domain_port
from django.urls import reverse

from . import services


def in_mail(path: str, request: HttpRequest | None = None) -> str:
    """A URL for mail or a terminal. Empty if there is neither `PUBLIC_URL` nor a request.

    The mail's reader may not be the request's sender, so a port in its `Host` is used only if this
    server listens on it. Raises `DisallowedHost`.
    """
    if settings.PUBLIC_URL or request is None:
        return settings.PUBLIC_URL and f"{settings.PUBLIC_URL}{path}"
    host, port = split_domain_port(request.get_host())
    listened_on = f":{port}" if port and port == request.META["SERVER_PORT"] else ""
    return f"{request.scheme}://{host}{listened_on}{path}"


def on_page(path: str, request: HttpRequest) -> str:
    """A URL on a page, to paste into a program. Raises `DisallowedHost`."""
    if settings.PUBLIC_URL:
        return f"{settings.PUBLIC_URL}{path}"
    return request.build_absolute_uri(path)


def for_gateways(path: str, request: HttpRequest) -> str:
    """A URL on a page, for the configuration of a gateway. Raises `DisallowedHost`."""
    return f"{settings.GUARD_URL}{path}" if settings.GUARD_URL else request.build_absolute_uri(path)


def in_answer(path: str, request: HttpRequest) -> str:
    """A URL in an API response. A client that uses another host than `PUBLIC_URL` keeps its own host.

    Raises `DisallowedHost`.
    """
    host, _ = split_domain_port(request.get_host())
    if settings.PUBLIC_URL and host == host_of(settings.PUBLIC_URL):
        return f"{settings.PUBLIC_URL}{path}"
    return request.build_absolute_uri(path)


def of_document(path: str, request: HttpRequest | None) -> str:
    """A URL that identifies something, such as the type of an error. Only its path if no address is known.

    Unlike `in_answer`, it is the same for all clients if there is a `PUBLIC_URL`, because programs compare it.
    """
    if settings.PUBLIC_URL:
        return f"{settings.PUBLIC_URL}{path}"
    try:
        return request.build_absolute_uri(path) if request else path
    except DisallowedHost:
        return path


def host_of(origin: str) -> str:
    """The host of an origin such as `https://keys.example.com:8443`, as `ALLOWED_HOSTS` names it."""
    return split_domain_port(origin.partition("://")[2])[0]


def invitations(request: HttpRequest) -> services.Link:
    """A function from an invitation's token to the URL of its page."""
    return lambda token: in_mail(reverse("accounts:invitation", args=[token]), request)
