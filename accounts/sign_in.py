"""Limits and records sign-ins: a line in the log, and an event in the audit log of each of the user's accounts.

Our own services record their changes themselves. allauth handles sign-ins, passwords, second factors and addresses,
and reports them only by signals and adapter methods. This module receives all of them.

A failed attempt changes nothing, so its event has no transaction to share. The user is looked up and the event recorded
after the response is sent. Otherwise the response time would show whether the address is registered. An unknown
address is logged without its text, because it may be a password typed into the wrong field.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from allauth.account import signals as account_signals
from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.userkit import filter_users_by_email
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.core.internal import ratelimit
from allauth.mfa.models import Authenticator
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ValidationError
from django.core.signals import request_finished
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from . import audit, devices, policy
from .audit import Changes, Event
from .context import NO_REQUEST, RequestContext
from .models import Membership, User
from .policy import Actor, ActorKind, Permission

logger = logging.getLogger(__name__)

#: The actor of attempts by somebody who is not signed in.
SOMEONE = "Someone"

PROOFS = {
    "password": "password",
    "password_reset": "reset link",
    Authenticator.Type.TOTP.value: "authenticator app",
    Authenticator.Type.WEBAUTHN.value: "passkey",
    Authenticator.Type.RECOVERY_CODES.value: "recovery code",
}


# Limits -----------------------------------------------------------------------------------------


def count(request: HttpRequest, action: str, *, key: str, user: User | None) -> Any:
    """Count an attempt. Returns a usage that can be rolled back, or None over the limit in `ACCOUNT_RATE_LIMITS`.

    A browser that the user has signed in from before has its own limit, so others can't use it up. All other browsers
    share the limit of `key` and the limit of their address.
    """
    own = devices.bucket(request, user)
    if own is not None:
        action, key = f"{action}_on_known_device", own
    return ratelimit.consume(request, app="allauth.account", action=action, key=key)


@contextmanager
def attempt(request: HttpRequest, user: User, proof: str) -> Iterator[None]:
    """Limit and record the check of a second factor, or of another credential of a known user.

    Raises `ValidationError` over the limit, or from the block.
    """
    usage = count(request, "guess", key=f"person {user.pk}", user=user)
    if usage is None:
        locked_out(request, user, proof)
        raise get_adapter().validation_error("too_many_login_attempts")
    try:
        yield
    except ValidationError:
        failed(request, user, proof, second=True)
        raise
    usage.rollback()


# Events -----------------------------------------------------------------------------------------


def signed_in(request: HttpRequest, user: User) -> None:
    """Record a sign-in and its methods, in the transaction that creates the session."""
    records = get_authentication_records(request, user)
    kinds = [record.get("type") or record["method"] for record in records]
    _log(Event.MEMBER_SIGNED_IN, user, request, ", ".join(PROOFS.get(kind, "link") for kind in kinds) or "link")
    _record(Event.MEMBER_SIGNED_IN, user, request, by=user)


def password_set(request: HttpRequest, user: User) -> None:
    """Record a new password: a change by the signed-in user or an operator, or a reset by a link in a mail.

    A reset clears the limits on attempts, so the user can sign in immediately, even after many failures by others.
    """
    event = Event.MEMBER_PASSWORD_CHANGED if _is_signed_in(request) else Event.MEMBER_PASSWORD_RESET
    if event == Event.MEMBER_PASSWORD_RESET:
        for email in EmailAddress.objects.filter(user=user).values_list("email", flat=True):
            ratelimit.clear(request, app="allauth.account", action="guess", key=email.lower())
        if own := devices.bucket(request, user):
            ratelimit.clear(request, app="allauth.account", action="guess_on_known_device", key=own)
    _report(event, user, request)


def email_set(request: HttpRequest, user: User, *, before: str | None) -> None:
    """Record a new address to sign in with."""
    _report(Event.MEMBER_EMAIL_CHANGED, user, request, changes={"email": (before, user.email)})


def failed(request: HttpRequest, person: User | str, proof: str, *, second: bool = False) -> None:
    """Record a wrong credential: of a signed-in user, as a second factor, or as the first.

    `person` is the typed address if the user is unknown.
    """
    if _is_signed_in(request):
        event = Event.MEMBER_REAUTHENTICATION_FAILED
    else:
        event = Event.MEMBER_TWO_FACTOR_FAILED if second else Event.MEMBER_SIGN_IN_FAILED
    _report_later(event, person, request, proof, limit="failure_event")


def locked_out(request: HttpRequest, person: User | str, proof: str) -> None:
    """Record that a credential was not checked, because there were too many wrong ones before."""
    _report_later(Event.MEMBER_LOCKED_OUT, person, request, proof, limit="lock_out_event")


def reset_requested(request: HttpRequest, email: str) -> None:
    """Record that somebody requested a password reset."""
    event = Event.MEMBER_PASSWORD_RESET_REQUESTED
    _report_later(event, email, request, limit="failure_event", level=logging.INFO)


@receiver(user_logged_out)
def signed_out(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        _log(Event.MEMBER_SIGNED_OUT, user, request)
        _record(Event.MEMBER_SIGNED_OUT, user, request, by=user)


@receiver(post_save, sender=Authenticator)
def factor_added(instance: Authenticator, created: bool, raw: bool, **kwargs: Any) -> None:
    """Not for rows from `loaddata`, which loads their events too."""
    events: dict[str, Event] = {
        Authenticator.Type.TOTP: Event.MEMBER_TWO_FACTOR_ENABLED,
        Authenticator.Type.WEBAUTHN: Event.MEMBER_PASSKEY_ADDED,
        Authenticator.Type.RECOVERY_CODES: Event.MEMBER_RECOVERY_CODES_GENERATED,
    }
    if created and not raw:
        _report(events[instance.type], instance.user, context.request)


@receiver(post_delete, sender=Authenticator)
def factor_removed(instance: Authenticator, **kwargs: Any) -> None:
    """Recovery codes are deleted with the last factor, or replaced by new codes. Both changes have their own events."""
    events: dict[str, Event] = {
        Authenticator.Type.TOTP: Event.MEMBER_TWO_FACTOR_DISABLED,
        Authenticator.Type.WEBAUTHN: Event.MEMBER_PASSKEY_REMOVED,
    }
    if instance.type in events:
        _report(events[instance.type], instance.user, context.request)


@receiver(account_signals.email_changed)
def email_changed(request: HttpRequest, user: User, from_email_address: Any, **kwargs: Any) -> None:
    email_set(request, user, before=from_email_address.email if from_email_address else None)


@receiver(account_signals.email_added)
def email_added(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Without the address, which is private until the user signs in with it."""
    _report(Event.MEMBER_EMAIL_ADDED, user, request)


@receiver(account_signals.email_removed)
def email_removed(request: HttpRequest, user: User, **kwargs: Any) -> None:
    _report(Event.MEMBER_EMAIL_REMOVED, user, request)


# Recording --------------------------------------------------------------------------------------


def _log(
    event: Event, user: User | None, request: HttpRequest | None, proof: str = "", *, level: int = logging.INFO
) -> None:
    who = user.email if user is not None else "an unknown address"
    where = _context(request).address or "this server"
    logger.log(level, "%s: %s from %s%s", event.value, who, where, f" ({proof})" if proof else "")


def _report(event: Event, user: User, request: HttpRequest | None, *, changes: Changes | None = None) -> None:
    """Record a change by the signed-in user, who is the user themselves or an operator in admin.

    If nobody is signed in, the user followed a link in a mail. Without a request, it was a command.
    """
    by = user if request is not None else None
    if request is not None and _is_signed_in(request):
        by = cast(User, request.user)
    _log(event, user, request, f"by {by.email}" if by is not None and by.pk != user.pk else "")
    _record(event, user, request, by=by, changes=changes)


@transaction.atomic
def _record(
    event: Event, user: User, request: HttpRequest | None, *, by: User | None, changes: Changes | None = None
) -> None:
    """Write the event to the log of each open account that the user is a member of."""
    memberships = Membership.objects.filter(user=user, account__closed_at=None).select_related("account", "user")
    for membership in memberships:
        audit.record(actor=_actor(membership, request, by), event=event, target=membership.target, changes=changes)


def _report_later(
    event: Event, person: User | str, request: HttpRequest, proof: str = "", *, limit: str, level: int = logging.WARNING
) -> None:
    """Record an event that anybody can cause, no more often than `limit` allows."""
    is_signed_in = _is_signed_in(request)

    def report() -> None:
        user = _user_with_email(person) if isinstance(person, str) else person
        _log(event, user, request, proof, level=level)
        if user is not None:
            key = f"{event}:{devices.bucket(request, user) or user.pk}"
            if ratelimit.consume(request, app="allauth.account", action=limit, key=key):
                _record(event, user, request, by=user if is_signed_in else None)

    _run_after_response(report)


def _user_with_email(email: str) -> User | None:
    """The user with this address, found as allauth's sign-in finds them."""
    users = filter_users_by_email(email, prefer_verified=True, for_login=True)
    return users[0] if users else None


def _actor(membership: Membership, request: HttpRequest | None, by: User | None) -> Actor:
    account = membership.account.ref
    if by is None:
        return policy.system(account, SOMEONE if request else "System", context=_context(request))
    # Recording needs no permission.
    permissions: frozenset[Permission] = frozenset()
    return Actor(ActorKind.PERSON, str(by.pk), by.email, account, permissions, context=_context(request))


def _context(request: HttpRequest | None) -> RequestContext:
    return NO_REQUEST if request is None else RequestContext.of(request)


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(request.user.is_authenticated)


# After the response -----------------------------------------------------------------------------

#: Tasks that this thread runs after the current response is sent.
_pending = threading.local()


def _run_after_response(task: Callable[[], None]) -> None:
    _pending.tasks = [*getattr(_pending, "tasks", ()), task]


@receiver(request_finished)
def _run_pending_tasks(**kwargs: Any) -> None:
    """The server closes a response in its own thread, after the response is sent."""
    tasks, _pending.tasks = getattr(_pending, "tasks", ()), ()
    for task in tasks:
        try:
            task()
        except Exception:
            logger.exception("A task after the response failed.")
