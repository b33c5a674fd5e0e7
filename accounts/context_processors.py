"""What every page knows: where the reader is and where they may go."""

from typing import Any

from django.http import HttpRequest

from .models import Membership
from .policy import Permission


def navigation(request: HttpRequest) -> dict[str, Any]:
    """`account`, `actor` and `may` of a page inside an account; `memberships` for the switcher."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    actor = getattr(request, "actor", None)
    return {
        "account": getattr(request, "account", None),
        "actor": actor,
        "may": {permission.name.lower(): actor.may(permission) for permission in Permission} if actor else {},
        "memberships": Membership.objects.filter(user=user).select_related("account").order_by("account__name"),
    }
