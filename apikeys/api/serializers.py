from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.api.serializers import StrictSerializer

from .. import networks, rates
from ..models import APIKey


class APIKeySerializer(StrictSerializer, serializers.ModelSerializer[APIKey]):
    """A key as a program sees it: everything but its secret."""

    allowed_networks = serializers.ListField(child=serializers.CharField(max_length=50), max_length=50, required=False)
    state = serializers.CharField(read_only=True)
    disabled = serializers.BooleanField(read_only=True)

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

    def validate_expires_at(self, value: Any) -> Any:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This is in the past.")
        return value

    def validate_allowed_networks(self, value: list[str]) -> list[str]:
        try:
            return [str(networks.parse_network(text)) for text in value]
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def validate_rate_limit(self, value: str | None) -> str | None:
        if not value:
            return None
        try:
            rates.parse(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None
        return value
