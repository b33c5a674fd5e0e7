"""allauth's passkey forms, with checks of malformed JSON that allauth lacks."""

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

#: A passkey's name may be as long as a user's.
NAME_LENGTH = User._meta.get_field("name").max_length


class CredentialField(forms.JSONField):
    """Django's field crashes on numbers with too many digits and on deep nesting."""

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
        """Refuse malformed credentials.

        allauth stores a falsy passkey, such as 0, without a check. The user would then count as having two-factor
        authentication, and get an error wherever the passkey is read. Other malformed passkeys make allauth crash.
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
        """No limit by user: a passkey can't be guessed, and the client chooses the user that it names."""
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
