"""Passes a request under /v2 to its view, after the rules that come before the key.

Unknown paths and crashes get the API's errors here. Django would answer both in HTML.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, get_resolver
from rest_framework.response import Response

from apikeys import exposure, gate
from apikeys.gate import Question

from .. import maintenance
from .errors import failure
from .paths import is_api, is_legacy
from .permissions import QUESTION, NeedsPermission

View = Callable[..., HttpResponse]


def dispatch(request: HttpRequest) -> HttpResponse:
    """Answer a request under /v2 or a legacy path: by its view, unless `gate` refuses it before."""
    try:
        view, arguments = _resolve(request.path_info)
        question = Question(
            secure=settings.ALLOW_HTTP or request.is_secure(),
            maintenance=maintenance.current(),
            found=view is not None,
            address=request.META["REMOTE_ADDR"],
            place=None,
            service=None,
            needs=None,
        )
        if question.secure:
            request.get_host()  # raises DisallowedHost, because links use this host
        else:
            exposure.record(request.META)
        gate.decide_before_key(question).raise_if_refused()
        assert view is not None
        request.META[QUESTION] = question
        response = view(request, **arguments)
        if isinstance(response, Response):
            response.render()
        return response
    except Exception as error:
        return failure(request, error)


def question_about(method: str, target: str, address: str | None) -> Question:
    """The `Question` for an API request that isn't sent. It counts as HTTPS. `target` is as a client would send it."""
    path = unquote(target.partition("?")[0])
    view, _ = _resolve(path) if is_api(path) else (None, {})
    question = Question(
        secure=True,
        maintenance=maintenance.current(),
        found=view is not None,
        address=address,
        place=None,
        service=None,
        needs=None,
    )
    if view is None:
        return question
    asked: NeedsPermission = cast(Any, view).cls()  # set by DRF's `as_view`
    needed = question.of_key(None, asked.service, asked.needs(method.upper()))  # as Django reads it
    return needed._replace(needs_key=asked.needs_key())


def _resolve(path: str) -> tuple[View | None, dict[str, Any]]:
    """The view of a path, with or without a trailing slash, and its arguments. None for an unknown path."""
    if is_legacy(path):
        return None, {}
    if path[-1] == "/":
        path = path[:-1]
    if path == "/v2":
        return _whoami()
    try:
        match = get_resolver().resolve(path)
    except Resolver404:
        return None, {}
    return match.func, match.kwargs


@lru_cache(maxsize=1)
def _whoami() -> tuple[View, dict[str, Any]]:
    """The view of `/v2`, resolved once: programs call it to check a key, and resolving takes 12 µs."""
    match = get_resolver().resolve("/v2")
    return match.func, match.kwargs
