"""Where a request came from. Pure: imports no models."""

from typing import NamedTuple, Self

from django.http import HttpRequest

#: Where `RequestIdMiddleware` puts the request's id in its `META`. No client can: its headers begin with `HTTP_`.
REQUEST_ID = "atatus_dash.request_id"


class RequestContext(NamedTuple):
    """What the audit log keeps of a request; both fields are empty where there was none."""

    address: str | None = None
    request_id: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        return cls(request.META.get("REMOTE_ADDR") or None, request.META.get(REQUEST_ID, ""))


#: Of what no request caused.
NO_REQUEST = RequestContext()
