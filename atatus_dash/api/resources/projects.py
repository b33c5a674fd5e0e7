"""The account's projects. Each has deployments."""

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
    pattern = f"^({ids.KEPT.pattern})$"  # for the schema

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
    operations = {"GET": "list_projects", "POST": "create_project"}
    lists = True
    request_serializers = {"POST": NewProjectSerializer}
    response_serializers = {"GET": ProjectSerializer, "POST": ProjectSerializer}
    filter_serializer = ProjectFilterSerializer
    idempotent_methods = ["POST"]

    def get(self, request: Request) -> Response:
        """List projects.

        Newest first.
        """
        projects, filters = Project.objects.for_account(self.actor.account), self.filters()
        return self.page(projects.search(filters["q"]) if filters else projects)

    def post(self, request: Request) -> Response:
        """Create a project.

        A project that moves here from Atatus may keep its id.
        """
        return self.created(services.create_project(actor=self.actor, **self.validated()))


class ProjectView(APIView):
    permissions = {
        "GET": Permission.PROJECT_READ,
        "PUT": Permission.PROJECT_CHANGE,
        "PATCH": Permission.PROJECT_CHANGE,
        "DELETE": Permission.PROJECT_CHANGE,
    }
    operations = {
        "GET": "get_project",
        "PUT": "replace_project",
        "PATCH": "change_project",
        "DELETE": "delete_project",
    }
    request_serializers = {"PUT": ProjectSerializer, "PATCH": ProjectSerializer}
    response_serializers = {"GET": ProjectSerializer, "PUT": ProjectSerializer, "PATCH": ProjectSerializer}
    has_etag = True

    def get(self, request: Request, project_id: str) -> Response:
        """Get a project."""
        return self.item(self.get_object(project_id))

    def put(self, request: Request, project_id: str) -> Response:
        """Replace a project's fields.

        Its id and its deployments stay.
        """
        project = self.get_object(project_id)
        return self.item(services.change_project(actor=self.actor, project=project, **self.validated()))

    def patch(self, request: Request, project_id: str) -> Response:
        """Change a project.

        A field that is left out keeps its value.
        """
        return self.put(request, project_id)

    def delete(self, request: Request, project_id: str) -> Response:
        """Delete a project and its deployments."""
        services.delete_project(actor=self.actor, project=self.get_object(project_id))
        return Response(status=204)

    def get_object(self, project_id: str) -> Project:
        return project_or_404(self, project_id)


def project_or_404(view: APIView, project_id: str) -> Project:
    return item_or_404(Project.objects.for_account(view.actor.account).with_public_id(project_id))
