"""Django admin for operators: people, accounts and what accounts own.

Every change goes through the services, as the signed-in operator, so that it stands in the account's audit
log. What a service refuses is told as a message.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm, UserChangeForm
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from . import services
from .access import maker_for
from .audit import Event
from .errors import DomainError
from .models import Account, AuditEvent, Deployment, Invitation, Membership, Project, User
from .policy import Actor, ActorKind, Permission, Role


def operator(request: HttpRequest, account: Account) -> Actor:
    """The signed-in operator, who may do everything in any account."""
    return Actor(
        kind=ActorKind.PERSON,
        id=str(request.user.pk),
        label=request.user.email,  # type: ignore[union-attr]  # admin lets nobody else in
        account=account.ref,
        permissions=frozenset(Permission),
        address=request.META["REMOTE_ADDR"] or None,
        request_id=request.request_id,  # type: ignore[attr-defined]  # RequestIdMiddleware sets it
    )


class OperatorAdmin(admin.ModelAdmin):
    """Shared by all: fast lists, and services instead of bare saves."""

    show_full_result_count = False
    list_per_page = 50

    def for_each(self, request: HttpRequest, items: Iterable[Any], act: Callable[[Any], object], done: str) -> None:
        """Do it to each; tell how many it was done to and why not to the others."""
        number = 0
        for item in items:
            try:
                act(item)
            except DomainError as error:
                self.message_user(request, error.message, messages.ERROR)
            else:
                number += 1
        if number:
            self.message_user(request, f"{number} {done}.", messages.SUCCESS)


class ViewOnlyAdmin(OperatorAdmin):
    """For what nobody changes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ServiceAdmin(OperatorAdmin):
    """Adds through `add`, changes through `change`, deletes through `remove`."""

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Model:
        raise NotImplementedError

    def change(self, request: HttpRequest, item: Any) -> object:
        raise NotImplementedError

    def remove(self, request: HttpRequest, item: Any) -> object:
        raise NotImplementedError

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        if change:
            return super().save_form(request, form, change)
        form.save_m2m = lambda: None
        return self.add(request, form.cleaned_data)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            self.change(request, obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for item in queryset:
            self.remove(request, item)


# People -----------------------------------------------------------------------------------------


class _EmailForm(forms.ModelForm):
    def clean_email(self) -> str:
        """Refuse an address that signs another person in, be it their second one."""
        email = User.objects.normalize_email(self.cleaned_data["email"])
        if EmailAddress.objects.filter(email__iexact=email).exclude(user_id=self.instance.pk).exists():
            raise forms.ValidationError("A person with this address exists.")
        return email


class AddUserForm(_EmailForm, BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("email", "name")


class ChangeUserForm(_EmailForm, UserChangeForm):
    class Meta:
        model = User
        fields = ("email", "name")


@admin.register(User)
class UserAdmin(OperatorAdmin, DjangoUserAdmin):
    form = ChangeUserForm
    add_form = AddUserForm
    ordering = ["email"]
    list_display = ["email", "name", "is_staff", "is_active", "date_joined", "last_login"]
    list_filter = ["is_staff", "is_superuser", "is_active"]
    search_fields = ["email", "name"]
    readonly_fields = ["date_joined", "last_login"]
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        ("Operator", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Dates", {"fields": ["date_joined", "last_login"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "name", "password1", "password2"]})]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """The address counts as verified: the operator vouches for it. A changed one replaces the old."""
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            EmailAddress.objects.filter(user=obj, primary=True).delete()
            EmailAddress.objects.update_or_create(
                user=obj, email=obj.email, defaults={"verified": True, "primary": True}
            )

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """An account without its Owner is no one's: whoever owns one is protected."""
        listed, counts, missing, protected = super().get_deleted_objects(objs, request)
        owned = Membership.objects.filter(user__in=list(objs), role=Role.OWNER.value).select_related("user", "account")
        missing -= {Membership._meta.verbose_name}
        return listed, counts, missing, [*protected, *(str(membership) for membership in owned)]

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        for membership in obj.memberships.select_related("account"):
            services.remove_member(actor=operator(request, membership.account), membership=membership)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            self.delete_model(request, user)


# Accounts ---------------------------------------------------------------------------------------


class SuspendedFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "suspended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "In use"), ("yes", "Suspended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        return queryset.filter(suspended_at__isnull=self.value() == "no") if self.value() else queryset


class AddAccountForm(forms.ModelForm):
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True),
        widget=AutocompleteSelect(Membership._meta.get_field("user"), admin.site),
        help_text="Who owns it, by e-mail.",
    )

    class Meta:
        model = Account
        fields = ["name"]


@admin.register(Account)
class AccountAdmin(ServiceAdmin):
    list_display = ["name", "slug", "owner", "members", "suspended_at", "closed_at", "created_at"]
    list_filter = [SuspendedFilter]
    search_fields = ["name", "slug", "memberships__user__email"]
    readonly_fields = ["slug", "owner", "suspended_at", "closed_at", "created_at"]
    actions = ["suspend", "resume"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        owner = Membership.objects.filter(account=OuterRef("pk"), role=Role.OWNER.value).values("user__email")
        accounts: QuerySet[Account] = super().get_queryset(request)
        return accounts.annotate(owner_email=Subquery(owner[:1]), number_of_members=Count("memberships"))

    @admin.display(ordering="owner_email")
    def owner(self, account: Any) -> str:
        return str(account.owner_email)

    @admin.display(ordering="number_of_members")
    def members(self, account: Any) -> int:
        return int(account.number_of_members)

    def get_form(self, request: HttpRequest, obj: Account | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = AddAccountForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return ["name", "owner"] if obj is None else ["name", *self.readonly_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return [] if obj is None else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """An account is closed by its Owner and goes after a time of grace."""
        return False

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Account:
        by = maker_for(request, cast(User, request.user))  # admin lets nobody else in
        return services.create_account(name=fields["name"], owner=fields["owner"], by=by)

    def change(self, request: HttpRequest, item: Account) -> object:
        return services.change_account(actor=operator(request, item), name=item.name)

    @admin.action(description="Suspend: every key answers 403", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self.for_each(
            request, queryset, lambda item: services.suspend_account(actor=operator(request, item)), "suspended"
        )

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self.for_each(request, queryset, lambda item: services.resume_account(actor=operator(request, item)), "resumed")


class RoleForm(forms.ModelForm):
    """Offers no second Owner. Django checks the rest: a person is a member of an account once."""

    role = forms.ChoiceField(choices=[(role.value, role.label) for role in Role if role != Role.OWNER])


@admin.register(Membership)
class MembershipAdmin(ServiceAdmin):
    form = RoleForm
    fields = ["account", "user", "role", "joined_at"]
    list_display = ["user", "account", "role", "joined_at"]
    list_filter = ["role"]
    list_select_related = ["user", "account"]
    search_fields = ["user__email", "user__name", "account__name", "account__slug"]
    autocomplete_fields = ["account", "user"]

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        return ["joined_at"] if obj is None else ["account", "user", "joined_at"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_owner(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_owner(obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        listed, counts, missing, protected = super().get_deleted_objects(objs, request)
        owners = [str(item) for item in objs if _is_owner(item)]
        return listed, counts, set() if owners else missing, [*protected, *owners]

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Membership:
        actor = operator(request, fields["account"])
        return services.add_member(actor=actor, user=fields["user"], role=Role(fields["role"]))

    def change(self, request: HttpRequest, item: Membership) -> object:
        return services.change_role(actor=operator(request, item.account), membership=item, role=Role(item.role))

    def remove(self, request: HttpRequest, item: Membership) -> object:
        return services.remove_member(actor=operator(request, item.account), membership=item)


def _is_owner(membership: Membership | None) -> bool:
    return membership is not None and membership.role == Role.OWNER


@admin.register(Invitation)
class InvitationAdmin(ViewOnlyAdmin):
    """Sent by the account's people, whose link it carries. Here it is withdrawn."""

    list_display = ["email", "account", "role", "state", "invited_by", "created_at", "expires_at"]
    list_select_related = ["account"]
    list_filter = ["role"]
    search_fields = ["email", "account__name", "account__slug"]
    fields = ["account", "email", "role", "state", "invited_by", "created_at", "expires_at"]
    date_hierarchy = "created_at"
    actions = ["withdraw"]

    @admin.display
    def state(self, invitation: Invitation) -> str:
        return str(invitation.state.label)

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Who may use the action: nothing else about an invitation can be changed here."""
        return bool(request.user.has_perm("accounts.change_invitation"))

    @admin.action(description="Withdraw", permissions=["end"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        def act(invitation: Invitation) -> object:
            return services.withdraw_invitation(actor=operator(request, invitation.account), invitation=invitation)

        self.for_each(request, queryset.select_related("account"), act, "withdrawn")


# What accounts own ------------------------------------------------------------------------------


@admin.register(Project)
class ProjectAdmin(ServiceAdmin):
    fields = ["account", "name", "created_at"]
    list_display = ["name", "account", "id", "created_at"]
    list_select_related = ["account"]
    search_fields = ["name", "id", "account__name", "account__slug"]
    autocomplete_fields = ["account"]
    date_hierarchy = "created_at"

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return ["created_at"] if obj is None else ["account", "created_at"]

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Project:
        return services.create_project(actor=operator(request, fields["account"]), name=fields["name"])

    def change(self, request: HttpRequest, item: Project) -> object:
        return services.change_project(actor=operator(request, item.account), project=item, name=item.name)

    def remove(self, request: HttpRequest, item: Project) -> object:
        return services.delete_project(actor=operator(request, item.account), project=item)


@admin.register(Deployment)
class DeploymentAdmin(ServiceAdmin):
    """A deployment is what happened: it can be deleted, not rewritten."""

    list_display = ["revision", "release_stage", "project", "account", "user", "recorded_by", "created_at"]
    list_select_related = ["project__account"]
    list_filter = ["release_stage"]
    search_fields = ["revision", "release_stage", "user", "project__name", "project__account__name"]
    date_hierarchy = "created_at"

    @admin.display(ordering="project__account__name")
    def account(self, deployment: Deployment) -> Account:
        return deployment.project.account

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def remove(self, request: HttpRequest, item: Deployment) -> object:
        return services.delete_deployment(actor=operator(request, item.project.account), deployment=item)


class EventFilter(admin.SimpleListFilter):
    """Every event there is, without asking the whole table which there are."""

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
class AuditEventAdmin(ViewOnlyAdmin):
    list_display = ["at", "account", "event", "actor_label", "target_label", "address", "request_id"]
    list_select_related = ["account"]
    list_filter = [EventFilter, ActorKindFilter]
    search_fields = ["actor_label", "target_label", "target_id", "request_id", "account__name", "account__slug"]
    date_hierarchy = "at"
