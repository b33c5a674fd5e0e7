"""May this key do this? The view says which permission each method needs; `accounts.policy` answers."""

from collections.abc import Mapping
from typing import ClassVar, cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts import policy
from accounts.policy import Actor, Permission


class NeedsPermission:
    """Names what each method of a view needs; None lets any key pass."""

    permissions: ClassVar[Mapping[str, Permission | None]] = {}


class HasKeyPermission(BasePermission):
    """Raises `NotPermitted` unless the key may. A method that a view forgot to list is a `KeyError`, not a yes."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, NeedsPermission)
        needed = view.permissions["GET" if request.method == "HEAD" else str(request.method)]
        if needed is not None:
            policy.require(cast(Actor, request.user), needed)
        return True
