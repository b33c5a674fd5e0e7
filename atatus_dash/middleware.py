"""What every request passes, in this order: an id, the client's real address and scheme, then the API or the pages.

Authorization requests of gateways pass none of it: `guard` answers them first.
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
from apikeys import limits, networks, usage
from apikeys.credentials import Credential

from . import availability, form_limits, guard, maintenance, probes, request_meta
from .api import sunset
from .api.dispatch import dispatch
from .api.errors import refuse
from .api.paths import is_api

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class GuardMiddleware:
    """Answers gateways where Django is served by another WSGI application than ours, such as a test's client."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(guard.PREFIX) and (answer := guard.answer(request.META)):
            response = HttpResponse(answer.body, status=answer.status)
            del response.headers["Content-Type"]  # an empty body has none
            for name, value in answer.headers:
                response.headers[name] = value
            return response
        return self.get_response(request)


class RequestIdMiddleware:
    """Names the request, for the logs and in `X-Request-ID`; a valid name that the client sent is kept."""

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
            return refuse(request, HTTPStatus.BAD_REQUEST, request_meta.MALFORMED)
        return HttpResponse(
            render_to_string("400.html", {"message": request_meta.MALFORMED}), status=HTTPStatus.BAD_REQUEST
        )


class UserAgentMiddleware:
    """Masks keys in how a client calls itself, before anybody counts, cuts, stores or mails it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_USER_AGENT" in request.META:
            request.META["HTTP_USER_AGENT"] = request_meta.user_agent(request.META)
        return self.get_response(request)


class ApiMiddleware:
    """Answers everything under /v2, so that a program pays for no session, cookie or CSRF check."""

    HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.hsts = f"max-age={settings.SECURE_HSTS_SECONDS}" if settings.SECURE_HSTS_SECONDS else ""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request.path_info):
            return self.get_response(request)
        response = dispatch(request)
        for name, value in self.HEADERS.items():
            response.headers[name] = value
        if self.hsts and request.is_secure():
            response.headers["Strict-Transport-Security"] = self.hsts
        if response.status_code != HTTPStatus.NO_CONTENT:
            response.headers["Content-Length"] = str(len(response.content))
        credential: Credential | None = getattr(request, "auth", None)  # set by DRF for a good key
        if credential is not None:
            for headers in (credential.verdict.headers, sunset.headers(credential.key)):
                for name, value in headers.items():
                    response.headers[name] = value
            usage.record(request.META, key_id=credential.key.id, place=credential.place, status=response.status_code)
        return response


class KeyInURLMiddleware:
    """Takes an API key out of the query string that a page is asked with, as if it had not been sent.

    A page has no use for one, and would repeat it: in a redirect, in `next`, in the address that a form goes to.
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
    """The query without `api_key`, and without any address that has one itself, such as in `next`."""
    sent = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    kept = [(name, value) for name, value in sent if name != "api_key" and not _leads_to_key(value)]
    return query if kept == sent else urlencode(kept, encoding="latin-1")


def _leads_to_key(address: str) -> bool:
    for _ in range(4):  # an address may be in an address
        address = unquote(address)
    return bool(re.search("[?&]api_key=", address))


class MaintenanceMiddleware:
    """While we are offline on purpose, a page that says so. Signing in, admin and the probes stay open."""

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
    """Lets a page load only what we serve: no inline script or style, no frame, no other host."""

    POLICY = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = self.POLICY
        return response


class HealthMiddleware:
    """Answers `/healthz` before anything asks who is signed in: this process is alive, whatever it depends on."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return probes.healthz(request) if request.path_info == "/healthz" else self.get_response(request)


class UserMiddleware:
    """Finds out who is signed in, once for all that follows. If the database can't tell, nothing that follows runs."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.user.is_authenticated  # noqa: B018  loads the session and the person, whom the request keeps
        except Exception as error:
            if not availability.is_outage(error):
                raise
            return availability.page(availability.unavailable(error))
        return self.get_response(request)


class FormBodyMiddleware:
    """Settles what a page's form may cost before anything reads it, and reads it.

    One that came in chunks is refused, and one that is too large. One past a small size counts against who is signed
    in, or else against its address. One that can't be read is refused here, once: what reads it later, such as the
    page of another error, would fail at it. Pages send forms in UTF-8, whatever charset a client names.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.encoding is not None:
            request.encoding = None  # type: ignore[assignment]  # as it is unless a client says otherwise
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
        limits.require_within_limit(f"forms:{who}", settings.FAILED_AUTH_LIMIT)
        if request.content_type == "application/x-www-form-urlencoded":
            form_limits.require_few_escapes(request.body)


class ErrorPagesMiddleware:
    """Draws what a service refuses as a page with its sentence, and a database or Redis out of reach as a 503."""

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
