"""The facts about a request that the audit log keeps. Pure: imports no models."""

from typing import NamedTuple, Self

from django.http import HttpRequest

#: The key in `META` under which `RequestIdMiddleware` stores the request's id. Clients can't set it: their headers
#: begin with `HTTP_`.
REQUEST_ID = "atatus_dash.request_id"


class RequestContext(NamedTuple):
    """A request's client address and id. Both are empty outside a request."""

    address: str | None = None
    request_id: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        return cls(request.META.get("REMOTE_ADDR") or None, request.META.get(REQUEST_ID, ""))


#: For changes outside a request.
NO_REQUEST = RequestContext()
