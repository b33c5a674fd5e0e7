"""The account, its projects and their deployments, and its audit log, for programs."""

from typing import cast

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from .. import services
from ..models import Account, AuditEvent, Deployment, Project
from ..policy import Permission
from ..services import AccountSettings
from .base import APIView, item_or_404
from .serializers import (
    AccountSerializer,
    AuditEventSerializer,
    AuditFilterSerializer,
    DeploymentSerializer,
    NewProjectSerializer,
    ProjectSerializer,
)


class AccountView(APIView):
    permissions = {"GET": Permission.ACCOUNT_READ, "PATCH": Permission.ACCOUNT_CHANGE}

    def get(self, request: Request) -> Response:
        return Response(AccountSerializer(Account.objects.get(pk=self.actor.account.id)).data)

    def patch(self, request: Request) -> Response:
        fields = cast(AccountSettings, self.validated(AccountSerializer, partial=True))
        return Response(AccountSerializer(services.change_account(actor=self.actor, **fields)).data)


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
        return Response(ProjectSerializer(_project(self, project_id)).data)

    def put(self, request: Request, project_id: str) -> Response:
        return self._change(project_id, partial=False)

    def patch(self, request: Request, project_id: str) -> Response:
        return self._change(project_id, partial=True)

    def delete(self, request: Request, project_id: str) -> Response:
        services.delete_project(actor=self.actor, project=_project(self, project_id))
        return Response(status=204)

    def _change(self, project_id: str, *, partial: bool) -> Response:
        project = _project(self, project_id)
        fields = {"name": project.name, **self.validated(ProjectSerializer, partial=partial)}
        return Response(ProjectSerializer(services.change_project(actor=self.actor, project=project, **fields)).data)


class DeploymentsView(APIView):
    permissions = {
        "GET": Permission.DEPLOYMENT_READ,
        "POST": Permission.DEPLOYMENT_CHANGE,
    }

    def get(self, request: Request, project_id: str) -> Response:
        return self.page(_project(self, project_id).deployments.all(), DeploymentSerializer)

    def post(self, request: Request, project_id: str) -> Response:
        project = _project(self, project_id)
        deployment = services.create_deployment(
            actor=self.actor, project=project, **self.validated(DeploymentSerializer)
        )
        return self.created(DeploymentSerializer(deployment).data)


class DeploymentView(APIView):
    permissions = {
        "GET": Permission.DEPLOYMENT_READ,
        "DELETE": Permission.DEPLOYMENT_CHANGE,
    }

    def get(self, request: Request, project_id: str, deployment_id: str) -> Response:
        deployment = item_or_404(self._deployments(project_id), pk=deployment_id)
        return Response(DeploymentSerializer(deployment).data)

    def delete(self, request: Request, project_id: str, deployment_id: str) -> Response:
        deployment = item_or_404(self._deployments(project_id), pk=deployment_id)
        services.delete_deployment(actor=self.actor, deployment=deployment)
        return Response(status=204)

    def _deployments(self, project_id: str) -> QuerySet[Deployment]:
        return _project(self, project_id).deployments.all()


class AuditEventsView(APIView):
    permissions = {"GET": Permission.AUDIT_READ}

    def get(self, request: Request) -> Response:
        events = AuditEvent.objects.for_account(self.actor.account)
        return self.page(events.matching(**self.filters(AuditFilterSerializer)), AuditEventSerializer)


def _project(view: APIView, project_id: str) -> Project:
    return item_or_404(Project.objects.for_account(view.actor.account).known_as(project_id))
