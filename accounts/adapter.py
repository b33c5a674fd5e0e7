"""allauth's adapters: how this product handles signing in and second factors."""

from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from . import decorators, devices, encryption, factors, fields, links, mail, outbox, sign_in, validators
from .models import User


class AccountAdapter(DefaultAccountAdapter):
    """How this product handles signing up, signing in, mail and passwords."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or password is incorrect.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002  as allauth calls it
        return bool(settings.SIGNUP_OPEN)

    def clean_email(self, email: str) -> str:
        """Every allauth form that stores an address or sends mail to it calls this."""
        validators.no_secret(email)
        if not mail.is_deliverable(email):
            raise ValidationError("Enter a valid email address.")
        return email

    def is_safe_url(self, url: str | None) -> bool:
        """Whether to redirect there after signing in. allauth raises for a malformed URL such as `http://[`."""
        try:
            return url is not None and super().is_safe_url(url)
        except ValueError:
            return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that TrustedProxiesMiddleware determined. allauth's limits count by it."""
        return str(request.META["REMOTE_ADDR"])

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Ask for the password again if the latest authentication is old. allauth alone ignores the sign-in."""
        return super().is_reauthentication_required(app=app, **kwargs) and not decorators.is_recently_authenticated(
            self.request
        )

    def render_mail(
        self,
        template_prefix: str,
        email: str | list[str],
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> EmailMessage:
        """allauth builds links from the `Host` of the request: replace them by `links.in_mail`."""
        addresses = {
            name: links.in_mail(urlsplit(value).path, self.request)
            for name, value in context.items()
            if name.endswith("_url")
        }
        context = {**context, **addresses, "home": links.in_mail("/", self.request)}
        with timezone.override(UTC):
            return super().render_mail(template_prefix, email, context, headers)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Put allauth's mail into the outbox, like all our mail."""
        message = self.render_mail(template_prefix, email, {"request": self.request, "email": email, **context})
        kind = template_prefix.rpartition("/")[2]
        outbox.add(email, str(message.subject), str(message.body), kind=kind, lifetime=mail.LIFETIME)

    def post_login(self, request: HttpRequest, user: AbstractBaseUser, *, signup: bool, **kwargs: Any) -> HttpResponse:
        """Notify the user by mail of a sign-in from a new device.

        Also record a sign-in by a link in a mail: allauth records only passwords and second factors.
        """
        assert isinstance(user, User)
        if not get_authentication_records(request, user):
            record_authentication(request, user, method="link")
        response = super().post_login(request, user, signup=signup, **kwargs)
        if not devices.is_known(request, user) and not signup:
            context: dict[str, Any] = {
                "user": user,
                "at": timezone.now(),
                "address": self.get_client_ip(request),
                "agent": self.get_http_user_agent(request)[: fields.AGENT_LENGTH],
            }
            mail.notify([user.email], "new_device", **context)
        devices.remember(request, response, user)
        return response

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Limit guesses at passwords. `authenticate` undoes the count if the password is correct.

        allauth would count all browsers together, but each name and port in `Host` separately.
        Raises `ValidationError` over the limit, whether or not a user has the address.
        """
        email = credentials.get("email", "").lower()
        user = devices.known_user(request, email)
        counted = sign_in.count(request, "sign_in", key=email, user=user)
        self._login_failed_rl_usage = counted and sign_in.count(request, "guess", key=email, user=user)
        if self._login_failed_rl_usage is None:
            sign_in.locked_out(request, email, "password")
            raise self.validation_error("too_many_login_attempts")

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        sign_in.failed(request, credentials.get("email", ""), "password")

    def respond_user_inactive(self, request: HttpRequest, user: AbstractBaseUser) -> HttpResponse:
        assert isinstance(user, User)
        sign_in.failed(request, user, "deactivated")
        return super().respond_user_inactive(request, user)

    @transaction.atomic
    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        assert isinstance(user, User)
        super().login(request, user)
        sign_in.signed_in(request, user)

    @transaction.atomic
    def logout(self, request: HttpRequest) -> None:
        """Django's signal records it, as for admin's sign-out."""
        super().logout(request)

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        assert isinstance(user, User)
        user.set_password(password)  # slow (a third of a second), so outside the transaction
        with transaction.atomic():
            user.save()
            sign_in.password_set(self.request, user)


class MFAAdapter(DefaultMFAAdapter):
    """How this product handles second factors."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is incorrect or has expired. Enter a new one.",
        "unverified_email": "Confirm all your e-mail addresses first, or remove those you don't use.",
        "cannot_generate_recovery_codes": "Add an authenticator app or a passkey first.",
    }

    def generate_authenticator_name(self, user: AbstractBaseUser, type: Authenticator.Type) -> str:
        number = Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

    def encrypt(self, text: str) -> str:
        """allauth encrypts the secrets of authenticator apps and recovery codes with this."""
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Raises `encryption.Unreadable`, whose message is shown as an error page."""
        return factors.read(encrypted_text)

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": settings.MFA_TOTP_ISSUER}
