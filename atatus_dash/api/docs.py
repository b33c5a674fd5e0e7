"""The API reference under /v2/docs: for everybody, without a key and without a session."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from rest_framework.request import Request

from accounts import links
from accounts.context_processors import navigation

from .. import csp
from .base import APIView
from .permissions import IsOpen
from .reference import pages
from .reference.pages import Page, Site

START = "/v2/docs"

Content = Callable[..., Page]


@method_decorator(gzip_page, name="dispatch")
class DocsView(APIView):
    """A page of the reference, which `content` describes."""

    schema = None  # type: ignore[assignment]  # so that the description leaves it out
    authentication_classes = []
    permission_classes = [IsOpen]
    permissions = {"GET": None}
    content: ClassVar[Content]

    def get(self, request: Request, **arguments: str) -> HttpResponse:
        seen = navigation(request._request)
        origin = links.on_page("/v2", request._request).removesuffix("/v2")
        # What somebody types would fill the cache.
        draw = _html.__wrapped__ if "typed" in arguments else _html
        html = draw(type(self).content, tuple(arguments.items()), origin, seen["theme"], shortcuts=seen["shortcuts"])
        headers = {
            "Content-Security-Policy": csp.POLICY,
            "X-Frame-Options": settings.X_FRAME_OPTIONS,
            "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        }
        return HttpResponse(html, headers=headers)


@lru_cache(maxsize=64)
def _html(content: Content, arguments: tuple[tuple[str, str], ...], origin: str, theme: str, *, shortcuts: bool) -> str:
    """The page as HTML. Drawing takes 50 ms, and anybody can ask for it."""
    page = content(Site(START, "", origin), **dict(arguments))
    seen = {"frame": "reference/public.html", "theme": theme, "shortcuts": shortcuts}
    return render_to_string(page.template, {**page.context, **seen})


class StartView(DocsView):
    """The start page, or with `q` what the search finds."""

    content = staticmethod(pages.start)

    def get(self, request: Request, **arguments: Any) -> HttpResponse:
        typed = request.query_params.get("q", "")
        return super().get(request, **({"typed": typed} if typed else {}))


class ErrorsView(DocsView):
    content = staticmethod(pages.errors)


class GuideView(DocsView):
    content = staticmethod(pages.guide)


class ResourceView(DocsView):
    content = staticmethod(pages.resource)
