"""The one format of all errors of the API.

It is `{"Message": "…"}`, with `"Errors"` for fields, or RFC 9457 for a client that lists `application/problem+json`.
Each refusal has exactly one type of `problems`.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.request import Request

from accounts import links
from accounts.context import REQUEST_ID
from accounts.errors import (
    AlreadyExists,
    Conflict,
    DomainError,
    Invalid,
    InvalidSignature,
    InvalidState,
    LengthRequired,
    MethodNotAllowed,
    NotFound,
    NotPermitted,
    PermissionMissing,
    PreconditionFailed,
    TooLarge,
    TooManyRequests,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)
from apikeys import gate, tokens
from apikeys.gate import CHALLENGE, Refused, Rule, Verdict

from .. import availability
from . import problems
from .paths import is_legacy
from .problems import ProblemType

logger = logging.getLogger(__name__)

SERVER_ERROR = "We have a problem with our server. Please try again later."
PROBLEM = "application/problem+json"
#: The most fields of one refusal, and the most sentences for each.
MAX_FIELDS = MAX_SENTENCES = 20
#: Characters of a field's name and of a sentence. Both may come from the request, and longer ones are truncated.
MAX_NAME_LENGTH, MAX_SENTENCE_LENGTH = 100, 500
#: A message may list the fields.
MAX_MESSAGE_LENGTH = 2_500


class AmbiguousKey(Invalid):
    """A request with more than one key (400)."""


_TYPE_OF_ERROR: Mapping[type[DomainError], ProblemType] = {
    DomainError: problems.INVALID_REQUEST,
    AmbiguousKey: problems.AMBIGUOUS_KEY,
    InvalidState: problems.INVALID_STATE,
    AlreadyExists: problems.ALREADY_EXISTS,
    InvalidSignature: problems.SIGNATURE_INVALID,
    NotPermitted: problems.NOT_PERMITTED,
    PermissionMissing: problems.PERMISSION_MISSING,
    NotFound: problems.NOT_FOUND,
    MethodNotAllowed: problems.METHOD_NOT_ALLOWED,
    Conflict: problems.REQUEST_RUNNING,
    LengthRequired: problems.LENGTH_REQUIRED,
    PreconditionFailed: problems.ITEM_CHANGED,
    TooLarge: problems.BODY_TOO_LARGE,
    UnsupportedMediaType: problems.UNSUPPORTED_MEDIA_TYPE,
    Unprocessable: problems.IDEMPOTENCY_KEY_REUSED,
    TooManyRequests: problems.TOO_MANY_ATTEMPTS,
    Unavailable: problems.UNAVAILABLE,
}
_TYPE_OF_RULE: Mapping[Rule, ProblemType] = {
    Rule.HTTPS: problems.HTTPS_REQUIRED,
    Rule.MAINTENANCE: problems.MAINTENANCE,
    Rule.PATH: problems.NOT_FOUND,
    Rule.KEY: problems.KEY_INVALID,
    Rule.REVOKED: problems.KEY_REVOKED,
    Rule.EXPIRED: problems.KEY_EXPIRED,
    Rule.DISABLED: problems.KEY_DISABLED,
    Rule.CLOSED: problems.ACCOUNT_CLOSED,
    Rule.SUSPENDED: problems.ACCOUNT_SUSPENDED,
    Rule.PLACE: problems.PLACE_NOT_ALLOWED,
    Rule.NETWORK: problems.ADDRESS_NOT_ALLOWED,
    Rule.ACCESS: problems.NO_ACCESS,
    Rule.LIMIT: problems.QUOTA_EXCEEDED,
    Rule.METHOD: problems.METHOD_NOT_ALLOWED,
    Rule.PERMISSION: problems.PERMISSION_MISSING,
}
#: If the rule was about to refuse a key, but its limiter refused first or was unavailable.
_TYPE_OF_LIMITER = {429: problems.TOO_MANY_ATTEMPTS, 503: problems.UNAVAILABLE}


def type_of(error: DomainError) -> ProblemType:
    """The type of an error: that of its class, or of the nearest base class that has one."""
    if isinstance(error, Refused):
        return type_of_verdict(error.verdict)
    found = next(_TYPE_OF_ERROR[base] for base in type(error).__mro__ if base in _TYPE_OF_ERROR)
    return problems.INVALID_FIELDS if error.errors and found is problems.INVALID_REQUEST else found


def type_of_verdict(verdict: Verdict) -> ProblemType:
    """The type of a refusal by a rule."""
    assert verdict.rule is not None
    if verdict.headers.get("WWW-Authenticate") == CHALLENGE:  # no key was sent (RFC 6750, §3.1)
        return problems.KEY_REQUIRED
    found = _TYPE_OF_RULE[verdict.rule]
    return found if verdict.status in found.statuses else _TYPE_OF_LIMITER[verdict.status]


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """DRF's hook: turns an exception of a view into an answer."""
    return failure(context["request"], error)


def failure(request: HttpRequest | Request, error: Exception) -> HttpResponse:
    """The answer for any exception. An unexpected one is logged and becomes a 500."""
    match error:
        case Refused():
            return _domain_failure(request, error, error.verdict.headers)
        case DomainError():
            return _domain_failure(request, error)
        case exceptions.ValidationError():
            return _domain_failure(request, Invalid.of_fields(field_errors(error.detail)))
        case exceptions.ParseError():
            return _domain_failure(request, Invalid(str(error.detail)))
        case exceptions.UnsupportedMediaType():
            return _domain_failure(request, UnsupportedMediaType(str(error.detail)))
        case Http404():
            return _domain_failure(request, NotFound(gate.NOT_FOUND))
        case DisallowedHost():
            return _domain_failure(request, Invalid("This host is not served here."))
        case SuspiciousOperation() | UnreadablePostError():
            return _domain_failure(request, Invalid("The request is malformed."))
    if availability.is_outage(error):
        return _domain_failure(request, availability.unavailable(error))
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return refuse(request, problems.SERVER_ERROR, SERVER_ERROR)


def _domain_failure(
    request: HttpRequest | Request, error: DomainError, headers: Mapping[str, str] = MappingProxyType({})
) -> HttpResponse:
    headers = dict(headers)
    if isinstance(error, InvalidSignature):
        headers["WWW-Authenticate"] = CHALLENGE  # every 401 needs one (RFC 9110 §11.6.1)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = f'{CHALLENGE}, error="{error.challenge}"'
    if isinstance(error, (Conflict, TooManyRequests, Unavailable)):
        headers["Retry-After"] = str(error.retry_after)
    return refuse(request, type_of(error), error.message, status=error.status, errors=error.errors, headers=headers)


def field_errors(detail: Any) -> dict[str, list[str]]:
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
    """The errors within the limits above. Keys are masked first, because truncation could leave a part of one."""
    return {
        tokens.redact(field)[:MAX_NAME_LENGTH]: [
            tokens.redact(sentence)[:MAX_SENTENCE_LENGTH] for sentence in islice(sentences, MAX_SENTENCES)
        ]
        for field, sentences in islice(errors.items(), MAX_FIELDS)
    }


def refuse(
    request: HttpRequest | Request,
    problem: ProblemType,
    message: str,
    *,
    status: int | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A refusal as a Django response, by default with the usual status of its type."""
    status = status or problem.status
    media_type, body = error_content(
        problem,
        status,
        message,
        errors or {},
        meta=request.META,
        page=links.of_document(problems.PAGE, getattr(request, "_request", request)),
        lower_case_message=status == NotFound.status and is_legacy(request.path_info),
    )
    response = HttpResponse(body, status=status, content_type=media_type, headers=headers)
    response.headers["Vary"] = "Accept"
    return response


def error_content(
    problem: ProblemType,
    status: int,
    message: str,
    errors: Mapping[str, Sequence[str]],
    *,
    meta: Mapping[str, Any],
    page: str,
    lower_case_message: bool = False,
) -> tuple[str, bytes]:
    """The media type and the body of a refusal, of bounded size. Keys are masked, in names of fields too.

    `meta` is the request's, `page` the URL of `problems.PAGE`.
    `lower_case_message` repeats the message as `message`, for clients of legacy paths.
    """
    content: dict[str, Any]
    message, errors = bounded_message(message), _bounded(errors)
    if _wants_problem(meta.get("HTTP_ACCEPT", "")):
        media_type = PROBLEM
        content = {
            "type": f"{page}#{problem.name}",
            "title": problem.title,
            "status": status,
            "detail": message,
            "instance": f"urn:x-request-id:{meta.get(REQUEST_ID, '')}",
            **problem.members,
        }
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
