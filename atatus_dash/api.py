"""What everything under /v2 shares: how a request is read, how an answer and a refusal look.

Every refusal, wherever it arises, passes `failure`: `{"Message": "…"}`, with `"Errors"` for fields, or
RFC 9457 for a client that lists `application/problem+json`. DRF bypasses its exception handler for paths
that don't exist and Django answers crashes in HTML, so `answer` catches both.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.urls import get_resolver
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import BasePagination
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.mediatypes import media_type_matches
from rest_framework.utils.urls import remove_query_param, replace_query_param

from accounts import bodies, keyset, links
from accounts.errors import DomainError, Invalid, NotFound, NotPermitted, TooLarge, TooManyRequests, Unavailable
from apikeys import exposure, tokens

from . import maintenance, reach

logger = logging.getLogger(__name__)

SERVER_ERROR = "We have a problem with our server. Please try again later."
PROBLEM = "application/problem+json"
#: How to authenticate (RFC 6750, §3).
CHALLENGE = 'Bearer realm="atatus"'
#: A refusal names this many fields, and says this many sentences on each.
MOST_FIELDS = MOST_SENTENCES = 20
#: Sentences may quote what was sent, and fields are named by it: what is longer is cut.
LONGEST_NAME, LONGEST_SENTENCE = 100, 500
#: A message may list the fields.
LONGEST_MESSAGE = 2_500


#: Where clients ask that know older addresses of Atatus. They read `message`.
OLD_PATHS = ("/api/", "/track/")


def is_api(path: str) -> bool:
    """Whether a program asks here, which never gets a page."""
    return (path.startswith("/v2") and (len(path) == 3 or path[3] == "/")) or is_old(path)


def is_old(path: str) -> bool:
    return f"{path}/".startswith(OLD_PATHS)


def answer(request: HttpRequest) -> HttpResponse:
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


# Reading ----------------------------------------------------------------------------------------


class JSONNegotiation(BaseContentNegotiation):
    """One renderer whatever `Accept` says; a parser by `Content-Type`, for a body of at most 1 MiB."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        if bodies.length(request.META) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge("The body is larger than 1 MiB.")
        for parser in parsers:
            if media_type_matches(parser.media_type, request.content_type):
                return parser
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return next(iter(renderers)), JSONRenderer.media_type


# Answering --------------------------------------------------------------------------------------


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """JSON in UTF-8; times in UTC, as `2026-11-24T12:00:00Z`. Nothing for an answer without a body."""
        if data is None:
            return b""
        return orjson.dumps(data, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _plain(value: Any) -> Any:
    """DRF's lists, dictionaries and strings are subclasses, which orjson leaves to us."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError


class Pagination(BasePagination):
    """`{"results": […], "next": URL|null}` and a `Link` header (RFC 8288). `limit` is 1 to 100."""

    page_size = 50
    max_page_size = 100

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        try:
            self.page = keyset.page(queryset, size=self._size(request), cursor=request.query_params.get("cursor", ""))
        except ValueError:
            raise Invalid("The cursor is not one of ours.", errors={"cursor": ["This is not a cursor."]}) from None
        self.url = remove_query_param(links.in_answer(request.get_full_path(), request._request), "api_key")
        return self.page.rows

    def get_paginated_response(self, data: Any) -> Response:
        following = replace_query_param(self.url, "cursor", self.page.next) if self.page.next else None
        headers = {"Link": f'<{following}>; rel="next"'} if following else None
        return Response({"results": data, "next": following}, headers=headers)

    def _size(self, request: Request) -> int:
        text = request.query_params.get("limit", str(self.page_size))
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= self.max_page_size):
            raise Invalid("The limit is out of range.", errors={"limit": ["Choose a whole number from 1 to 100."]})
        return int(text)


# Refusing ---------------------------------------------------------------------------------------


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """DRF's hook: what a view raised, as an answer."""
    return failure(context["request"], error)


def failure(request: HttpRequest | Request, error: Exception) -> HttpResponse:
    """Any exception as the answer that it means. What nobody foresaw is logged and is a 500."""
    match error:
        case DomainError():
            return _domain_failure(request, error)
        case exceptions.ValidationError():
            errors = _field_errors(error.detail)
            named = ", ".join(errors)
            return refuse(request, 400, f"These fields are invalid: {named}.", errors=errors)
        case exceptions.MethodNotAllowed():
            headers = {"Allow": ", ".join(getattr(error, "allowed", ()))}
            return refuse(request, 405, "This item can't be accessed with this method.", headers=headers)
        case exceptions.APIException():
            return refuse(request, error.status_code, str(error.detail))
        case Http404():
            return refuse(request, NotFound.status, "The item could not be found.")
        case DisallowedHost():
            return refuse(request, 400, "This host is not served here.")
        case SuspiciousOperation() | UnreadablePostError():
            return refuse(request, 400, "The request is malformed.")
    if reach.is_out_of_reach(error):
        return _domain_failure(request, reach.unavailable(error))
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return refuse(request, 500, SERVER_ERROR)


def _domain_failure(request: HttpRequest | Request, error: DomainError) -> HttpResponse:
    headers = {}
    if error.challenge is not None:
        headers["WWW-Authenticate"] = f'{CHALLENGE}, error="{error.challenge}"'
    elif error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, (TooManyRequests, Unavailable)):
        headers["Retry-After"] = str(error.retry_after)
    return refuse(request, error.status, error.message, errors=error.errors, headers=headers)


def _field_errors(detail: Any) -> dict[str, list[str]]:
    """DRF's nested details as one list of sentences a field."""
    details = detail if isinstance(detail, Mapping) else {"non_field_errors": detail}
    return _bounded({str(field): _sentences(value) for field, value in islice(details.items(), MOST_FIELDS)})


def _sentences(detail: Any) -> Iterator[str]:
    if isinstance(detail, Mapping):
        detail = list(detail.values())
    if isinstance(detail, (list, tuple)):
        for value in detail:
            yield from _sentences(value)
    else:
        yield str(detail)


def _bounded(errors: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """As much of the errors as a refusal says. Keys are masked before anything is cut, which might cut through one."""
    return {
        tokens.redact(field)[:LONGEST_NAME]: [
            tokens.redact(sentence)[:LONGEST_SENTENCE] for sentence in islice(sentences, MOST_SENTENCES)
        ]
        for field, sentences in islice(errors.items(), MOST_FIELDS)
    }


def refuse(
    request: HttpRequest | Request,
    status: int,
    message: str,
    *,
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A refusal in the one shape that all have, of bounded size. No key is echoed, not even as a field's name."""
    content: dict[str, Any]
    message, errors = tokens.redact(message)[:LONGEST_MESSAGE], _bounded(errors or {})
    if _wants_problem(request):
        media_type = PROBLEM
        content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": message}
        if errors:
            content["errors"] = errors
    else:
        media_type = "application/json"
        content = {"Message": message}
        if status == HTTPStatus.NOT_FOUND and is_old(request.path_info):
            content["message"] = message
        if errors:
            content["Errors"] = errors
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    response = HttpResponse(
        body.encode(errors="backslashreplace"), status=status, content_type=media_type, headers=headers
    )
    response.headers["Vary"] = "Accept"
    return response


def _wants_problem(request: HttpRequest | Request) -> bool:
    """Whether `Accept` lists `application/problem+json` by name, with a quality above zero."""
    for choice in request.META.get("HTTP_ACCEPT", "").lower().split(","):
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        if media_type == PROBLEM:
            return not any(part.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for part in parameters)
    return False
