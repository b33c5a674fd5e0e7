"""Template filters for user agents and second factors."""

from typing import Any

from django import template

from .. import factors

register = template.Library()

#: The first match counts, because most user agents also name other browsers.
BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "Chrome/": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


@register.filter
def device(user_agent: str) -> str:
    """A readable user agent, such as "Firefox on Linux"."""
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    return f"{browser or 'A browser'} on {system}" if system else browser or "Unknown device"


@register.filter
def is_readable(factor: Any) -> bool:
    """Whether the factor, in allauth's wrapper, exists and this server can decrypt its secret."""
    return bool(factor) and factors.is_readable(factor.instance)


@register.filter
def unreadable(authenticators: dict[str, Any]) -> str:
    """The message about a user's factors that this server can't decrypt; empty if there are none."""
    names = [
        name
        for kind, name in factors.NAMES.items()
        if kind in authenticators and not factors.is_readable(authenticators[kind].instance)
    ]
    return factors.explain(names) if names else ""
