from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from accounts import bodies
from accounts.errors import TooLarge

from .renderers import JSONRenderer


def require_not_too_large(meta: Mapping[str, Any]) -> None:
    """Raises `TooLarge`."""
    if bodies.length(meta) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise TooLarge("The body is larger than 1 MiB.")


class JSONNegotiation(BaseContentNegotiation):
    """Selects the one renderer, whatever `Accept` says, and a parser by `Content-Type`, for at most 1 MiB."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        require_not_too_large(request.META)
        for parser in parsers:
            if media_type_matches(parser.media_type, request.content_type):
                return parser
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return next(iter(renderers)), JSONRenderer.media_type
