from typing import cast

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from accounts.errors import TooManyRequests
from apikeys import limits
from apikeys.credentials import Credential


class KeyThrottle(BaseThrottle):
    """Counts a request against its key. Leaves the outcome on the request, for the RateLimit headers.

    Raises `TooManyRequests` past the limit.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        key = cast(Credential, request.auth).key
        rate = limits.rate_of(key.rate_limit)
        outcome = limits.limiter.hit(key.id, rate)
        request._request.rate_limit = outcome  # type: ignore[attr-defined]  # ApiMiddleware reads it
        if outcome is not None and not outcome.allowed:
            raise TooManyRequests("Too many requests. Please slow down.", retry_after=outcome.retry_after)
        return True
