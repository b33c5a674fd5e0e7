"""What people type."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.db.models import QuerySet
from django.http import HttpRequest

from . import services
from .errors import DomainError
from .models import Account, Membership, User
from .policy import Role


def status_of(form: forms.BaseForm) -> int:
    """A form that was refused is no success: 422, and htmx swaps it in all the same."""
    return 422 if form.errors else 200


def refuse(form: forms.BaseForm, error: DomainError) -> None:
    """Show what a service refused at the fields that it is about."""
    named = {field: sentences for field, sentences in (error.errors or {}).items() if field in form.fields}
    for field, sentences in named.items():
        for sentence in sentences:
            form.add_error(field, sentence)
    if not named:
        form.add_error(None, error.message)


class Theme:
    """Light, dark, or as the reader's system has it. Kept in a cookie, so that a page is right from its first byte."""

    COOKIE = "theme"
    SYSTEM = "system"
    LABELS = {SYSTEM: "As my system", "light": "Light", "dark": "Dark"}
    FIXED = ("light", "dark")


class SignupForm(forms.Form):
    """What sign-up asks beside e-mail and password: the account that the newcomer will own."""

    account_name = forms.CharField(
        label="Account name", max_length=100, help_text="Your company or team. You will be its Owner."
    )

    def signup(self, request: HttpRequest, user: User) -> None:
        services.create_account(name=self.cleaned_data["account_name"], owner=user)


class NewAccountForm(forms.Form):
    name = forms.CharField(
        label="Account name", max_length=100, help_text="Your company or team. You will be its Owner."
    )


class AccountForm(forms.Form):
    name = forms.CharField(
        label="Account name",
        max_length=100,
        help_text="Everybody in the account sees it. Addresses of pages stay as they are.",
    )


class ProjectForm(forms.Form):
    name = forms.CharField(
        label="Project name", max_length=100, help_text="What you deploy: a service, a site, an app."
    )


class DeploymentForm(forms.Form):
    revision = forms.CharField(max_length=200, help_text="A commit, a tag or a version.")
    release_stage = forms.CharField(max_length=100, initial="production", help_text="Such as production or staging.")
    user = forms.CharField(label="Deployed by", max_length=200, required=False)
    changes = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea({"rows": 3}), help_text="What is new, for people."
    )


class ProfileForm(forms.Form):
    name = forms.CharField(
        label="Your name",
        max_length=100,
        required=False,
        widget=forms.TextInput({"autocomplete": "name"}),
        help_text="Shown to the other members of your accounts.",
    )


class ThemeForm(forms.Form):
    theme = forms.ChoiceField(label="Theme", choices=Theme.LABELS, widget=forms.RadioSelect)


class RoleForm(forms.Form):
    role = forms.ChoiceField(
        choices=[(role.value, role.label) for role in Role if role != Role.OWNER],
        widget=forms.RadioSelect,
        error_messages={"required": "Choose a role."},
    )


class InviteForm(RoleForm):
    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput({"autofocus": True, "autocomplete": "off"}),
        help_text="We send a link that works once, for 7 days.",
    )

    field_order = ("email", "role")


class JoinForm(forms.Form):
    """What a newcomer gives to accept an invitation; the link has proved the address."""

    name = forms.CharField(
        label="Your name", max_length=100, required=False, widget=forms.TextInput({"autocomplete": "name"})
    )
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text="At least 10 characters, and none that others guess.",
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, User(email=self.email, name=self.cleaned_data.get("name", "")))
        return password


class TwoFactorForm(forms.Form):
    requires_two_factor = forms.BooleanField(required=False)


class MemberChoiceField(forms.ModelChoiceField):  # type: ignore[type-arg]  # not subscriptable at run time
    def label_from_instance(self, obj: Any) -> str:
        user = obj.user
        return f"{f'{user.name}, ' if user.name else ''}{user.email} ({obj.get_role_display()})"


class OfferForm(forms.Form):
    """To whom the account is offered, and its name, typed out: this is not for a slip of the hand."""

    member = MemberChoiceField(label="New Owner", queryset=Membership.objects.none(), empty_label="Choose a member")
    name = forms.CharField(label="Account name", widget=forms.TextInput({"autocomplete": "off"}))

    def __init__(self, *args: Any, members: QuerySet[Membership], account: Account, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.account = account
        self.fields["member"].queryset = members  # type: ignore[attr-defined]  # a ModelChoiceField

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.account.name:
            raise forms.ValidationError("Type the name as it stands above.")
        return name


class CloseForm(forms.Form):
    name = forms.CharField(label="Account name", widget=forms.TextInput({"autocomplete": "off"}))
