"""Filters of the API reference."""

from django import template
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def inline_markdown(text: str) -> SafeString:
    """One paragraph of a description."""
    from ..api.reference import markdown  # here, for the reason that it gives

    return markdown.inline(text)
