"""The API reference under /v2/docs: for everybody, without a key and without a session."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils.decorators import method_decorator
from django.utils.html import escape
from django.views.decorators.gzip import gzip_page
from rest_framework.request import Request

from accounts import links
from accounts.context_processors import navigation

from .. import csp
from .base import APIView
from .permissions import IsOpen
from .reference import pages
from .reference.guides import EXAMPLE_ORIGIN
from .reference.pages import Page, Site

START = "/v2/docs"

Content = Callable[..., Page]

_ORIGIN = EXAMPLE_ORIGIN.encode()


class Look(NamedTuple):
    """What the reader's cookies say."""

    theme: str
    shortcuts: bool


@method_decorator(gzip_page, name="dispatch")
class DocsView(APIView):
    """A page of the reference, which `content` describes."""

    schema = None  # so that the description leaves it out
    authentication_classes = []
    permission_classes = [IsOpen]
    permissions = {"GET": None}
    content: ClassVar[Content]

    def get(self, request: Request, **arguments: str) -> HttpResponse:
        seen = navigation(request._request)
        origin = links.on_page("/v2", request._request).removesuffix("/v2")
        look = Look(seen["theme"], seen["shortcuts"])
        if "typed" in arguments:  # it would fill the cache
            html = _drawn(type(self).content(Site(START, "", origin), **arguments), look)
        else:
            html = _html(type(self).content, tuple(arguments.items()), look).replace(_ORIGIN, escape(origin).encode())
        headers = {
            "Content-Security-Policy": csp.POLICY,
            "X-Frame-Options": settings.X_FRAME_OPTIONS,
            "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        }
        return HttpResponse(html, headers=headers)


@lru_cache(maxsize=256)
def _html(content: Content, arguments: tuple[tuple[str, str], ...], look: Look) -> bytes:
    """The page as HTML, for `EXAMPLE_ORIGIN`. Rendering takes 50 ms, and anybody can request it.

    All pages fit into the cache, each in every `Look`. A server without `PUBLIC_URL` has an origin for each port
    that clients name.
    """
    return _drawn(content(Site(START, "", EXAMPLE_ORIGIN), **dict(arguments)), look)


def _drawn(page: Page, look: Look) -> bytes:
    return render_to_string(
        page.template, {**page.context, "frame": "reference/public.html", **look._asdict()}
    ).encode()


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
