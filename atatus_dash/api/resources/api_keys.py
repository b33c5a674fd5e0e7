"""The account's API keys."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.policy import KeyPermission, Permission
from apikeys import networks, scopes, services, validators
from apikeys.models import APIKey, State
from apikeys.services import Overlap

from ..base import APIView, item_or_404
from ..schema import patterns
from ..serializers import (
    BooleanField,
    FilterSerializer,
    JSONField,
    ModelSerializer,
    PatternField,
    ShortListField,
    StrictSerializer,
    TextFilter,
    writable,
)


class NetworksField(ShortListField):
    """Networks in canonical form, without duplicates."""

    child = PatternField(patterns.NETWORK, max_length=50)

    def run_child_validation(self, data: Any) -> list[str]:
        return validators.network_list(super().run_child_validation(data))


@extend_schema_field(
    {
        "type": "array",
        "maxItems": scopes.MAX_SERVICES,
        "items": {
            "type": "object",
            "properties": {
                "service": {
                    "type": "string",
                    "pattern": scopes.SERVICE_PATTERN,
                    "description": "A service's id, or `api` for the API under `/v2`.",
                },
                "paths": {
                    "type": "array",
                    "items": {"type": "string", "pattern": patterns.PATH, "maxLength": scopes.MAX_PATTERN_LENGTH},
                    "minItems": 1,
                    "maxItems": scopes.MAX_PATHS,
                    "description": "`/exports` matches only that path, `/reports/*` matches `/reports` and all paths "
                    "below it. Left out for the whole service, and always for `api`.",
                },
            },
            "required": ["service"],
            "additionalProperties": False,
            "not": {"properties": {"service": {"const": scopes.API}, "paths": {}}, "required": ["service", "paths"]},
        },
    },
    component_name="Access",
)
class AccessField(JSONField):
    """A key's access: null, which is everything, or a list of services. The model stores it as text."""

    def to_internal_value(self, data: Any) -> str | None:
        return validators.access(data)

    def to_representation(self, value: str) -> Any:
        return scopes.as_json(scopes.load(value))


class APIKeySerializer(StrictSerializer, ModelSerializer[APIKey]):
    """A key as a program sees it: everything but its secret."""

    allowed_networks = NetworksField(max_length=networks.MAXIMUM, required=False)
    access = AccessField(required=False, allow_null=True)
    state = serializers.ChoiceField(State.choices, read_only=True)
    disabled = BooleanField(required=False)
    volatile_fields = ["last_used_at", "last_used_from"]

    class Meta:
        model = APIKey
        fields = [
            "id",
            *writable("name", "description", "permission", "administrator"),
            "mask",
            "state",
            *writable("disabled", "expires_at", "allowed_networks", "rate_limit", "accepts_query", "accepts_body"),
            *writable("access"),
            "created_at",
            "created_by",
            "last_used_at",
            "last_used_from",
            "rotated_from",
        ]

    def validate_rate_limit(self, value: str | None) -> str | None:
        return value or None


class IssuedAPIKeySerializer(APIKeySerializer):
    """A key with its secret, for the only response that has it. The secret is in the serializer's context."""

    key = serializers.SerializerMethodField(allow_null=True)
    secret_fields = ["key"]

    class Meta(APIKeySerializer.Meta):
        fields = [*APIKeySerializer.Meta.fields, "key"]

    def get_key(self, api_key: APIKey) -> str | None:
        return str(self.context["secret"])


class RotateSerializer(StrictSerializer):
    overlap = serializers.ChoiceField(choices=[overlap.value for overlap in Overlap], default=Overlap.DAY.value)


class APIKeyFilterSerializer(FilterSerializer):
    """The filters of `APIKeyQuerySet.matching`."""

    q = TextFilter(help_text="Part of the name or of the mask, or the whole id.")
    state = serializers.ChoiceField(State.choices, required=False, help_text="Keys in this state only.")
    permission = serializers.ChoiceField(
        [permission.value for permission in KeyPermission], required=False, help_text="Keys with this permission only."
    )
    administrator = BooleanField(required=False, help_text="Keys with administrator access, or without.")
    created_by = TextFilter(help_text="Who created the key, as `created_by` shows it.")
    service = TextFilter(help_text="The id of a service that the key has access to, or `api`.")


class APIKeysView(APIView):
    permissions = {"GET": Permission.API_KEY_READ, "POST": Permission.API_KEY_CHANGE}
    operations = {"GET": "list_api_keys", "POST": "create_api_key"}
    lists = True
    request_serializers = {"POST": APIKeySerializer}
    response_serializers = {"GET": APIKeySerializer, "POST": IssuedAPIKeySerializer}
    filter_serializer = APIKeyFilterSerializer
    idempotent_methods = ["POST"]

    def get(self, request: Request) -> Response:
        """List API keys.

        Newest first, including revoked and expired keys.
        """
        return self.page(APIKey.objects.for_account(self.actor.account).matching(**self.filters()))

    def post(self, request: Request) -> Response:
        """Create an API key.

        Only this response has the key itself, in `key`. A key can't create one that is more powerful than itself.
        """
        fields = self.validated()
        permission = KeyPermission(fields.pop("permission"))
        issued = services.create_api_key(actor=self.actor, permission=permission, **fields)
        return self.created(issued.api_key, secret=issued.secret)


class APIKeyView(APIView):
    permissions = {
        "GET": Permission.API_KEY_READ,
        "PATCH": Permission.API_KEY_CHANGE,
        "DELETE": Permission.API_KEY_CHANGE,
    }
    operations = {"GET": "get_api_key", "PATCH": "change_api_key", "DELETE": "revoke_api_key"}
    request_serializers = {"PATCH": APIKeySerializer}
    response_serializers = {"GET": APIKeySerializer, "PATCH": APIKeySerializer}
    has_etag = True

    def get(self, request: Request, key_id: str) -> Response:
        """Get an API key."""
        return self.item(self.get_object(key_id))

    def patch(self, request: Request, key_id: str) -> Response:
        """Change an API key.

        A field that is left out keeps its value. A revoked key can't be changed.
        """
        api_key = self.get_object(key_id)
        return self.item(services.change_api_key(actor=self.actor, api_key=api_key, **self.validated()))

    def delete(self, request: Request, key_id: str) -> Response:
        """Revoke an API key.

        This is final. The next request with the key is refused.
        """
        services.revoke_api_key(actor=self.actor, api_key=self.get_object(key_id))
        return Response(status=204)

    def get_object(self, key_id: str) -> APIKey:
        return _api_key(self, key_id)


class RotateView(APIView):
    permissions = {"POST": Permission.API_KEY_CHANGE}
    operations = {"POST": "rotate_api_key"}
    request_serializers = {"POST": RotateSerializer}
    response_serializers = {"POST": IssuedAPIKeySerializer}
    idempotent_methods = ["POST"]

    def post(self, request: Request, key_id: str) -> Response:
        """Rotate an API key.

        Creates a successor with the same settings. Only this response has its `key`. The old key keeps working for the
        overlap.
        """
        api_key = _api_key(self, key_id)
        overlap = Overlap(self.validated()["overlap"])
        issued = services.rotate_api_key(actor=self.actor, api_key=api_key, overlap=overlap)
        return self.created(issued.api_key, collection="/v2/api-keys", secret=issued.secret)


def _api_key(view: APIView, key_id: str) -> APIKey:
    return item_or_404(APIKey.objects.for_account(view.actor.account), pk=key_id)
