"""Django admin for operators: offline on purpose, and back."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from accounts.admin.base import OperatorAdmin

from . import maintenance
from .models import Maintenance


class MaintenanceForm(forms.ModelForm):
    retry_after = forms.IntegerField(
        min_value=1,
        max_value=Maintenance.LONGEST_RETRY_AFTER,
        initial=Maintenance.RETRY_AFTER,
        help_text="Seconds after which to come back.",
    )


@admin.register(Maintenance)
class MaintenanceAdmin(OperatorAdmin):
    form = MaintenanceForm
    fields = ["on", "message", "retry_after", "changed_at"]
    readonly_fields = ["changed_at"]
    list_display = ["__str__", "message", "retry_after", "changed_at"]
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not Maintenance.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        maintenance.switch(on=obj.on, message=obj.message, retry_after=obj.retry_after)
