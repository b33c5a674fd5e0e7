"""allauth's sign-up, equally slow for a registered address and for a new one."""

import uuid
from typing import Any

from allauth.account import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from .models import User


class SignupForm(forms.SignupForm):
    """allauth gives both the same response and mails both, but a registered one takes less time."""

    def try_save(self, request: HttpRequest) -> tuple[Any, HttpResponse | None]:
        if self.account_already_exists:
            self._simulate_signup(request)
        user, response = super().try_save(request)
        return user, response

    def _simulate_signup(self, request: HttpRequest) -> None:
        """Do the work of a sign-up, then roll it back."""
        User().set_password(self.cleaned_data["password1"])  # slow, so outside the transaction
        with transaction.atomic():
            user = User.objects.create_user(email=f"{uuid.uuid4().hex}@invalid")
            self.custom_signup(request, user)
            transaction.set_rollback(True)
