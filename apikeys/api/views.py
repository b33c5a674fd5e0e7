"""Who am I, and the account's keys, for programs."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import APIView, item_or_404
from accounts.policy import KeyPermission, Permission

from .. import services
from ..lookup import KeyRecord
from ..models import APIKey
from .serializers import APIKeySerializer


class WhoAmIView(APIView):
    """The account, the key and its rate limit. Any permission."""

    permissions = {"GET": None}

    def get(self, request: Request) -> Response:
        key: KeyRecord = self.credential.key
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


class APIKeysView(APIView):
    permissions = {"GET": Permission.API_KEY_READ, "POST": Permission.API_KEY_CHANGE}

    def get(self, request: Request) -> Response:
        return self.page(APIKey.objects.for_account(self.actor.account), APIKeySerializer)

    def post(self, request: Request) -> Response:
        fields: dict[str, Any] = self.validated(APIKeySerializer)
        permission = KeyPermission(fields.pop("permission"))
        issued = services.issue(actor=self.actor, permission=permission, **fields)
        return self.created({**APIKeySerializer(issued.api_key).data, "key": issued.secret})


class APIKeyView(APIView):
    permissions = {"GET": Permission.API_KEY_READ, "DELETE": Permission.API_KEY_CHANGE}

    def get(self, request: Request, key_id: str) -> Response:
        return Response(APIKeySerializer(self._api_key(key_id)).data)

    def delete(self, request: Request, key_id: str) -> Response:
        services.revoke(actor=self.actor, api_key=self._api_key(key_id))
        return Response(status=204)

    def _api_key(self, key_id: str) -> APIKey:
        return item_or_404(APIKey.objects.for_account(self.actor.account), pk=key_id)
