"""Addresses of this server for those who use them elsewhere: in a mail, in a terminal, in a program.

`PUBLIC_URL` says where they lead. Without it there is only the `Host` that a request was sent with, which
`ALLOWED_HOSTS` bounds but for its port.
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port
from django.urls import reverse

from . import services


def in_mail(path: str, request: HttpRequest | None = None) -> str:
    """For whoever reads a mail or a terminal. Empty where neither `PUBLIC_URL` nor a request says where it leads.

    Whoever sent the request isn't who reads the mail, so a port in its `Host` counts only if this server
    listens on it. Raises `DisallowedHost`.
    """
    if settings.PUBLIC_URL or request is None:
        return settings.PUBLIC_URL and f"{settings.PUBLIC_URL}{path}"
    host, port = split_domain_port(request.get_host())
    listened_on = f":{port}" if port and port == request.META["SERVER_PORT"] else ""
    return f"{request.scheme}://{host}{listened_on}{path}"


def on_page(path: str, request: HttpRequest) -> str:
    """For who opened a page and pastes the address into a program of theirs. Raises `DisallowedHost`."""
    if settings.PUBLIC_URL:
        return f"{settings.PUBLIC_URL}{path}"
    return request.build_absolute_uri(path)


def for_gateways(path: str, request: HttpRequest) -> str:
    """For the gateway of who opened a page. Raises `DisallowedHost`."""
    return f"{settings.GUARD_URL}{path}" if settings.GUARD_URL else request.build_absolute_uri(path)


def in_answer(path: str, request: HttpRequest) -> str:
    """For the program that asked. One that came by another name than the public one goes on by that name.

    Raises `DisallowedHost`.
    """
    host, _ = split_domain_port(request.get_host())
    if settings.PUBLIC_URL and host == host_of(settings.PUBLIC_URL):
        return f"{settings.PUBLIC_URL}{path}"
    return request.build_absolute_uri(path)


def host_of(origin: str) -> str:
    """The host of an origin such as `https://keys.example.com:8443`, as `ALLOWED_HOSTS` names it."""
    return split_domain_port(origin.partition("://")[2])[0]


def invitations(request: HttpRequest) -> services.Link:
    """Makes the address of the page that accepts an invitation."""
    return lambda token: in_mail(reverse("accounts:invitation", args=[token]), request)
