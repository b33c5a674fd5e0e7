"""Admin of accounts."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Count, Model, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest

from .. import services
from ..decorators import initiator_for, user_of
from ..models import Account, Membership, User
from ..policy import Role
from ..services import AccountSettings
from .base import Autocomplete, ServiceAdmin, operator


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    STATES = {
        "in_use": Q(suspended_at=None, closed_at=None),
        "suspended": Q(suspended_at__isnull=False),
        "closed": Q(closed_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.replace("_", " ").capitalize()) for state in self.STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        return queryset.filter(self.STATES.get(self.value() or "", Q()))


class AddAccountForm(forms.ModelForm):
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True),
        widget=Autocomplete(Membership._meta.get_field("user"), admin.site),
        help_text="The Owner's e-mail address.",
    )

    class Meta:
        model = Account
        fields = ["name"]


@admin.register(Account)
class AccountAdmin(ServiceAdmin):
    list_display = ["name", "slug", "owner", "members", "suspended_at", "closed_at", "created_at"]
    list_filter = [StateFilter]
    search_fields = ["name", "slug", "memberships__user__email"]
    readonly_fields = ["slug", "owner", "suspended_at", "closed_at", "created_at"]
    actions = ["suspend", "resume", "reopen"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        owner = Membership.objects.filter(account=OuterRef("pk"), role=Role.OWNER.value).values("user__email")
        members = Membership.objects.filter(account=OuterRef("pk")).order_by().values("account").annotate(n=Count("pk"))
        accounts: QuerySet[Account] = super().get_queryset(request)
        return accounts.annotate(owner_email=Subquery(owner[:1]), number_of_members=Subquery(members.values("n")))

    @admin.display
    def owner(self, account: Any) -> str:
        return str(account.owner_email)

    @admin.display
    def members(self, account: Any) -> int:
        return int(account.number_of_members or 0)

    def get_form(self, request: HttpRequest, obj: Account | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = AddAccountForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return ["name", "owner"] if obj is None else ["name", *self.readonly_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return [] if obj is None else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only the Owner closes an account, which is deleted after the grace period."""
        return False

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Account:
        by = initiator_for(request, user_of(request))
        return services.create_account(name=fields["name"], owner=fields["owner"], by=by)

    def change(self, request: HttpRequest, item: Account, changes: dict[str, Any]) -> object:
        return services.change_account(actor=operator(request, item), **cast(AccountSettings, changes))

    @admin.action(description="Suspend selected accounts: requests with their keys get 403", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self.for_each(
            request, queryset, lambda item: services.suspend_account(actor=operator(request, item)), "suspended"
        )

    @admin.action(description="Resume selected accounts", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self.for_each(request, queryset, lambda item: services.resume_account(actor=operator(request, item)), "resumed")

    @admin.action(description="Reopen selected accounts", permissions=["change"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self.for_each(
            request, queryset, lambda item: services.reopen_account(actor=operator(request, item)), "reopened"
        )
