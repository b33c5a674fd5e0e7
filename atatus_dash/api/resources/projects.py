"""The account's projects."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import ids, services
from accounts.models import Project
from accounts.policy import Permission

from ..base import APIView, item_or_404
from ..serializers import FilterSerializer, ModelSerializer, StrictSerializer, TextFilter, writable


class KeptIdField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not ids.is_kept_id(text):
            raise serializers.ValidationError("Send 24 hexadecimal characters, or nothing for a new id.")
        return text


class ProjectSerializer(StrictSerializer, ModelSerializer[Project]):
    id = serializers.CharField(source="public_id", read_only=True)

    class Meta:
        model = Project
        fields = ["id", *writable("name"), "created_at"]


class NewProjectSerializer(ProjectSerializer):
    """A new project, which may keep its id from Atatus, so that its pipelines need no change."""

    id = KeptIdField(source="kept_id", required=False, allow_null=True)

    class Meta(ProjectSerializer.Meta):
        fields = writable("id", "name")


class ProjectFilterSerializer(FilterSerializer):
    q = TextFilter(help_text="Part of the name, or the whole id.")


class ProjectsView(APIView):
    permissions = {"GET": Permission.PROJECT_READ, "POST": Permission.PROJECT_CHANGE}
    request_serializers = {"POST": NewProjectSerializer}
    response_serializers = {"GET": ProjectSerializer, "POST": ProjectSerializer}
    filter_serializer = ProjectFilterSerializer
    idempotent_methods = ["POST"]

    def get(self, request: Request) -> Response:
        projects, filters = Project.objects.for_account(self.actor.account), self.filters()
        return self.page(projects.search(filters["q"]) if filters else projects)

    def post(self, request: Request) -> Response:
        return self.created(services.create_project(actor=self.actor, **self.validated()))


class ProjectView(APIView):
    permissions = {
        "GET": Permission.PROJECT_READ,
        "PUT": Permission.PROJECT_CHANGE,
        "PATCH": Permission.PROJECT_CHANGE,
        "DELETE": Permission.PROJECT_CHANGE,
    }
    request_serializers = {"PUT": ProjectSerializer, "PATCH": ProjectSerializer}
    response_serializers = {"GET": ProjectSerializer, "PUT": ProjectSerializer, "PATCH": ProjectSerializer}
    has_etag = True

    def get(self, request: Request, project_id: str) -> Response:
        return self.item(self.get_object(project_id))

    def put(self, request: Request, project_id: str) -> Response:
        project = self.get_object(project_id)
        fields = {"name": project.name, **self.validated()}
        return self.item(services.change_project(actor=self.actor, project=project, **fields))

    patch = put

    def delete(self, request: Request, project_id: str) -> Response:
        services.delete_project(actor=self.actor, project=self.get_object(project_id))
        return Response(status=204)

    def get_object(self, project_id: str) -> Project:
        return project_or_404(self, project_id)


def project_or_404(view: APIView, project_id: str) -> Project:
    return item_or_404(Project.objects.for_account(view.actor.account).with_public_id(project_id))
