"""Django admin for operators: maintenance mode and scheduled jobs."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from accounts.admin.base import OperatorAdmin, ViewOnlyAdmin
from accounts.models import User

from . import maintenance, operations
from .models import Maintenance, ScheduledJob


class MaintenanceForm(forms.ModelForm):
    retry_after = forms.IntegerField(
        min_value=1,
        max_value=Maintenance.MAX_RETRY_AFTER,
        initial=Maintenance.RETRY_AFTER,
        help_text="Seconds after which clients should try again.",
    )


@admin.register(Maintenance)
class MaintenanceAdmin(OperatorAdmin):
    form = MaintenanceForm
    fields = ["on", "guard", "message", "retry_after", "changed_at"]
    readonly_fields = ["changed_at"]
    list_display = ["__str__", "message", "retry_after", "changed_at"]
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not Maintenance.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        maintenance.switch(on=obj.on, guard=obj.guard, message=obj.message, retry_after=obj.retry_after)


@admin.register(ScheduledJob)
class ScheduledJobAdmin(ViewOnlyAdmin):
    """The page *Operations* shows the same data, with a description of each job."""

    list_display = ["name", "state", "last_run_at", "took", "last_result", "last_error", "next_run_at", "node"]
    fields = [
        *("name", "state", "last_run_at", "took", "last_result", "last_error"),
        *("failures", "next_run_at", "running_since", "leased_until", "holder"),
    ]
    actions = ["run_now"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScheduledJob]:
        return ScheduledJob.objects.with_clock()

    @admin.display
    def state(self, row: ScheduledJob) -> str:
        return "Running" if row.is_running else "Failing" if row.failures else "Waiting"

    @admin.display
    def took(self, row: ScheduledJob) -> str | None:
        return operations.duration(row.last_duration) if row.last_duration is not None else None

    @admin.display
    def node(self, row: ScheduledJob) -> str:
        return row.node

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("atatus_dash.change_scheduledjob")

    @admin.action(description="Run now", permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        by = cast(User, request.user)  # admin requires a sign-in
        self.for_each(request, queryset, lambda row: operations.run_now(row.name, by=by), "will run in a moment")
