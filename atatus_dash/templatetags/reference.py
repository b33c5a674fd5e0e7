"""Filters of the API reference."""

from django import template
from django.utils.safestring import SafeString

from ..api.reference import guides

register = template.Library()


@register.filter
def inline_markdown(text: str) -> SafeString:
    """One paragraph of a description."""
    return guides.inline(text)
