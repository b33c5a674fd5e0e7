"""Moments as people read them: in their own time zone, which is always named."""

from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest
from django.utils import timezone

from . import cookies

#: Where `app.js` keeps the name of the browser's time zone.
COOKIE = "time_zone"

#: The parts of the world that the IANA time zone database names its zones by.
REGIONS = ["Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"]


@cache
def zones() -> dict[str, list[str]]:
    """The names of the time zones one may choose, by region."""
    by_region: dict[str, list[str]] = {"World": ["UTC"]}
    for name in sorted(available_timezones()):
        region = name.partition("/")[0]
        if region in REGIONS:
            by_region.setdefault(region, []).append(name)
    return by_region


@cache
def _known() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(request: HttpRequest) -> tzinfo:
    """The time zone that the person chose in their profile, or else their browser's, or else UTC."""
    chosen = request.user.time_zone if request.user.is_authenticated else ""
    name = chosen or request.COOKIES.get(cookies.name(COOKIE), "")
    return ZoneInfo(name) if name in _known() else UTC


def format_moment(when: datetime, clock: str = "%H:%M") -> str:
    """A moment in words, such as `24 November 2026, 13:05 CET`."""
    local = timezone.localtime(when)
    return f"{local.day} {local:%B %Y}, {local:{clock}} {zone_name(local)}"


def zone_name(local: datetime) -> str:
    """The short name of a time's zone. Zones that have none are named by their distance: `UTC+04`."""
    name = local.tzname() or ""
    return f"UTC{name}" if name.startswith(("+", "-")) else name
