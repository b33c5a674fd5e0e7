"""What people type."""

from django import forms
from django.http import HttpRequest

from . import services
from .models import User


class SignupForm(forms.Form):
    """What sign-up asks beside e-mail and password: the account that the newcomer will own."""

    account_name = forms.CharField(label="Account name", max_length=100)

    def signup(self, request: HttpRequest, user: User) -> None:
        services.create_account(name=self.cleaned_data["account_name"], owner=user)
