"""The guard's answers: statuses, headers and bodies."""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from django.core.exceptions import SuspiciousOperation

from accounts import links
from accounts.errors import DomainError, MethodNotAllowed, NotPermitted, Unavailable
from apikeys.gate import Verdict
from apikeys.lookup import KeyRecord

from .. import availability
from ..api.errors import SERVER_ERROR, bounded_message, error_content, type_of, type_of_verdict
from ..api.problems import PAGE, ProblemType
from ..api.renderers import JSONRenderer

logger = logging.getLogger(__name__)

#: The value of each of these headers if there is no key, so that a gateway still overwrites a client's header.
_NONE = "-"


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""


_HEADERS = (("Cache-Control", "private, no-store"), ("X-Content-Type-Options", "nosniff"))


def passed(key: KeyRecord | None, verdict: Verdict) -> Answer:
    """200: the request may pass."""
    return Answer(200, [*identity(key), *verdict.headers.items(), *_HEADERS, ("Content-Length", "0")])


def identity(key: KeyRecord | None) -> list[tuple[str, str]]:
    """Headers that describe the key to a service. All are always sent, so that a gateway overwrites forged ones."""
    return [
        ("X-Account", (key and key.account_slug) or _NONE),
        ("X-Api-Key-Id", key.id if key else _NONE),
        ("X-Api-Key-Name", _encoded(key.name) if key else _NONE),
        ("X-Api-Key-Permission", key.permission if key else _NONE),
    ]


@lru_cache(maxsize=4096)
def _encoded(name: str) -> str:
    return quote(name, safe="")


def refusal(
    environ: Mapping[str, Any], verdict: Verdict, errors: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Answer:
    """A refusal by a rule. The message is also in a header, as an ASCII JSON string, because nginx replaces bodies."""
    return _refusal(environ, verdict, type_of_verdict(verdict), errors)


def _refusal(
    environ: Mapping[str, Any], verdict: Verdict, problem: ProblemType, errors: Mapping[str, Sequence[str]]
) -> Answer:
    # Without the Host, which may be that of the service: some gateways send the client's.
    page = links.of_document(PAGE, None)
    media_type, body = error_content(problem, verdict.status, verdict.message, errors, meta=environ, page=page)
    return Answer(
        verdict.status,
        [
            ("Content-Type", media_type),
            ("X-Guard-Message", json.dumps(bounded_message(verdict.message))[1:-1]),
            *verdict.headers.items(),
            *_HEADERS,
            ("Vary", "Accept"),
            ("Content-Length", str(len(body))),
        ],
        body,
    )


def json_answer(status: int, content: Mapping[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    body = JSONRenderer().render(content)
    return Answer(
        status,
        [
            ("Content-Type", "application/json"),
            *headers.items(),
            *_HEADERS,
            ("Content-Length", str(len(body))),
        ],
        body,
    )


def failure(environ: Mapping[str, Any], error: Exception) -> Answer:
    """The answer for any exception. An unexpected one is logged and becomes a 503: gateways can't handle a 500."""
    if isinstance(error, SuspiciousOperation):
        error = NotPermitted("The request is malformed.")
    elif availability.is_outage(error):
        error = availability.unavailable(error)
    elif not isinstance(error, DomainError):
        logger.error("%s %s failed", environ.get("REQUEST_METHOD"), environ.get("PATH_INFO"), exc_info=error)
        error = Unavailable(SERVER_ERROR)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = "POST"
    verdict = Verdict(None, error.status, error.message, headers, None)
    return _refusal(environ, verdict, type_of(error), error.errors or {})
