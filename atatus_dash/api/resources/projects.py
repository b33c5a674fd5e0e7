"""The account's projects."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import ids, services
from accounts.models import Project
from accounts.policy import Permission

from ..base import APIView, item_or_404
from ..serializers import StrictSerializer


class KeptIdField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not ids.is_kept_id(text):
            raise serializers.ValidationError("Send 24 hexadecimal characters, or nothing for a new id.")
        return text


class ProjectSerializer(StrictSerializer, serializers.ModelSerializer[Project]):
    id = serializers.CharField(source="public_id", read_only=True)

    class Meta:
        model = Project
        fields = ["id", "name", "created_at"]
        read_only_fields = ["created_at"]


class NewProjectSerializer(ProjectSerializer):
    """A project that may keep the id that it has at Atatus, so that its pipelines go on as they are."""

    id = KeptIdField(source="kept_id", required=False, allow_null=True)


class ProjectsView(APIView):
    permissions = {"GET": Permission.PROJECT_READ, "POST": Permission.PROJECT_CHANGE}

    def get(self, request: Request) -> Response:
        return self.page(Project.objects.for_account(self.actor.account), ProjectSerializer)

    def post(self, request: Request) -> Response:
        project = services.create_project(actor=self.actor, **self.validated(NewProjectSerializer))
        return self.created(ProjectSerializer(project).data)


class ProjectView(APIView):
    permissions = {
        "GET": Permission.PROJECT_READ,
        "PUT": Permission.PROJECT_CHANGE,
        "PATCH": Permission.PROJECT_CHANGE,
        "DELETE": Permission.PROJECT_CHANGE,
    }

    def get(self, request: Request, project_id: str) -> Response:
        return Response(ProjectSerializer(project_or_404(self, project_id)).data)

    def put(self, request: Request, project_id: str) -> Response:
        return self._change(project_id, partial=False)

    def patch(self, request: Request, project_id: str) -> Response:
        return self._change(project_id, partial=True)

    def delete(self, request: Request, project_id: str) -> Response:
        services.delete_project(actor=self.actor, project=project_or_404(self, project_id))
        return Response(status=204)

    def _change(self, project_id: str, *, partial: bool) -> Response:
        project = project_or_404(self, project_id)
        fields = {"name": project.name, **self.validated(ProjectSerializer, partial=partial)}
        return Response(ProjectSerializer(services.change_project(actor=self.actor, project=project, **fields)).data)


def project_or_404(view: APIView, project_id: str) -> Project:
    return item_or_404(Project.objects.for_account(view.actor.account).known_as(project_id))
