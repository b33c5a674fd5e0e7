"""Admin of what accounts own: projects, deployments, audit log entries."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from .. import services
from ..audit import Event
from ..models import Account, AuditEvent, Deployment, Project, User
from ..policy import ActorKind
from .base import ServiceAdmin, ViewOnlyAdmin, operator
from .changelist import ExactSearch, since


@admin.register(Project)
class ProjectAdmin(ServiceAdmin):
    fields = ["account", "name", "created_at"]
    list_display = ["name", "account", "public_id", "created_at"]
    list_select_related = ["account"]
    search_fields = ["name", "id", "kept_id", "account__name", "account__slug"]
    autocomplete_fields = ["account"]
    list_filter = [since("created_at")]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return ["created_at"] if obj is None else ["account", "created_at"]

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Project:
        settings = {name: value for name, value in fields.items() if name != "account"}
        return services.create_project(actor=operator(request, fields["account"]), **settings)

    def change(self, request: HttpRequest, item: Project, changes: dict[str, Any]) -> object:
        return services.change_project(actor=operator(request, item.account), project=item, **changes)

    def remove(self, request: HttpRequest, item: Project) -> object:
        return services.delete_project(actor=operator(request, item.account), project=item)


@admin.register(Deployment)
class DeploymentAdmin(ServiceAdmin):
    """A deployment records what happened: it can be deleted, but not changed."""

    list_display = ["revision", "release_stage", "project", "account", "user", "recorded_by", "created_at"]
    list_select_related = ["project__account"]
    list_filter = [since("created_at")]
    search_fields = ["revision", "release_stage", "user", "project__name", "project__account__name"]

    @admin.display
    def account(self, deployment: Deployment) -> Account:
        return deployment.project.account

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def remove(self, request: HttpRequest, item: Deployment) -> object:
        return services.delete_deployment(actor=operator(request, item.project.account), deployment=item)


class EventFilter(admin.SimpleListFilter):
    """Lists all events of the code, without a query for those in the table."""

    title = "event"
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(event.value, event.value) for event in Event]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(event=self.value()) if self.value() else queryset


class ActorKindFilter(admin.SimpleListFilter):
    title = "actor"
    parameter_name = "actor_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value) for kind in ActorKind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(actor_kind=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ExactSearch, ViewOnlyAdmin):
    list_display = ["at", "account", "event", "actor_label", "target_label", "address", "request_id"]
    list_select_related = ["account"]
    list_filter = [since("at"), EventFilter, ActorKindFilter]
    search_fields = ["id"]
    search_help_text = "An event ID, a request ID, a target ID, a member's e-mail or an account's slug."
    lookups = ["id", "request_id", "target_id", "actor_id"]

    def found_by(self, text: str) -> Q:
        found = Q()
        if person := User.objects.filter(email=User.objects.normalize_email(text)).first():
            found |= Q(actor_id=str(person.pk))
        if account := Account.objects.filter(slug=text).first():
            found |= Q(account=account)
        return found
