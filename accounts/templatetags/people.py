"""Words for what a browser says of itself, and for second factors."""

from typing import Any

from django import template

from .. import factors

register = template.Library()

#: The first that is found names it: most browsers claim to be others too.
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
    """A user agent as people name it, such as "Firefox on Linux"."""
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    return f"{browser or 'A browser'} on {system}" if system else browser or "Unknown device"


@register.filter
def is_readable(factor: Any) -> bool:
    """Whether there is such a factor, as allauth wraps it, and this server can read its secret."""
    return bool(factor) and factors.is_readable(factor.instance)


@register.filter
def unreadable(authenticators: dict[str, Any]) -> str:
    """The sentence about those of a person's factors that this server can't read; empty if it can read all."""
    names = [
        name
        for kind, name in factors.NAMES.items()
        if kind in authenticators and not factors.is_readable(authenticators[kind].instance)
    ]
    return factors.explain(names) if names else ""
