"""Who am I, the account's keys and their use, and leaked keys, for programs."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import APIView, item_or_404
from accounts.policy import KeyPermission, Permission

from .. import networks, services
from ..lookup import KeyRecord
from ..models import APIKey, KeyUsage
from ..services import Overlap
from ..throttling import require_not_too_often
from .serializers import (
    APIKeySerializer,
    LeakedKeysSerializer,
    RotateSerializer,
    UsageFilterSerializer,
    UsageSerializer,
)


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
    permissions = {
        "GET": Permission.API_KEY_READ,
        "PATCH": Permission.API_KEY_CHANGE,
        "DELETE": Permission.API_KEY_CHANGE,
    }

    def get(self, request: Request, key_id: str) -> Response:
        return Response(APIKeySerializer(_api_key(self, key_id)).data)

    def patch(self, request: Request, key_id: str) -> Response:
        api_key = _api_key(self, key_id)
        fields = self.validated(APIKeySerializer, partial=True)
        return Response(APIKeySerializer(services.change(actor=self.actor, api_key=api_key, **fields)).data)

    def delete(self, request: Request, key_id: str) -> Response:
        services.revoke(actor=self.actor, api_key=_api_key(self, key_id))
        return Response(status=204)


class RotateView(APIView):
    permissions = {"POST": Permission.API_KEY_CHANGE}

    def post(self, request: Request, key_id: str) -> Response:
        api_key = _api_key(self, key_id)
        overlap = Overlap(self.validated(RotateSerializer)["overlap"])
        issued = services.rotate(actor=self.actor, api_key=api_key, overlap=overlap)
        return self.created({**APIKeySerializer(issued.api_key).data, "key": issued.secret}, "/v2/api-keys")


class UsageView(APIView):
    """Per day and key, newest day first. Counts are at most a flush old."""

    permissions = {"GET": Permission.USAGE_READ}

    def get(self, request: Request) -> Response:
        usage = KeyUsage.objects.for_account(self.actor.account).select_related("api_key")
        return self.page(usage.matching(**self.filters(UsageFilterSerializer)), UsageSerializer)


class LeakedKeysView(APIView):
    """Whoever holds a key may end it. The answer tells nothing about the keys; one address may ask only so often."""

    authentication_classes = ()
    throttle_classes = ()
    permission_classes = ()
    permissions = {"POST": None}

    def post(self, request: Request) -> Response:
        address = request.META["REMOTE_ADDR"]
        require_not_too_often("reported:" + networks.origin(address), settings.FAILED_AUTH_LIMIT)
        secrets = self.validated(LeakedKeysSerializer)["credentials"]
        services.report(secrets=secrets, address=address, request_id=request._request.request_id)  # type: ignore[attr-defined]  # RequestIdMiddleware sets it
        return Response({"Message": "Thank you. Keys of ours among these are revoked."}, status=202)


def _api_key(view: APIView, key_id: str) -> APIKey:
    return item_or_404(APIKey.objects.for_account(view.actor.account), pk=key_id)
