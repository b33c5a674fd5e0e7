"""Admin of users, memberships and invitations."""

from typing import Any

from allauth.account.admin import EmailAddressAdmin as AllauthEmailAddressAdmin
from allauth.account.models import EmailAddress
from allauth.core import context
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, BaseUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from .. import services, sign_in
from ..decorators import initiator_for, user_of
from ..forms import ChangeModelForm
from ..models import Invitation, Membership, User
from ..policy import Role
from .base import OperatorAdmin, ServiceAdmin, ViewOnlyAdmin, operator
from .changelist import since


class _EmailForm(forms.ModelForm):
    def clean_email(self) -> str:
        """Refuse an address that belongs to another user, also as a secondary address."""
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


class PasswordForm(AdminPasswordChangeForm):
    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        user: User = super().save(commit)
        sign_in.password_set(context.request, user)
        return user


@admin.register(User)
class UserAdmin(OperatorAdmin, DjangoUserAdmin):
    form = ChangeUserForm
    add_form = AddUserForm
    change_password_form = PasswordForm
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
    actions = ["reset_two_factor"]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Treat the address as verified, since an operator entered it. A new address replaces the old one."""
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            EmailAddress.objects.filter(user=obj, primary=True).delete()
            EmailAddress.objects.update_or_create(
                user=obj, email=obj.email, defaults={"verified": True, "primary": True}
            )
        if change and "email" in form.changed_data:
            sign_in.email_set(request, obj, before=form.initial["email"])

    @admin.action(description="Reset two-factor: delete the factors, end the sessions", permissions=["change"])
    def reset_two_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        by = initiator_for(request, user_of(request))
        self.for_each(request, queryset, lambda user: services.reset_two_factor(user=user, by=by), "reset")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Every account has exactly one Owner, so an Owner can't be deleted."""
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


admin.site.unregister([Group, EmailAddress])


@admin.register(Group)
class GroupAdmin(OperatorAdmin, DjangoGroupAdmin):
    pass


@admin.register(EmailAddress)
class EmailAddressAdmin(OperatorAdmin, AllauthEmailAddressAdmin):
    pass


class RoleForm(ChangeModelForm):
    """Doesn't offer Owner: an account has exactly one. Django checks that a user is a member only once."""

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

    def change(self, request: HttpRequest, item: Membership, changes: dict[str, Any]) -> object:
        role = Role(changes["role"])
        return services.change_role(actor=operator(request, item.account), membership=item, role=role)

    def remove(self, request: HttpRequest, item: Membership) -> object:
        return services.remove_member(actor=operator(request, item.account), membership=item)


def _is_owner(membership: Membership | None) -> bool:
    return membership is not None and membership.role == Role.OWNER


@admin.register(Invitation)
class InvitationAdmin(ViewOnlyAdmin):
    """Members send invitations; operators can only withdraw them here."""

    list_display = ["email", "account", "role", "state", "invited_by", "created_at", "expires_at"]
    list_select_related = ["account"]
    list_filter = [since("created_at"), "role"]
    search_fields = ["email", "account__name", "account__slug"]
    fields = ["account", "email", "role", "state", "invited_by", "created_at", "expires_at"]
    actions = ["withdraw"]

    @admin.display
    def state(self, invitation: Invitation) -> str:
        return str(invitation.state.label)

    def has_withdraw_permission(self, request: HttpRequest) -> bool:
        """Who may use the action. Nothing else of an invitation can be changed here."""
        return bool(request.user.has_perm("accounts.change_invitation"))

    @admin.action(description="Withdraw", permissions=["withdraw"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        def act(invitation: Invitation) -> object:
            return services.withdraw_invitation(actor=operator(request, invitation.account), invitation=invitation)

        self.for_each(request, queryset.select_related("account"), act, "withdrawn")
