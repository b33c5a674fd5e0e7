"""Middleware of the pages: session activity, the user's time zone, no secrets in caches."""

import time
from collections.abc import Callable

from allauth.usersessions.middleware import UserSessionsMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from .times import zone_of

SEEN = "seen"
SEEN_EVERY = 5 * 60  # seconds


class ActivityMiddleware(UserSessionsMiddleware):
    """Records every few minutes when a session was last used. allauth takes five queries for it on every request."""

    get_response: Callable[[HttpRequest], HttpResponse]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        by_itself = request.headers.get("HX-Trigger") == "guide"  # an open page that polls, without a user action
        if request.session.session_key and request.user.is_authenticated and not by_itself:
            now = int(time.time())
            if now - request.session.get(SEEN, 0) >= SEEN_EVERY:
                request.session[SEEN] = now
                response: HttpResponse = super().__call__(request)
                return response
        return self.get_response(request)


class TimeZoneMiddleware:
    """Renders times in the user's time zone. API requests are answered before it and use UTC."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(zone_of(request)):
            return self.get_response(request)


class NoStoreMiddleware:
    """Forbids caches to store allauth's pages, because some show codes and secrets."""

    PAGES = "/auth/"

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith(self.PAGES):
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response
