"""The account's own APIs that accept its keys, and services of the operator that are shared with every account."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.policy import Permission
from apikeys import networks, scopes, services, validators
from apikeys.models import Service

from ..base import APIView, item_or_404
from ..schema import patterns
from ..serializers import (
    BooleanField,
    FilterSerializer,
    ModelSerializer,
    PatternField,
    ShortListField,
    StrictSerializer,
    TextFilter,
    writable,
)


class ServiceSerializer(StrictSerializer, ModelSerializer[Service]):
    """A service as the account in the context sees it: only `fields_shown_to_all` if it belongs to another account."""

    reading_methods = ShortListField(
        child=PatternField(patterns.METHOD, max_length=50), max_length=validators.MAX_METHODS, required=False
    )
    reading_paths = ShortListField(
        child=PatternField(patterns.PATH, max_length=scopes.MAX_PATTERN_LENGTH),
        max_length=scopes.MAX_PATHS,
        required=False,
    )
    gateways = ShortListField(
        child=PatternField(patterns.NETWORK, max_length=50), max_length=networks.MAXIMUM, required=False
    )
    volatile_fields = ["last_question_at"]
    fields_shown_to_all = ["id", "name", "shared"]

    class Meta:
        model = Service
        fields = [
            "id",
            *writable("name", "reading_methods", "reading_paths", "preflight", "query_keys", "gateways", "upstream"),
            "shared",
            "created_at",
            "last_question_at",
        ]

    def validate_reading_methods(self, value: list[str]) -> list[str]:
        return validators.method_list(value)

    def validate_reading_paths(self, value: list[str]) -> list[str]:
        return validators.path_list(value)

    def validate_gateways(self, value: list[str]) -> list[str]:
        return validators.gateway_list(value)

    def to_representation(self, instance: Service) -> dict[str, Any]:
        shown = super().to_representation(instance)
        if instance.account_id == self.context["account_id"]:
            return shown
        return {name: value if name in self.fields_shown_to_all else None for name, value in shown.items()}


class ServiceFilterSerializer(FilterSerializer):
    q = TextFilter(help_text="Part of the name, or the whole id.")
    shared = BooleanField(required=False, help_text="Shared services, or those that are not.")


class ServicesView(APIView):
    permissions = {"GET": Permission.SERVICE_READ, "POST": Permission.SERVICE_CHANGE}
    operations = {"GET": "list_services", "POST": "create_service"}
    lists = True
    request_serializers = {"POST": ServiceSerializer}
    response_serializers = {"GET": ServiceSerializer, "POST": ServiceSerializer}
    filter_serializer = ServiceFilterSerializer
    idempotent_methods = ["POST"]

    def get(self, request: Request) -> Response:
        """List services.

        Newest first. For a shared service of another account, all fields but `id`, `name` and `shared` are null.
        """
        account, filters = self.actor.account, self.filters()
        found = Service.objects.visible_to(account)
        if q := filters.pop("q", ""):
            found = found.search(q)
        return self.page(found.filter(**filters), account_id=account.id)

    def post(self, request: Request) -> Response:
        """Create a service."""
        service = services.create_service(actor=self.actor, **self.validated())
        return self.created(service, account_id=self.actor.account.id)


class ServiceView(APIView):
    permissions = {
        "GET": Permission.SERVICE_READ,
        "PATCH": Permission.SERVICE_CHANGE,
        "DELETE": Permission.SERVICE_CHANGE,
    }
    operations = {"GET": "get_service", "PATCH": "change_service", "DELETE": "delete_service"}
    request_serializers = {"PATCH": ServiceSerializer}
    response_serializers = {"GET": ServiceSerializer, "PATCH": ServiceSerializer}
    has_etag = True

    def get(self, request: Request, service_id: str) -> Response:
        """Get a service."""
        return self.item(self.get_object(service_id), account_id=self.actor.account.id)

    def patch(self, request: Request, service_id: str) -> Response:
        """Change a service.

        A field that is left out keeps its value. Only the account that owns a shared service can change it.
        """
        service = self.get_object(service_id)
        service = services.change_service(actor=self.actor, service=service, **self.validated())
        return self.item(service, account_id=self.actor.account.id)

    def delete(self, request: Request, service_id: str) -> Response:
        """Delete a service.

        Authorization requests about it are then refused.
        """
        services.delete_service(actor=self.actor, service=self.get_object(service_id))
        return Response(status=204)

    def get_object(self, service_id: str) -> Service:
        service = item_or_404(Service.objects.visible_to(self.actor.account), pk=service_id)
        if self.method != "GET":
            services.require_may_change(self.actor, service)
        return service
