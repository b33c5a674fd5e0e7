"""Permissions of requests. A view names the permission that each method needs, and `apikeys.gate` decides."""

from collections.abc import Mapping
from typing import ClassVar, cast

from django.http import HttpRequest
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.policy import Permission
from apikeys import gate, scopes
from apikeys.credentials import Credential
from apikeys.gate import MethodUnknown, Place, Question

#: The key in `META` of the request's `Question`. No client can set it: names of headers begin with `HTTP_`.
QUESTION = "atatus_dash.question"


def permission_method(method: str | None) -> str:
    """The method whose permission is needed. HEAD needs that of GET."""
    return "GET" if method == "HEAD" else str(method)


class NeedsPermission(APIView):
    """Names the permission of each method of a view. None accepts any key; a method that is not listed is a 405.

    HEAD needs that of GET, and OPTIONS none.
    """

    permissions: ClassVar[Mapping[str, Permission | None]] = {}
    #: The service that a key's access has to include. None accepts any key.
    service: ClassVar[str | None] = scopes.API

    @classmethod
    def needs_key(cls) -> bool:
        return IsOpen not in cls.permission_classes

    def question(self, request: HttpRequest, place: Place | None) -> Question:
        """The request's `Question`, with the place of its key."""
        question: Question = request.META[QUESTION]
        return question.of_key(place, self.service, self.needs(str(request.method)))

    def needs(self, method: str) -> Permission | MethodUnknown | None:
        if method == "OPTIONS":
            return None
        method = permission_method(method)
        return self.permissions[method] if method in self.permissions else MethodUnknown(self.allowed_methods)


class HasKeyPermission(BasePermission):
    """Raises `Refused` for a valid key over its limit, without the permission, or with an unknown method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        cast(Credential, request.auth).verdict.raise_if_refused()
        return True


class IsOpen(BasePermission):
    """For a view that needs no key. Raises `Refused` for an unknown method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, NeedsPermission)
        gate.decide_without_key(view.question(request._request, place=None)).raise_if_refused()
        return True
