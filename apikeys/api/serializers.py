"""How keys and their use look to a program, and what a program may send."""

from typing import Any

from rest_framework import serializers

from accounts.api.serializers import ShortListField, StrictSerializer
from accounts.validators import unix_lines

from .. import networks, terms
from ..models import APIKey, KeyUsage
from ..services import Overlap


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


class UsageSerializer(serializers.ModelSerializer[KeyUsage]):
    api_key = serializers.SerializerMethodField()

    class Meta:
        model = KeyUsage
        fields = ["day", "api_key", "requests", "succeeded", "client_errors", "throttled", "server_errors"]

    def get_api_key(self, usage: KeyUsage) -> dict[str, str]:
        return {"id": usage.api_key.id, "name": usage.api_key.name}


class UsageFilterSerializer(serializers.Serializer[Any]):
    """Days in UTC; `since` and `until` are both included. `key` is an id: `api_key` would be a credential."""

    key = serializers.CharField(required=False, allow_blank=True)
    since = serializers.DateField(required=False)
    until = serializers.DateField(required=False)


class LeakedKeysSerializer(StrictSerializer):
    credentials = ShortListField(child=serializers.CharField(max_length=1000), min_length=1, max_length=1000)
