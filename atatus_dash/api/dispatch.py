"""From a request under /v2 to its view, if nothing that is judged before its key stands in the way.

DRF answers paths that don't exist, and Django answers crashes, in HTML: both become the API's own errors here.
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
    """Read what is known of a request under /v2 or an old path, and take it to its view unless `gate` refuses it."""
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
            request.get_host()  # raises DisallowedHost: links lead where this says
        else:
            exposure.record(request.META)
        gate.before_key(question).raise_if_refused()
        assert view is not None
        request.META[QUESTION] = question
        response = view(request, **arguments)
        if isinstance(response, Response):
            response.render()
        return response
    except Exception as error:
        return failure(request, error)


def question_about(method: str, target: str, address: str | None) -> Question:
    """What a request to the API would ask, over HTTPS, without sending it. The target is as it would be sent."""
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
    asked: NeedsPermission = cast(Any, view).cls()  # DRF's `as_view` notes the class
    needed = question.of_key(None, asked.service, asked.needs(method.upper()))  # as Django reads it
    return needed._replace(needs_key=asked.needs_key())


def _resolve(path: str) -> tuple[View | None, dict[str, Any]]:
    """The view of a path, which works with a trailing slash too. None if there is none."""
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
    """The view of `/v2`, resolved once: it is what a check of a key costs at least, and resolving takes 12 µs of it."""
    match = get_resolver().resolve("/v2")
    return match.func, match.kwargs
