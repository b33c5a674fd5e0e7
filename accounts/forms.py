"""What people type."""

from django import forms
from django.http import HttpRequest

from . import services
from .models import User


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
