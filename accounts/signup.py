"""Signing up, as allauth has it, but as slow for an address that is taken as for a new one."""

import uuid
from typing import Any

from allauth.account import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from .models import User


class SignupForm(forms.SignupForm):
    """allauth answers both alike and mails to both; what it leaves out for a taken address tells who is registered."""

    def try_save(self, request: HttpRequest) -> tuple[Any, HttpResponse | None]:
        if self.account_already_exists:
            self._simulate_signup(request)
        user, response = super().try_save(request)
        return user, response

    def _simulate_signup(self, request: HttpRequest) -> None:
        """Do what a newcomer costs, and keep nothing of it."""
        User().set_password(self.cleaned_data["password1"])  # before the transaction: it takes long
        with transaction.atomic():
            user = User.objects.create_user(email=f"{uuid.uuid4().hex}@invalid")
            self.custom_signup(request, user)
            transaction.set_rollback(True)
