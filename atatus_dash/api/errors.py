"""The one format of all errors of the API.

It is `{"Message": "…"}`, with `"Errors"` for fields, or RFC 9457 for a client that lists `application/problem+json`.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.request import Request

from accounts.errors import DomainError, Invalid, NotFound, TooManyRequests, Unavailable
from apikeys import gate, tokens
from apikeys.gate import CHALLENGE, Refused

from .. import availability
from .paths import is_legacy

logger = logging.getLogger(__name__)

SERVER_ERROR = "We have a problem with our server. Please try again later."
PROBLEM = "application/problem+json"
#: Fields of one refusal, and sentences for each.
MAX_FIELDS = MAX_SENTENCES = 20
#: Characters of each. Both may come from the request, and longer ones are truncated.
MAX_NAME_LENGTH, MAX_SENTENCE_LENGTH = 100, 500
#: A message may list the fields.
MAX_MESSAGE_LENGTH = 2_500


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """DRF's hook: turns an exception of a view into an answer."""
    return failure(context["request"], error)


def failure(request: HttpRequest | Request, error: Exception) -> HttpResponse:
    """The answer for any exception. An unexpected one is logged and becomes a 500."""
    match error:
        case Refused():
            return refuse(request, error.status, error.message, errors=error.errors, headers=error.verdict.headers)
        case DomainError():
            return _domain_failure(request, error)
        case exceptions.ValidationError():
            return _domain_failure(request, Invalid.of_fields(_field_errors(error.detail)))
        case exceptions.APIException():
            return refuse(request, error.status_code, str(error.detail))
        case Http404():
            return refuse(request, NotFound.status, gate.NOT_FOUND)
        case DisallowedHost():
            return refuse(request, 400, "This host is not served here.")
        case SuspiciousOperation() | UnreadablePostError():
            return refuse(request, 400, "The request is malformed.")
    if availability.is_outage(error):
        return _domain_failure(request, availability.unavailable(error))
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return refuse(request, 500, SERVER_ERROR)


def _domain_failure(request: HttpRequest | Request, error: DomainError) -> HttpResponse:
    headers = {}
    if error.challenge is not None:
        headers["WWW-Authenticate"] = f'{CHALLENGE}, error="{error.challenge}"'
    if isinstance(error, (TooManyRequests, Unavailable)):
        headers["Retry-After"] = str(error.retry_after)
    return refuse(request, error.status, error.message, errors=error.errors, headers=headers)


def _field_errors(detail: Any) -> dict[str, list[str]]:
    """DRF's nested details as one list of sentences for each field."""
    details = detail if isinstance(detail, Mapping) else {"non_field_errors": detail}
    return _bounded({str(field): _sentences(value) for field, value in islice(details.items(), MAX_FIELDS)})


def _sentences(detail: Any) -> Iterator[str]:
    if isinstance(detail, Mapping):
        detail = list(detail.values())
    if isinstance(detail, (list, tuple)):
        for value in detail:
            yield from _sentences(value)
    else:
        yield str(detail)


def _bounded(errors: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The errors within the limits above. Keys are masked before truncation, which could leave a part of one."""
    return {
        tokens.redact(field)[:MAX_NAME_LENGTH]: [
            tokens.redact(sentence)[:MAX_SENTENCE_LENGTH] for sentence in islice(sentences, MAX_SENTENCES)
        ]
        for field, sentences in islice(errors.items(), MAX_FIELDS)
    }


def refuse(
    request: HttpRequest | Request,
    status: int,
    message: str,
    *,
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A refusal as a Django response."""
    media_type, body = error_content(
        status,
        message,
        errors or {},
        accept=request.META.get("HTTP_ACCEPT", ""),
        lower_case_message=status == HTTPStatus.NOT_FOUND and is_legacy(request.path_info),
    )
    response = HttpResponse(body, status=status, content_type=media_type, headers=headers)
    response.headers["Vary"] = "Accept"
    return response


def error_content(
    status: int, message: str, errors: Mapping[str, Sequence[str]], *, accept: str, lower_case_message: bool = False
) -> tuple[str, bytes]:
    """The media type and the body of a refusal, of bounded size. Keys are masked, in names of fields too.

    `lower_case_message` repeats the message as `message`, for clients of legacy paths.
    """
    content: dict[str, Any]
    message, errors = bounded_message(message), _bounded(errors)
    if _wants_problem(accept):
        media_type = PROBLEM
        content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": message}
        if errors:
            content["errors"] = errors
    else:
        media_type = "application/json"
        content = {"Message": message}
        if lower_case_message:
            content["message"] = message
        if errors:
            content["Errors"] = errors
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return media_type, body.encode(errors="backslashreplace")


def bounded_message(message: str) -> str:
    """The message, truncated, with keys masked."""
    return tokens.redact(message)[:MAX_MESSAGE_LENGTH]


def _wants_problem(accept: str) -> bool:
    """Whether `Accept` lists `application/problem+json` by name, with a quality above zero."""
    for choice in accept.lower().split(",") if accept else ():
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        if media_type == PROBLEM:
            return not any(part.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for part in parameters)
    return False
