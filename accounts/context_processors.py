"""Template variables of every page: the current account, the navigation and the theme."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from . import cookies, times
from .decorators import LAST_ACCOUNT
from .forms import Shortcuts, Theme
from .models import Membership
from .policy import GRANTS, Permission, Role

#: The navigation entry that a page belongs to, by the start of its route. The first match counts.
SECTIONS = [
    ("accounts/<slug:slug>/settings/", "account"),
    ("accounts/<slug:slug>/projects/", "projects"),
    ("accounts/<slug:slug>/services/", "services"),
    ("accounts/<slug:slug>/reference/", "reference"),
    ("accounts/<slug:slug>/", "overview"),
    ("profile/", "profile"),
    ("accounts/", "accounts"),
    ("auth/", "profile"),
]


def navigation(request: HttpRequest) -> dict[str, Any]:
    """The variables that `base.html` needs.

    `theme` is light or dark, or empty to follow the browser; `shortcuts` says whether keyboard shortcuts are on.
    For signed-in users also: `account`, `role` and `may` (permissions) of the page's account, or of the last one
    opened; `memberships` for the account switcher; `section`, the current navigation entry; `offered`, whether the
    page's account is offered to them.
    """
    chosen = request.COOKIES.get(cookies.name(Theme.COOKIE), "")
    everybody = {
        "theme": chosen if chosen in Theme.FIXED else "",
        "shortcuts": request.COOKIES.get(cookies.name(Shortcuts.COOKIE)) != Shortcuts.OFF,
        "signup_open": settings.SIGNUP_OPEN,
        "api_docs": settings.API_DOCS,
        "time_zone_cookie": cookies.name(times.COOKIE),
    }
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return everybody
    memberships = list(Membership.objects.visible_to(user))
    here = _current(request, memberships)
    allowed = GRANTS[Role(here.role)] if here else frozenset()
    route = request.resolver_match.route if request.resolver_match else ""
    return {
        **everybody,
        "account": here.account if here else None,
        "role": here.get_role_display() if here else "",
        "may": {permission.name.lower(): permission in allowed for permission in Permission},
        "memberships": memberships,
        "offered": here is not None and hasattr(request, "account") and here.account.offered_to_id == here.pk,
        "section": next((section for start, section in SECTIONS if route.startswith(start)), ""),
    }


def _current(request: HttpRequest, memberships: list[Membership]) -> Membership | None:
    open_now = getattr(request, "account", None)
    if open_now:
        return next((one for one in memberships if one.account_id == open_now.pk), None)
    last = request.session.get(LAST_ACCOUNT)
    active = [one for one in memberships if one.account.closed_at is None and one.account.suspended_at is None]
    return next((one for one in active if one.account.slug == last), active[0] if active else None)
