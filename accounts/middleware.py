"""What every page owes the person who asks for it: their session seen, their time zone, no secret in a cache."""

import time
from collections.abc import Callable

from allauth.usersessions.middleware import UserSessionsMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from .times import zone_of

SEEN = "seen"
SEEN_EVERY = 5 * 60  # seconds


class ActivityMiddleware(UserSessionsMiddleware):
    """Notes now and then when a session was last seen. allauth would on every request, at five queries each."""

    get_response: Callable[[HttpRequest], HttpResponse]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        by_itself = request.headers.get("HX-Trigger") == "guide"  # a page left open, with nobody before it
        if request.session.session_key and request.user.is_authenticated and not by_itself:
            now = int(time.time())
            if now - request.session.get(SEEN, 0) >= SEEN_EVERY:
                request.session[SEEN] = now
                response: HttpResponse = super().__call__(request)
                return response
        return self.get_response(request)


class TimeZoneMiddleware:
    """Writes times in the reader's time zone. The API, which is answered before, has UTC throughout."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(zone_of(request)):
            return self.get_response(request)


class NoStoreMiddleware:
    """Keeps allauth's pages, some of which show codes and secrets, out of every cache."""

    PAGES = "/auth/"

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith(self.PAGES):
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response
