"""The API's routes. `dispatch` answers all other paths with a JSON 404."""

from django.conf import settings
from django.urls import include, path

from .docs import ErrorsView, GuideView, ResourceView, StartView
from .resources.account import AccountView
from .resources.api_keys import APIKeysView, APIKeyView, RotateView
from .resources.api_keys_bulk import ImportView, RevokeView
from .resources.audit_events import AuditEventsView, AuditEventView
from .resources.deployments import DeploymentsView, DeploymentView
from .resources.invitations import InvitationsView, InvitationView
from .resources.leaked_keys import LeakedKeysView
from .resources.members import MembersView, MemberView
from .resources.openapi import OpenAPIView
from .resources.projects import ProjectsView, ProjectView
from .resources.services import ServicesView, ServiceView
from .resources.usage import UsageView
from .resources.whoami import WhoAmIView

resources = [
    path("account", AccountView.as_view()),
    path("projects", ProjectsView.as_view()),
    path("projects/<id:project_id>", ProjectView.as_view()),
    path("projects/<id:project_id>/deployments", DeploymentsView.as_view()),
    path("projects/<id:project_id>/deployments/<id:deployment_id>", DeploymentView.as_view()),
    path("members", MembersView.as_view()),
    path("members/<id:member_id>", MemberView.as_view()),
    path("invitations", InvitationsView.as_view()),
    path("invitations/<id:invitation_id>", InvitationView.as_view()),
    path("api-keys", APIKeysView.as_view()),
    path("api-keys/revoke", RevokeView.as_view()),
    path("api-keys/import", ImportView.as_view()),
    path("api-keys/<id:key_id>", APIKeyView.as_view()),
    path("api-keys/<id:key_id>/rotate", RotateView.as_view()),
    path("services", ServicesView.as_view()),
    path("services/<id:service_id>", ServiceView.as_view()),
    path("audit-events", AuditEventsView.as_view()),
    path("audit-events/<id:event_id>", AuditEventView.as_view()),
    path("usage", UsageView.as_view()),
    path("leaked-keys", LeakedKeysView.as_view()),
]

if settings.API_DOCS:
    resources += [
        path("openapi.json", OpenAPIView.as_view()),
        path("docs", StartView.as_view()),
        path("docs/errors", ErrorsView.as_view()),
        path("docs/guides/<slug:name>", GuideView.as_view()),
        path("docs/<slug:slug>", ResourceView.as_view()),
    ]

urlpatterns = [
    path("v2", WhoAmIView.as_view()),
    path("v2/", include(resources)),
]
