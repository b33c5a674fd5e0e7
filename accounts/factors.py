"""Stored second factors: which fields are secret, whether they can be decrypted, and re-encryption.

The secret of an authenticator app and the seed of recovery codes are encrypted. A passkey needs no encryption: only
its public key is stored.
"""

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from . import encryption
from .encryption import Unreadable
from .sessions import SIGNED_IN_AT

#: The key of a factor's secret in its `data`, by type.
SECRETS = {Authenticator.Type.TOTP.value: "secret", Authenticator.Type.RECOVERY_CODES.value: "seed"}

#: How a message to the user names a factor.
NAMES = {
    Authenticator.Type.TOTP.value: "your authenticator app's secret",
    Authenticator.Type.RECOVERY_CODES.value: "your recovery codes",
}

#: What sign-in asks for. Recovery codes can replace them.
FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]

#: The method that allauth records in the session for one of them, or for a recovery code.
MFA_METHOD = "mfa"

#: Factors that are locked and written at a time.
BATCH = 500


def has_second_factor(user: Any) -> bool:
    """Whether signing in asks for more than a password. Recovery codes alone don't count."""
    return bool(is_mfa_enabled(user, FACTORS))


def session_has_second_factor(request: HttpRequest) -> bool:
    """Whether this session used a second factor, or started when the user had one, so that sign-in asked for it.

    A session that started with a password alone may be an attacker's, so a factor that was added later doesn't count.
    """
    if not request.user.is_authenticated:
        return False
    oldest = Authenticator.objects.filter(user=request.user.pk, type__in=FACTORS).order_by("created_at").first()
    if oldest is None:
        return False
    if any(record["method"] == MFA_METHOD for record in get_authentication_records(request, request.user)):
        return True
    return bool(oldest.created_at.timestamp() <= request.session.get(SIGNED_IN_AT, 0.0))


def reauthentication_page(user: Any) -> str:
    """The name of the page that asks the signed-in user for a second factor."""
    has_app = is_mfa_enabled(user, [Authenticator.Type.TOTP])
    return "mfa_reauthenticate" if has_app else "mfa_reauthenticate_webauthn"


@receiver(post_save, sender=Authenticator)
def record_proof(instance: Authenticator, created: bool, **kwargs: Any) -> None:
    """Setting up a factor in a session counts as using it."""
    request = context.request
    if created and instance.type in FACTORS and request is not None and request.user.pk == instance.user_id:
        record_authentication(request, request.user, method=MFA_METHOD, type=instance.type, id=instance.pk)


def read(stored: str) -> str:
    """A secret as allauth uses it. Also reads secrets that an older version stored unencrypted.

    Raises `Unreadable` with a message for the user.
    """
    if _is_plain(stored):
        return stored
    try:
        return encryption.decrypt(stored)
    except Unreadable as error:
        raise Unreadable(explain(NAMES.values())) from error


def explain(names: Iterable[str]) -> str:
    return (
        f"This server can no longer read {' or '.join(names)}. "
        "Ask the operator to reset your two-factor authentication."
    )


def is_readable(factor: Authenticator) -> bool:
    try:
        if factor.type in SECRETS:
            read(_stored(factor))
    except Unreadable:
        return False
    return True


def with_secrets() -> "QuerySet[Authenticator]":
    """The factors with a stored secret."""
    stored: QuerySet[Authenticator] = Authenticator.objects.filter(type__in=SECRETS)
    return stored


def _stored(factor: Authenticator) -> str:
    """The stored text of a secret. Raises `Unreadable` if there is none."""
    stored = factor.data.get(SECRETS[factor.type]) if isinstance(factor.data, dict) else None
    if not isinstance(stored, str):
        raise Unreadable(explain(NAMES.values()))
    return stored


def _is_plain(stored: str) -> bool:
    """Whether it has the format that allauth generates: Base32 of whole bytes, or the 80 digits of a seed."""
    if re.fullmatch(r"[0-9a-f]{80}", stored):
        return True
    try:
        return len(base64.b32decode(stored)) >= 10  # bytes: RFC 4226, 4 requires 16, but some apps use 10
    except ValueError:
        return False


# Re-encryption ----------------------------------------------------------------------------------


class Rewritten(NamedTuple):
    changed: int
    unreadable: list[Authenticator]


def reencrypted(stored: str) -> str:
    """The secret encrypted with the newest key; unchanged if it already is. Raises `Unreadable`."""
    return stored if encryption.is_current(stored) else encryption.encrypt(read(stored))


def rewrite(factors: "QuerySet[Authenticator]", change: Callable[[str], str]) -> Rewritten:
    """Change each secret in place. Each batch is locked, so this is safe while users sign in.

    Secrets that can't be decrypted stay unchanged. Each batch has its own transaction, so it can be stopped and rerun.
    """
    changed, unreadable, last = 0, [], 0
    factors = factors.filter(type__in=SECRETS).order_by("pk")
    while ids := list(factors.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH]):
        last = ids[-1]
        with transaction.atomic(using=factors.db):
            different = []
            for factor in factors.filter(pk__in=ids).select_for_update():
                try:
                    stored = _stored(factor)
                    secret = change(stored)
                except Unreadable:
                    unreadable.append(factor)
                    continue
                if secret != stored:
                    factor.data[SECRETS[factor.type]] = secret
                    different.append(factor)
            factors.bulk_update(different, ["data"], batch_size=100)
        changed += len(different)
    return Rewritten(changed, unreadable)
