"""From a request under /v2 to its view, past the gates that come before its key.

DRF answers paths that don't exist, and Django answers crashes, in HTML: both become the API's own errors here.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import get_resolver
from rest_framework.response import Response

from accounts.errors import NotPermitted, Unavailable
from apikeys import exposure

from .. import maintenance
from .errors import failure
from .paths import is_old


def dispatch(request: HttpRequest) -> HttpResponse:
    """Take a request under /v2 or an old path through the gates that come before its key, then to its view."""
    try:
        if not settings.ALLOW_HTTP and not request.is_secure():
            exposure.note(request.META)
            raise NotPermitted("HTTPS is required.")
        request.get_host()  # raises DisallowedHost: links lead where this says
        state = maintenance.current()
        if state.on:
            raise Unavailable(state.message, retry_after=state.retry_after)
        view, arguments = _resolve(request.path_info)
        response = view(request, **arguments)
        if isinstance(response, Response):
            response.render()
        return response
    except Exception as error:
        return failure(request, error)


def _resolve(path: str) -> tuple[Callable[..., HttpResponse], dict[str, Any]]:
    """The view of a path, which works with a trailing slash too. Raises `Http404`."""
    if is_old(path):
        raise Http404
    if path[-1] == "/":
        path = path[:-1]
    if path == "/v2":
        return _whoami()
    match = get_resolver().resolve(path)
    return match.func, match.kwargs


@lru_cache(maxsize=1)
def _whoami() -> tuple[Callable[..., HttpResponse], dict[str, Any]]:
    """The view of `/v2`, resolved once: it is what a check of a key costs at least, and resolving takes 12 µs of it."""
    match = get_resolver().resolve("/v2")
    return match.func, match.kwargs
