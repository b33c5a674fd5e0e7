"""allauth's password forms. Failures are recorded, and strangers can't use up the limits of known devices."""

from typing import Any

from allauth.account import forms as account
from allauth.core import context
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from . import devices, sign_in
from .models import User


class ChangePasswordForm(account.ChangePasswordForm):
    """allauth limits attempts by user."""

    def clean_oldpassword(self) -> Any:
        try:
            return super().clean_oldpassword()
        except ValidationError:
            assert isinstance(self.user, User)
            sign_in.failed(context.request, self.user, "password")
            raise


class ResetPasswordForm(account.ResetPasswordForm):
    def clean_email(self) -> str:
        """Raises `ValidationError` if the client's address has sent too many requests, for any user."""
        email = str(super().clean_email())
        if self._count("reset", email) is None:
            raise ValidationError("Too many requests from your network. Try again in a minute.")
        return email

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Mail a link. Over the limit, send nothing and show no error: earlier links still work.

        So a stranger's repeated requests can neither fill a mailbox nor prevent its owner from resetting the password.
        """
        email = str(self.cleaned_data["email"])
        sign_in.reset_requested(request, email)
        if self._count("reset_mail", email) is None:
            return email
        return str(super().save(request, **kwargs))

    def _count(self, action: str, email: str) -> Any:
        user = devices.known_user(context.request, email)
        return sign_in.count(context.request, action, key=email.lower(), user=user)
