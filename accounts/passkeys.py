"""Passkeys: what allauth leaves open about the JSON that a browser, or somebody else, sends."""

from typing import Any, cast

from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn import forms as webauthn
from allauth.mfa.webauthn.internal import auth
from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput

from . import sign_in
from .models import User
from .validators import LINE

#: As many as a name has anywhere here.
NAME_LENGTH = User._meta.get_field("name").max_length


class CredentialField(forms.JSONField):
    """Django's raises for a number of many digits and for endless nesting."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):
            raise get_adapter().validation_error("incorrect_code") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)


class AddForm(webauthn.AddWebAuthnForm):
    name = forms.CharField(required=False, max_length=NAME_LENGTH, validators=LINE)
    credential = CredentialField()

    def clean_credential(self) -> Any:
        """Refuse what is no credential.

        allauth doesn't look at one that is false, such as 0, and adds it all the same: who sends that would
        count as having two-factor, and meet an error wherever the passkey is read. Others make it raise.
        """
        credential = self.cleaned_data["credential"]
        try:
            auth.parse_registration_response(credential)
        except (KeyError, ValueError):
            raise get_adapter().validation_error("incorrect_code") from None
        return credential


class EditForm(webauthn.EditWebAuthnForm):
    name = forms.CharField(max_length=NAME_LENGTH, validators=LINE)


class AuthenticateForm(webauthn.AuthenticateWebAuthnForm):
    credential = CredentialField()

    def clean_credential(self) -> Any:
        with sign_in.attempt(context.request, self.user, "passkey"):
            return super().clean_credential()


class ReauthenticateForm(webauthn.ReauthenticateWebAuthnForm):
    credential = CredentialField()

    def clean_credential(self) -> Any:
        with sign_in.attempt(context.request, self.user, "passkey"):
            return super().clean_credential()


class LoginForm(webauthn.LoginWebAuthnForm):
    credential = CredentialField()

    def clean_credential(self) -> Any:
        """Not limited by person: a passkey can't be guessed, and whose it is stands in what a stranger may write."""
        try:
            return super().clean_credential()
        except ValidationError:
            sign_in.failed(context.request, _claimed_person(self.cleaned_data["credential"]), "passkey")
            raise


def _claimed_person(credential: Any) -> User | str:
    try:
        return cast(User, auth.extract_user_from_response(credential))
    except (ValidationError, AttributeError, OverflowError):
        return ""
