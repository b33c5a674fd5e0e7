"""May this request do what it asks for? The view says which permission each method needs; `apikeys.gate` answers."""

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

#: Where `dispatch` puts what it knows of a request in its `META`. No client can: its headers begin with `HTTP_`.
QUESTION = "atatus_dash.question"


def permission_method(method: str | None) -> str:
    """The method by which a view knows it. HEAD is GET without its body."""
    return "GET" if method == "HEAD" else str(method)


class NeedsPermission(APIView):
    """Names what each method of a view needs; None lets any key pass. A method that is not named is unknown."""

    permissions: ClassVar[Mapping[str, Permission | None]] = {}
    #: What a key's access has to list. None lets any key pass.
    service: ClassVar[str | None] = scopes.API

    @classmethod
    def needs_key(cls) -> bool:
        return IsOpen not in cls.permission_classes

    def question(self, request: HttpRequest, place: Place | None) -> Question:
        """What the request asks, by a key that stood there."""
        arrived: Question = request.META[QUESTION]
        return arrived.of_key(place, self.service, self.needs(str(request.method)))

    def needs(self, method: str) -> Permission | MethodUnknown | None:
        method = permission_method(method)
        return self.permissions[method] if method in self.permissions else MethodUnknown(self.allowed_methods)


class HasKeyPermission(BasePermission):
    """Raises `Refused` for a good key that asks too often, or for what it may not do or nobody can."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        cast(Credential, request.auth).verdict.raise_if_refused()
        return True


class IsOpen(BasePermission):
    """For a view that needs no key. Raises `Refused` for a method that it doesn't have."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, NeedsPermission)
        gate.without_key(view.question(request._request, place=None)).raise_if_refused()
        return True
