"""Django admin for operators: keys, shown by their masks, and what they did."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ViewOnlyAdmin, operator
from accounts.models import Account

from . import services
from .models import APIKey, KeyUsage, State


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in State]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value()
        return queryset.in_state(State(state)) if state in State.values else queryset


@admin.register(APIKey)
class APIKeyAdmin(ViewOnlyAdmin):
    """A key is made where its secret can be shown: by the account's people, or `create_api_key`. Here it is ended."""

    list_display = ["name", "mask", "account", "permission", "administrator", "state", "last_used_at", "expires_at"]
    list_select_related = ["account"]
    list_filter = [StateFilter, "permission", "administrator"]
    search_fields = ["name", "id", "mask", "created_by", "account__name", "account__slug"]
    date_hierarchy = "created_at"
    actions = ["disable", "enable", "revoke"]
    fieldsets = [
        (None, {"fields": ["account", "name", "description", "mask", "state", "id"]}),
        ("Power", {"fields": ["permission", "administrator", "allowed_networks", "rate_limit"]}),
        ("Life", {"fields": ["created_at", "created_by", "rotated_from", "expires_at", "disabled_at", "revoked_at"]}),
        ("Last use", {"fields": ["last_used_at", "last_used_from", "last_used_agent"]}),
    ]

    @admin.display
    def state(self, api_key: APIKey) -> str:
        return str(api_key.state.label)

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Who may use the actions: nothing else about a key can be changed here."""
        return bool(request.user.has_perm("apikeys.change_apikey"))

    @admin.action(description="Disable", permissions=["end"])
    def disable(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        self._each(request, queryset, services.disable, "disabled")

    @admin.action(description="Enable", permissions=["end"])
    def enable(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        self._each(request, queryset, services.enable, "enabled")

    @admin.action(description="Revoke for good", permissions=["end"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        self._each(request, queryset, services.revoke, "revoked")

    def _each(self, request: HttpRequest, queryset: QuerySet[APIKey], service: Any, done: str) -> None:
        def act(api_key: APIKey) -> object:
            return service(actor=operator(request, api_key.account), api_key=api_key)

        self.for_each(request, queryset.select_related("account"), act, done)


@admin.register(KeyUsage)
class KeyUsageAdmin(ViewOnlyAdmin):
    list_display = [
        "day",
        "api_key",
        "account",
        "requests",
        "succeeded",
        "client_errors",
        "throttled",
        "server_errors",
    ]
    list_select_related = ["api_key__account"]
    search_fields = ["api_key__name", "api_key__id", "api_key__account__name", "api_key__account__slug"]
    date_hierarchy = "day"

    @admin.display(ordering="api_key__account__name")
    def account(self, usage: KeyUsage) -> Account:
        return usage.api_key.account
