"""Which key is this, and whose."""

from rest_framework.request import Request
from rest_framework.response import Response

from ..base import APIView


class WhoAmIView(APIView):
    """The account, the key and its rate limit. Any permission.

    POST answers as GET: the third example of the source page, `curl -F api_key=KEY`, is one. Like GET, it ignores
    what else the body holds.
    """

    permissions = {"GET": None, "POST": None}

    def get(self, request: Request) -> Response:
        return self._answer(request)

    def post(self, request: Request) -> Response:
        return self._answer(request)

    def _answer(self, request: Request) -> Response:
        key = self.credential.key
        outcome = request._request.rate_limit  # type: ignore[attr-defined]  # KeyThrottle sets it
        return Response(
            {
                "account": {"slug": key.account_slug, "name": key.account_name},
                "api_key": {
                    "id": key.id,
                    "name": key.name,
                    "permission": key.permission,
                    "administrator": bool(key.administrator),
                    "expires_at": key.expiry,
                },
                "rate_limit": outcome
                and {"limit": outcome.rate.limit, "remaining": outcome.remaining, "window": outcome.rate.window},
            }
        )
