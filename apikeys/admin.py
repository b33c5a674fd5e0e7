"""Django admin for operators: keys (by their masks), their usage, and services."""

from datetime import datetime
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.admin.base import ServiceAdmin, ViewOnlyAdmin, operator
from accounts.admin.changelist import ExactSearch, since
from accounts.errors import Invalid
from accounts.forms import ChangeModelForm
from accounts.models import Account

from . import services, validators
from .models import APIKey, KeyOrigin, KeyUsage, Service, State
from .services import SERVICE_SETTINGS, SETTINGS, ServiceSettings, Settings


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in State]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value()
        return queryset.in_state(State(state)) if state in State.values else queryset


class OfAccountSearch(ExactSearch):
    """Also searches by the slug of the account."""

    def found_by(self, text: str) -> Q:
        account = Account.objects.filter(slug=text).first()
        return Q(account=account) if account else Q()


class SettingsForm(ChangeModelForm):
    """The settings of a key that can be changed. `services.change_api_key` decides."""

    class Meta:
        model = APIKey
        fields = SETTINGS

    def clean_allowed_networks(self) -> list[str]:
        return validators.network_list(self.cleaned_data["allowed_networks"] or [])

    def clean_access(self) -> str | None:
        text: str = self.cleaned_data["access"] or ""
        access = validators.access_of_text(text) if text.strip() else None
        try:
            services.require_known_services(self.instance.account.ref, access, kept=self.instance.access)
        except Invalid as error:
            raise ValidationError(list((error.errors or {})["access"])) from None
        return access

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data:
            validators.expiry(expires_at, latest=validators.latest_expiry(self.instance.account.max_key_lifetime_days))
        return expires_at


@admin.register(APIKey)
class APIKeyAdmin(OfAccountSearch, ServiceAdmin):
    """Changes and revokes keys.

    Admin can't show a secret, so keys are created and rotated on the account's pages or by `create_api_key`.
    """

    form = SettingsForm

    list_display = ["name", "mask", "account", "permission", "administrator", "state", "last_used_at", "expires_at"]
    list_select_related = ["account"]
    list_filter = [since("created_at"), StateFilter, "permission", "administrator"]
    search_fields = ["id"]
    search_help_text = "An ID, a mask, part of a name or an account's slug."
    lookups = ["id", "mask", "name__icontains"]
    actions = ["disable", "enable", "revoke"]
    fieldsets = [
        (None, {"fields": ["account", "name", "description", "mask", "state", "id"]}),
        (
            "Power",
            {"fields": ["permission", "administrator", "expires_at", "allowed_networks", "rate_limit", "access"]},
        ),
        ("Where it may be sent", {"fields": ["accepts_query", "accepts_body"]}),
        (
            "Life",
            {
                "fields": [
                    *("created_at", "created_by", "rotated_from", "rotated_at", "exposed_at"),
                    *("disabled_at", "revoked_at"),
                ]
            },
        ),
        ("Last use", {"fields": ["last_used_at", "last_used_from", "last_used_agent"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        shown = flatten_fieldsets(self.get_fieldsets(request, obj))
        return [str(field) for field in shown if field not in SETTINGS]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        """A revoked key can't be changed."""
        return (obj is None or obj.revoked_at is None) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        return False

    def change(self, request: HttpRequest, item: APIKey, changes: dict[str, Any]) -> object:
        return services.change_api_key(actor=operator(request, item.account), api_key=item, **cast(Settings, changes))

    @admin.display
    def state(self, api_key: APIKey) -> str:
        return str(api_key.state.label)

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Who may use the actions."""
        return bool(request.user.has_perm("apikeys.change_apikey"))

    @admin.action(description="Disable selected API keys", permissions=["end"])
    def disable(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        self._each(request, queryset, services.disable_api_key, "disabled")

    @admin.action(description="Enable selected API keys", permissions=["end"])
    def enable(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        self._each(request, queryset, services.enable_api_key, "enabled")

    @admin.action(description="Revoke selected API keys", permissions=["end"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        """Ask for confirmation, because a revoked key can't be restored."""
        if "sure" in request.POST:
            self._each(request, queryset, services.revoke_api_key, "revoked")
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Revoke API keys?",
            "opts": self.model._meta,
            "api_keys": queryset.select_related("account"),
            "selected": helpers.ACTION_CHECKBOX_NAME,
        }
        return render(request, "admin/apikeys/revoke.html", context)

    def _each(self, request: HttpRequest, queryset: QuerySet[APIKey], service: Any, done: str) -> None:
        def act(api_key: APIKey) -> object:
            return service(actor=operator(request, api_key.account), api_key=api_key)

        self.for_each(request, queryset.select_related("account"), act, done)


class ServiceForm(ChangeModelForm):
    """A service, shared or not. `services` decides."""

    class Meta:
        model = Service
        fields = ("account", *SERVICE_SETTINGS)

    def clean_reading_methods(self) -> list[str]:
        return validators.method_list(self.cleaned_data["reading_methods"] or [])

    def clean_reading_paths(self) -> list[str]:
        return validators.path_list(self.cleaned_data["reading_paths"] or [])

    def clean_gateways(self) -> list[str]:
        return validators.gateway_list(self.cleaned_data["gateways"] or [])


@admin.register(Service)
class ServicesAdmin(OfAccountSearch, ServiceAdmin):
    """Services. Only here can a service be shared with every account."""

    form = ServiceForm

    list_display = ["name", "id", "account", "shared", "last_question_at", "created_at"]
    list_select_related = ["account"]
    list_filter = [since("created_at"), "shared"]
    search_fields = ["id"]
    search_help_text = "An ID, part of a name or an account's slug."
    lookups = ["id", "name__icontains"]
    autocomplete_fields = ["account"]
    fieldsets = [
        (None, {"fields": ["account", "name", "shared"]}),
        ("Gateway", {"fields": ["gateways", "upstream"]}),
        ("Requests", {"fields": ["reading_methods", "reading_paths", "preflight", "query_keys"]}),
        ("Life", {"fields": ["id", "created_at", "created_by", "last_question_at"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Service | None = None) -> list[str]:
        shown = ["id", "created_at", "created_by", "last_question_at"]
        return shown if obj is None else ["account", *shown]

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Service:
        settings = {name: value for name, value in fields.items() if name != "account"}
        return services.create_service(actor=operator(request, fields["account"]), **cast(ServiceSettings, settings))

    def change(self, request: HttpRequest, item: Service, changes: dict[str, Any]) -> object:
        actor = operator(request, item.account)
        return services.change_service(actor=actor, service=item, **cast(ServiceSettings, changes))

    def remove(self, request: HttpRequest, item: Service) -> object:
        return services.delete_service(actor=operator(request, item.account), service=item)


class OfKeySearch(ExactSearch):
    """Searches by the id or the mask of the key."""

    search_fields = ["id"]
    search_help_text = "The ID or mask of a key."
    lookups = ["api_key_id"]

    def found_by(self, text: str) -> Q:
        return Q(api_key_id__in=list(APIKey.objects.filter(mask=text).values_list("pk", flat=True)[:100]))


@admin.register(KeyUsage)
class KeyUsageAdmin(OfKeySearch, ViewOnlyAdmin):
    list_display = [
        "day",
        "api_key",
        "service",
        "account",
        "requests",
        "succeeded",
        "client_errors",
        "throttled",
        "server_errors",
    ]
    list_select_related = ["api_key__account"]
    search_help_text = "The ID or mask of a key, or the ID of a service."
    lookups = ["api_key_id", "service"]
    list_filter = [since("day")]

    @admin.display
    def account(self, usage: KeyUsage) -> Account:
        return usage.api_key.account


@admin.register(KeyOrigin)
class KeyOriginAdmin(OfKeySearch, ViewOnlyAdmin):
    list_display = ["origin", "api_key", "account", "requests", "last_used_at", "last_used_agent"]
    list_select_related = ["api_key__account"]
    search_help_text = "The ID or mask of a key, or an address or its /64 network."
    lookups = ["api_key_id", "origin"]

    @admin.display
    def account(self, origin: KeyOrigin) -> Account:
        return origin.api_key.account
