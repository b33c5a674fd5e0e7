from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from ..models import Account, Deployment, Project


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses, by name, fields that are unknown or not the client's to set."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := [str(name) for name in data if name not in writable]:
                raise serializers.ValidationError({name: ["This field is unknown here."] for name in unknown})
        return super().to_internal_value(data)


class AccountSerializer(StrictSerializer, serializers.ModelSerializer[Account]):
    class Meta:
        model = Account
        fields = ["slug", "name", "created_at"]
        read_only_fields = ["slug", "created_at"]


class ProjectSerializer(StrictSerializer, serializers.ModelSerializer[Project]):
    class Meta:
        model = Project
        fields = ["id", "name", "created_at"]
        read_only_fields = ["id", "created_at"]


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    """Lenient, for the sake of clients in the field: unknown fields are ignored, and null or empty means not given."""

    class Meta:
        model = Deployment
        fields = ["id", "revision", "release_stage", "changes", "user", "created_at"]
        read_only_fields = ["id", "created_at"]

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            data = {name: value for name, value in data.items() if value not in (None, "")}
        return super().to_internal_value(data)
