"""May this key do this? The view says which permission each method needs; `accounts.policy` answers."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import policy

if TYPE_CHECKING:  # DRF imports this module while its own views are loading
    from accounts.api.base import APIView


class KeyMay(BasePermission):
    """Raises `NotPermitted` unless the key may. A method that a view forgot to list is a `KeyError`, not a yes."""

    def has_permission(self, request: Request, view: "APIView") -> bool:  # type: ignore[override]
        method = "GET" if request.method == "HEAD" else str(request.method)
        needed = view.permissions[method]
        if needed is not None:
            policy.require(view.actor, needed)
        return True
