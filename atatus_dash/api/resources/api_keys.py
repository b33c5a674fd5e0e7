"""The account's API keys."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.policy import KeyPermission, Permission
from accounts.validators import unix_lines
from apikeys import networks, services, terms
from apikeys.models import APIKey
from apikeys.services import Overlap

from ..base import APIView, item_or_404
from ..serializers import ShortListField, StrictSerializer


class APIKeySerializer(StrictSerializer, serializers.ModelSerializer[APIKey]):
    """A key as a program sees it: everything but its secret."""

    allowed_networks = ShortListField(
        child=serializers.CharField(max_length=50), max_length=networks.MAXIMUM, required=False
    )
    state = serializers.CharField(read_only=True)
    disabled = serializers.BooleanField(required=False)

    class Meta:
        model = APIKey
        fields = [
            "id",
            "name",
            "description",
            "permission",
            "administrator",
            "mask",
            "state",
            "disabled",
            "expires_at",
            "allowed_networks",
            "rate_limit",
            "accepts_query",
            "accepts_body",
            "created_at",
            "created_by",
            "last_used_at",
            "last_used_from",
            "rotated_from",
        ]
        read_only_fields = [
            "id",
            "mask",
            "created_at",
            "created_by",
            "last_used_at",
            "last_used_from",
            "rotated_from",
        ]

    def validate_allowed_networks(self, value: list[str]) -> list[str]:
        return terms.network_list(value)

    def validate_description(self, value: str) -> str:
        return unix_lines(value)

    def validate_rate_limit(self, value: str | None) -> str | None:
        return value or None


class RotateSerializer(StrictSerializer):
    overlap = serializers.ChoiceField(choices=[overlap.value for overlap in Overlap], default=Overlap.DAY.value)


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


def _api_key(view: APIView, key_id: str) -> APIKey:
    return item_or_404(APIKey.objects.for_account(view.actor.account), pk=key_id)
