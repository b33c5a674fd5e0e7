"""Resetting a user's two-factor authentication, for operators."""

import logging

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction

from .. import audit, mail
from ..audit import Event
from ..errors import InvalidState
from ..models import Membership, User
from .accounts import Initiator

logger = logging.getLogger(__name__)


@transaction.atomic
def reset_two_factor(*, user: User, by: Initiator) -> None:
    """Delete all second factors of a user and end their sessions. They sign in by password and set up new ones.

    It is recorded in each of their accounts and mailed to them. Raises `InvalidState` if they have none.
    """
    User.objects.select_for_update().get(pk=user.pk)  # no factor can be added meanwhile
    deleted, _ = Authenticator.objects.filter(user=user).delete()
    if not deleted:
        raise InvalidState(f"{user.email} has no two-factor authentication.")
    for session in UserSession.objects.filter(user=user):
        session.end()
    for membership in Membership.objects.filter(user=user).select_related("account", "user"):
        actor = by.actor_in(membership.account.ref)
        audit.record(actor=actor, event=Event.MEMBER_TWO_FACTOR_RESET, target=membership.target)
    mail.notify([user.email], "two_factor_reset", user=user)
    logger.warning("The two-factor authentication of %s was reset by %s.", user.email, by.label)
