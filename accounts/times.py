"""Times for people: in their own time zone, which is always named."""

from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest
from django.utils import timezone

from . import cookies

#: The cookie in which `app.js` stores the name of the browser's time zone.
COOKIE = "time_zone"

#: The regions in the zone names of the IANA time zone database.
REGIONS = ["Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"]


@cache
def zones() -> dict[str, list[str]]:
    """The names of the time zones that users can choose, by region."""
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
    """The time zone in the user's profile, or else their browser's, or else UTC."""
    chosen = request.user.time_zone if request.user.is_authenticated else ""
    name = chosen or request.COOKIES.get(cookies.name(COOKIE), "")
    return ZoneInfo(name) if name in _known() else UTC


def format_moment(when: datetime, clock: str = "%H:%M") -> str:
    """Date and time, such as `24 November 2026, 13:05 CET`."""
    local = timezone.localtime(when)
    return f"{local.day} {local:%B %Y}, {local:{clock}} {zone_name(local)}"


def zone_name(local: datetime) -> str:
    """The short name of a time's zone. Zones without one are named by their offset: `UTC+04`."""
    name = local.tzname() or ""
    return f"UTC{name}" if name.startswith(("+", "-")) else name
