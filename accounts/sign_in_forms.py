"""allauth's forms for passwords: failures are told, and strangers use up no limit of a known device."""

from typing import Any

from allauth.account import forms as account
from allauth.core import context
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from . import devices, sign_in
from .models import User


class ChangePasswordForm(account.ChangePasswordForm):
    """allauth limits it by the session's person."""

    def clean_oldpassword(self) -> Any:
        try:
            return super().clean_oldpassword()
        except ValidationError:
            assert isinstance(self.user, User)
            sign_in.failed(context.request, self.user, "password")
            raise


class ResetPasswordForm(account.ResetPasswordForm):
    def clean_email(self) -> str:
        """Raises `ValidationError` where the client's address has asked too often, whomever for."""
        email = str(super().clean_email())
        if self._count("reset", email) is None:
            raise ValidationError("Too many requests from your network. Try again in a minute.")
        return email

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Mail a link. Past the limit none is sent and none refused: the links that were mailed before it still work.

        So a stranger who asks again and again neither fills a mailbox nor keeps its owner from a new password.
        """
        email = str(self.cleaned_data["email"])
        sign_in.reset_requested(request, email)
        if self._count("reset_mail", email) is None:
            return email
        return str(super().save(request, **kwargs))

    def _count(self, action: str, email: str) -> Any:
        user = devices.known_user(context.request, email)
        return sign_in.count(context.request, action, key=email.lower(), user=user)
