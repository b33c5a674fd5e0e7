"""Revisions of a project that went to a release stage. Clients written for Atatus work unchanged."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import redaction, services
from accounts.models import Deployment
from accounts.policy import Permission
from accounts.validators import unix_lines

from ..base import APIView, item_or_404
from ..serializers import BodySerializer, FilterSerializer, ModelSerializer, TextFilter, writable
from .projects import project_or_404


class CutField(serializers.CharField):
    """Text that is truncated to `max_length`, after validation: no part of a key is stored."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept = max_length

    def run_validation(self, data: Any = empty) -> Any:
        text = super().run_validation(data)
        return text[: self.kept] if isinstance(text, str) else text


class DeploymentSerializer(BodySerializer, ModelSerializer[Deployment]):
    """Lenient, for existing clients: unknown fields are ignored, and a field that is null or empty counts as omitted.

    A commit message must not fail a pipeline: a key in `changes` is masked and not refused, and all fields but
    `revision` are truncated.
    """

    class Meta:
        model = Deployment
        fields = ["id", *writable("revision", "release_stage", "changes", "user"), "created_at"]

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        kind, options = super().build_standard_field(field_name, model_field)
        is_cut = "max_length" in options and field_name != "revision"
        return CutField if is_cut else kind, options

    def plain(self, data: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in super().plain(data).items() if not _is_blank(value)}
        if isinstance(changes := given.get("changes"), str):
            given["changes"] = unix_lines(redaction.redact(changes))
        return given


class DeploymentFilterSerializer(FilterSerializer):
    """The filters of `DeploymentQuerySet.matching`."""

    revision = TextFilter(help_text="The whole revision.")
    release_stage = TextFilter(help_text="The whole release stage.")
    since = serializers.DateTimeField(required=False, help_text="Included.")
    until = serializers.DateTimeField(required=False, help_text="Not included.")


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


class DeploymentsView(APIView):
    permissions = {"GET": Permission.DEPLOYMENT_READ, "POST": Permission.DEPLOYMENT_CHANGE}
    operations = {"GET": "list_deployments", "POST": "create_deployment"}
    lists = True
    request_serializers = {"POST": DeploymentSerializer}
    response_serializers = {"GET": DeploymentSerializer, "POST": DeploymentSerializer}
    filter_serializer = DeploymentFilterSerializer
    idempotent_methods = ["POST"]

    def get(self, request: Request, project_id: str) -> Response:
        """List a project's deployments.

        Newest first.
        """
        return self.page(project_or_404(self, project_id).deployments.matching(**self.filters()))

    def post(self, request: Request, project_id: str) -> Response:
        """Record a deployment.

        Unknown fields are ignored, and a field that is null or empty counts as left out. A key in `changes`
        is masked, and long text is truncated: a commit message must not fail a pipeline.
        """
        project = project_or_404(self, project_id)
        return self.created(services.create_deployment(actor=self.actor, project=project, **self.validated()))


class DeploymentView(APIView):
    permissions = {"GET": Permission.DEPLOYMENT_READ, "DELETE": Permission.DEPLOYMENT_CHANGE}
    operations = {"GET": "get_deployment", "DELETE": "delete_deployment"}
    response_serializers = {"GET": DeploymentSerializer}
    has_etag = True

    def get(self, request: Request, project_id: str, deployment_id: str) -> Response:
        """Get a deployment."""
        return self.item(self.get_object(project_id, deployment_id))

    def delete(self, request: Request, project_id: str, deployment_id: str) -> Response:
        """Delete a deployment."""
        deployment = self.get_object(project_id, deployment_id)
        services.delete_deployment(actor=self.actor, deployment=deployment)
        return Response(status=204)

    def get_object(self, project_id: str, deployment_id: str) -> Deployment:
        return item_or_404(project_or_404(self, project_id).deployments.all(), pk=deployment_id)
