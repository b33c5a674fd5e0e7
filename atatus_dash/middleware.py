"""Middleware of every request: an id, the client's real address and scheme, then the API or the pages.

Authorization requests of gateways don't get here: `guard` answers them first.
"""

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlencode

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.template.loader import render_to_string

from accounts import bodies
from accounts.errors import DomainError, Invalid, NotPermitted, TooLarge, TooManyRequests, Unavailable
from accounts.turns import has_waited
from apikeys import limits, networks, usage
from apikeys.credentials import Credential

from . import availability, csp, form_limits, guard, maintenance, probes, request_meta
from .api import sunset
from .api.dispatch import dispatch
from .api.errors import refuse
from .api.paths import is_api
from .api.problems import INVALID_REQUEST

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class GuardMiddleware:
    """Answers gateways when Django is called without our WSGI application, such as by its test client."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(guard.PREFIX) and (answer := guard.answer(request.META)):
            response = HttpResponse(answer.body, status=answer.status)
            del response.headers["Content-Type"]  # an empty body has no type
            for name, value in answer.headers:
                response.headers[name] = value
            return response
        return self.get_response(request)


class RequestIdMiddleware:
    """Sets the request's id, for the logs and `X-Request-ID` (`request_meta.assign_request_id`)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = request_meta.assign_request_id(request.META)
        response = self.get_response(request)
        response.headers["X-Request-ID"] = name
        return response


class TrustedProxiesMiddleware:
    """Takes the client's address, scheme and port from a trusted proxy (`request_meta.apply_forwarded_headers`).

    A malformed address is refused.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request_meta.apply_forwarded_headers(request.META)
        except ValueError:
            peer = request.META["REMOTE_ADDR"]
            logger.warning("The proxy at %s sent a malformed X-Forwarded-For: the request was refused.", peer)
            return self._refuse(request)
        return self.get_response(request)

    def _refuse(self, request: HttpRequest) -> HttpResponse:
        if is_api(request.path_info):
            return refuse(request, INVALID_REQUEST, request_meta.MALFORMED)
        return HttpResponse(
            render_to_string("400.html", {"message": request_meta.MALFORMED}), status=HTTPStatus.BAD_REQUEST
        )


class UserAgentMiddleware:
    """Masks keys in the `User-Agent`, before it is counted, truncated, stored or mailed."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_USER_AGENT" in request.META:
            request.META["HTTP_USER_AGENT"] = request_meta.user_agent(request.META)
        return self.get_response(request)


class ApiMiddleware:
    """Answers everything under /v2, without the cost of sessions, cookies and CSRF checks."""

    HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.hsts = f"max-age={settings.SECURE_HSTS_SECONDS}" if settings.SECURE_HSTS_SECONDS else ""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request.path_info):
            return self.get_response(request)
        response = dispatch(request)
        for name, value in self.HEADERS.items():
            response.headers.setdefault(name, value)
        if self.hsts and request.is_secure():
            response.headers["Strict-Transport-Security"] = self.hsts
        if response.status_code not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):  # RFC 9110, §8.6
            response.headers["Content-Length"] = str(len(response.content))
        credential: Credential | None = getattr(request, "auth", None)  # DRF sets it for an accepted key
        if credential is not None:
            for headers in (credential.verdict.headers, sunset.headers(credential.key)):
                for name, value in headers.items():
                    response.headers[name] = value
            usage.record(request.META, key_id=credential.key.id, place=credential.place, status=response.status_code)
        return response


class KeyInURLMiddleware:
    """Removes an API key from the query string of a request for a page.

    A page doesn't use the key, and would repeat it in a redirect, in `next` or in a form's action.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.META["QUERY_STRING"] = _without_key(request.META.get("QUERY_STRING", ""))
        if asked_from := request.META.get("HTTP_HX_CURRENT_URL"):
            page, _, query = asked_from.partition("?")
            request.META["HTTP_HX_CURRENT_URL"] = "?".join(filter(None, [page, _without_key(query)]))
        return self.get_response(request)


def _without_key(query: str) -> str:
    """The query without `api_key`, and without URLs that contain `api_key`, such as in `next`."""
    sent = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    kept = [(name, value) for name, value in sent if name != "api_key" and not _leads_to_key(value)]
    return query if kept == sent else urlencode(kept, encoding="latin-1")


def _leads_to_key(address: str) -> bool:
    for _ in range(4):  # a URL may contain another one, encoded again
        address = unquote(address)
    return bool(re.search("[?&]api_key=", address))


class MaintenanceMiddleware:
    """Answers pages with 503 in maintenance mode. Sign-in, admin and the health checks stay open."""

    OPEN = ("/auth/", "/admin/", "/healthz", "/readyz", "/static/")

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        state = maintenance.current()
        if state is None or request.path_info.startswith(self.OPEN):
            return self.get_response(request)
        response = render(request, "maintenance.html", {"maintenance": state}, status=503)
        response.headers["Retry-After"] = str(state.retry_after)
        return response


class ContentSecurityPolicyMiddleware:
    """Lets pages load files from this server only (`csp`)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = csp.POLICY
        return response


class HealthMiddleware:
    """Answers `/healthz` before the session is read, so that it doesn't need the database."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return probes.healthz(request) if request.path_info == "/healthz" else self.get_response(request)


class UserMiddleware:
    """Loads the session and the user. In an outage it answers 503, and the middleware after it doesn't run."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.user.is_authenticated  # noqa: B018  loads session and user; the request caches them
        except Exception as error:
            if not availability.is_outage(error):
                raise
            return availability.page(availability.unavailable(error))
        return self.get_response(request)


class FormBodyMiddleware:
    """Refuses a page's form that would be costly to read, and reads the others.

    A form in chunks or over 2 MiB is refused. One over 16 KiB counts against a limit of the user, or of the
    address if nobody is signed in. A malformed form is refused here, because code that reads it later, such as an error
    page, would fail too. Forms are read as UTF-8, whatever charset the client names.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.encoding is not None:
            request.encoding = None  # type: ignore[assignment]  # Django's default, when a client names no charset
        try:
            bodies.require_whole(request.META)
            if bodies.length(request.META) > bodies.SMALL:
                self._require_bounded(request)
            request.POST  # noqa: B018  reads it
        except DomainError as error:
            return _error_page(request, error)
        except (UnreadablePostError, MultiPartParserError, SuspiciousOperation):
            return _error_page(request, Invalid("The request is malformed."))
        return self.get_response(request)

    def _require_bounded(self, request: HttpRequest) -> None:
        if bodies.length(request.META) > form_limits.MAX_FORM_BYTES:
            raise TooLarge("The form is larger than 2 MiB.")
        person = request.user
        who = f"person {person.pk}" if person.is_authenticated else networks.source(request.META["REMOTE_ADDR"])
        if not has_waited(request.META):
            limits.require_within_limit(f"forms:{who}", settings.FAILED_AUTH_LIMIT)
        if request.content_type == "application/x-www-form-urlencoded":
            form_limits.require_few_escapes(request.body)


class ErrorPagesMiddleware:
    """Turns a `DomainError` into a page with its message, and an outage into a 503."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if availability.is_outage(exception):
            return availability.page(availability.unavailable(exception))
        if not isinstance(exception, DomainError):
            return None
        return _error_page(request, exception)


def _error_page(request: HttpRequest, error: DomainError) -> HttpResponse:
    if isinstance(error, Unavailable):
        return availability.page(error)
    template = "403.html" if isinstance(error, NotPermitted) else "400.html"
    response = render(request, template, {"message": error.message}, status=error.status)
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    return response
