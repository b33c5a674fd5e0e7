"""allauth's forms for authenticator apps and recovery codes, changed to work with encrypted secrets."""

from typing import Any

from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as base
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView as AllauthsView
from allauth.mfa.totp import forms as totp
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, get_totp_secret
from django.core.exceptions import ValidationError

from . import encryption, factors, sign_in
from .encryption import Unreadable


class ActivateForm(totp.ActivateTOTPForm):
    """Encrypts the secret of an app that is being set up, because sessions are stored in the database."""

    secret: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if encryption.is_encrypted(self.secret):
            try:
                self.secret = encryption.decrypt(self.secret)
            except Unreadable:  # the encryption keys have changed: show the page again, with a new secret
                self.secret = get_totp_secret(regenerate=True)
        context.request.session[SECRET_SESSION_KEY] = encryption.encrypt(self.secret)


class _CodeForm(base.BaseAuthenticateForm):
    """Skips factors that this server can't decrypt, so that another can match. If none matches, it names them."""

    def clean_code(self) -> str:
        with sign_in.attempt(context.request, self.user, "code"):
            return self._matching_code()

    def _matching_code(self) -> str:
        code: str = self.cleaned_data["code"]
        mine = list(factors.with_secrets().filter(user=self.user).order_by("-type"))  # the app first
        readable = [factor for factor in mine if factors.is_readable(factor)]
        for factor in readable:
            if factor.wrap().validate_code(code):
                factor.user = self.user
                self.authenticator = factor
                return code
        if mine:
            self._emit_authentication_failed(mine[0])
        unreadable = [factors.NAMES[factor.type] for factor in mine if factor not in readable]
        problems = [get_adapter().validation_error("incorrect_code")] if readable or not unreadable else []
        if unreadable:
            problems.append(ValidationError(factors.explain(unreadable)))
        raise ValidationError(problems)


class AuthenticateForm(_CodeForm, base.AuthenticateForm):
    pass


class ReauthenticateForm(_CodeForm, base.ReauthenticateForm):
    pass


class GenerateRecoveryCodesView(AllauthsView):
    """Also replaces codes that can't be decrypted, so that signed-in users don't need the operator."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        try:
            return dict(super().get_context_data(**kwargs))
        except Unreadable:
            return {"form": self.get_form(), "unused_code_count": 0, **kwargs}
