"""The members of an account: invitations, roles, leaving, transfer of ownership.

Each service locks the account, so that there is always exactly one Owner.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from allauth.account.models import EmailAddress
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from .. import audit, mail, outbox, policy
from ..audit import Event
from ..context import RequestContext
from ..errors import AlreadyExists, Invalid, InvalidState, NotFound, NotPermitted, TooManyRequests
from ..models import Account, AuditEvent, Invitation, Membership, User
from ..policy import GRANTS, Actor, Permission, Role
from .changes import lock_account, lock_actor

INVITATION_LIFETIME = timedelta(days=7)

#: Invitations mailed within an hour: to one address from all accounts together, and by one account.
MAX_PER_ADDRESS, MAX_PER_ACCOUNT = 10, 300

#: A function from an invitation's token to the URL of its page.
Link = Callable[[str], str]


# Invitations ------------------------------------------------------------------------------------


class SentInvitation(NamedTuple):
    """An invitation and its token, which only the mail contains."""

    invitation: Invitation
    token: str


def token_digest(token: str) -> str:
    """What is stored of a token. A fast hash is enough for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def invite(*, actor: Actor, email: str, role: Role, link: Link) -> Invitation:
    """Invite a person by mail. The link works once, for `INVITATION_LIFETIME`.

    Raises `Invalid` for an address that can't receive mail, `AlreadyExists` for a member or an invited address,
    `NotPermitted` for a role with more permissions than the actor's, and `TooManyRequests` over the hourly limit.
    """
    email = User.objects.normalize_email(email)
    if not mail.is_deliverable(email):
        raise Invalid(f"No mail reaches {email}.", errors={"email": ["Enter a valid email address."]})
    with transaction.atomic():
        actor = lock_actor(actor, Permission.MEMBER_CHANGE)
        _require_power_to_give(actor, role)
        account = lock_account(actor)
        if Membership.objects.for_account(account).filter(user__email=email).exists():
            raise AlreadyExists(f"{email} is already a member.", errors={"email": ["This person is already a member."]})
        if Invitation.objects.for_account(account).pending().filter(email=email).exists():
            raise AlreadyExists(f"{email} is already invited.", errors={"email": ["This person is already invited."]})
        _require_no_flood(account, email)
        Invitation.objects.for_account(account).open().filter(email=email).update(withdrawn_at=timezone.now())
        sent = _renew(Invitation(account=account, email=email, role=role.value, invited_by=actor.label))
        audit.record(
            actor=actor, event=Event.MEMBER_INVITED, target=sent.invitation.target, changes={"role": (None, role.value)}
        )
        _mail(sent, link)
    return sent.invitation


def resend_invitation(*, actor: Actor, invitation: Invitation, link: Link) -> Invitation:
    """Send a new link. The old one no longer works.

    Raises `InvalidState` if it was accepted or withdrawn, and `TooManyRequests` as `invite` does.
    """
    with transaction.atomic():
        actor = lock_actor(actor, Permission.MEMBER_CHANGE)
        account = lock_account(actor)
        invitation = _open(actor, invitation)
        _require_power_to_give(actor, Role(invitation.role))
        _require_no_flood(account, invitation.email)
        sent = _renew(invitation)
        audit.record(actor=actor, event=Event.INVITATION_SENT, target=invitation.target)
        _mail(sent, link)
    return sent.invitation


@transaction.atomic
def change_invitation(*, actor: Actor, invitation: Invitation, role: Role) -> Invitation:
    """Change the role of an invitation."""
    actor = lock_actor(actor, Permission.MEMBER_CHANGE)
    _require_power_to_give(actor, role)
    lock_account(actor)
    invitation = _open(actor, invitation)
    if invitation.role != role:
        changes = {"role": (invitation.role, role.value)}
        invitation.role = role.value
        invitation.save(update_fields=["role"])
        audit.record(actor=actor, event=Event.INVITATION_CHANGED, target=invitation.target, changes=changes)
    return invitation


@transaction.atomic
def withdraw_invitation(*, actor: Actor, invitation: Invitation) -> None:
    """Make its link stop working. Raises `InvalidState` if it was accepted or withdrawn."""
    actor = lock_actor(actor, Permission.MEMBER_CHANGE)
    lock_account(actor)
    invitation = _open(actor, invitation)
    invitation.withdrawn_at = timezone.now()
    invitation.save(update_fields=["withdrawn_at"])
    outbox.withdraw(kind="invitation", about=invitation.id)
    audit.record(actor=actor, event=Event.INVITATION_WITHDRAWN, target=invitation.target)


def find_invitation(token: str) -> Invitation | None:
    """The invitation with this token, whatever its state."""
    return Invitation.objects.filter(token_digest=token_digest(token)).select_related("account").first()


def has_address(user: User, email: str) -> bool:
    """Whether this is the user's address: the one they sign in with, or another confirmed one."""
    return user.email == email or EmailAddress.objects.filter(user=user, email=email, verified=True).exists()


def is_registered(email: str) -> bool:
    """Whether a user has this address."""
    return User.objects.filter(email=email).exists() or EmailAddress.objects.filter(email=email, verified=True).exists()


@transaction.atomic
def accept_invitation(*, token: str, user: User, context: RequestContext) -> Membership:
    """Make the user a member.

    Raises `NotFound`, `InvalidState` for a link that no longer works, and `NotPermitted` for another user's invitation.
    """
    found = find_invitation(token)
    if found is None:
        raise NotFound("This invitation does not exist.")
    account = Account.objects.select_for_update(no_key=True).get(pk=found.account_id)
    invitation = Invitation.objects.select_for_update().get(pk=found.pk)
    _require_acceptable(invitation, account)
    if not has_address(user, invitation.email):
        raise NotPermitted(f"This invitation is for {invitation.email}.")
    membership, is_new = Membership.objects.get_or_create(
        account=account, user=user, defaults={"role": invitation.role}
    )
    invitation.accepted_at = timezone.now()
    invitation.save(update_fields=["accepted_at"])
    if is_new:
        actor = policy.person(
            id=str(user.pk),
            label=user.email,
            account=account.ref,
            role=Role(membership.role),
            context=context,
        )
        changes = {"role": (None, membership.role)}
        audit.record(actor=actor, event=Event.MEMBER_JOINED, target=membership.target, changes=changes)
    return membership


@transaction.atomic
def join(*, token: str, name: str, password: str, context: RequestContext) -> User:
    """Create a user who accepts an invitation. The link verifies the address, so no second mail is needed.

    Raises the errors of `accept_invitation`, and `AlreadyExists` if a user has the address: they must sign in.
    """
    invitation = find_invitation(token)
    if invitation is None:
        raise NotFound("This invitation does not exist.")
    if is_registered(invitation.email):
        raise AlreadyExists("Sign in to accept the invitation.")
    try:
        user = User.objects.create_user(email=invitation.email, password=password, name=name)
    except IntegrityError:  # the form was sent twice, or two invitations were accepted at once
        raise AlreadyExists("Sign in to accept the invitation.") from None
    accept_invitation(token=token, user=user, context=context)
    return user


def _require_acceptable(invitation: Invitation, account: Account) -> None:
    problems = {
        Invitation.State.ACCEPTED: "This invitation was already accepted.",
        Invitation.State.WITHDRAWN: "This invitation was withdrawn.",
        Invitation.State.EXPIRED: "This invitation has expired. Ask for a new one.",
    }
    if problem := problems.get(invitation.state):
        raise InvalidState(problem)
    if account.closed_at is not None:
        raise InvalidState("This account is closed.")


def _open(actor: Actor, invitation: Invitation) -> Invitation:
    found = Invitation.objects.for_account(actor.account).open().filter(pk=invitation.pk).first()
    if found is None:
        raise InvalidState("This invitation was already accepted or withdrawn.")
    return found


def _renew(invitation: Invitation) -> SentInvitation:
    token = secrets.token_urlsafe(32)
    invitation.token_digest = token_digest(token)
    invitation.expires_at = timezone.now() + INVITATION_LIFETIME
    invitation.save(update_fields=None if invitation._state.adding else ["token_digest", "expires_at"])
    return SentInvitation(invitation, token)


def _require_no_flood(account: Account, email: str) -> None:
    """Raise `TooManyRequests` over the hourly limits. Invitations of all accounts to one address count together."""
    _lock_recipient(email)
    hour_ago = timezone.now() - timedelta(hours=1)
    mailed = AuditEvent.objects.filter(event__in=(Event.MEMBER_INVITED, Event.INVITATION_SENT), at__gt=hour_ago)
    inviting = Invitation.objects.filter(email=email).values("account")  # events have an index by account
    to_one = mailed.filter(account__in=inviting, target_label=email)
    if to_one.count() >= MAX_PER_ADDRESS or mailed.filter(account=account).count() >= MAX_PER_ACCOUNT:
        raise TooManyRequests("Too many invitations were sent. Try again in an hour.", retry_after=3600)


def _lock_recipient(email: str) -> None:
    """Run transactions that mail to this address one after another. SQLite allows only one writer anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"invitations to {email}"])


def _mail(sent: SentInvitation, link: Link) -> None:
    """Mail the link. A mail with the old link that is still in the outbox is withdrawn."""
    invitation = sent.invitation
    outbox.withdraw(kind="invitation", about=invitation.id)
    mail.notify(
        [invitation.email],
        "invitation",
        lifetime=INVITATION_LIFETIME,
        about=invitation.id,
        invitation=invitation,
        link=link(sent.token),
    )


# Members ----------------------------------------------------------------------------------------


@transaction.atomic
def add_member(*, actor: Actor, user: User, role: Role) -> Membership:
    """Make a user a member without an invitation, as the operator. Raises `AlreadyExists` for a member."""
    actor = lock_actor(actor, Permission.MEMBER_CHANGE)
    _require_power_to_give(actor, role)
    account = lock_account(actor)
    if Membership.objects.for_account(account).filter(user=user).exists():
        raise AlreadyExists(f"{user.email} is already a member.")
    membership = Membership.objects.create(account=account, user=user, role=role.value)
    changes = {"role": (None, membership.role)}
    audit.record(actor=actor, event=Event.MEMBER_ADDED, target=membership.target, changes=changes)
    return membership


@transaction.atomic
def change_role(*, actor: Actor, membership: Membership, role: Role) -> Membership:
    """Change a member's role, effective on their next request. To become Owner, see `offer_ownership`."""
    actor = lock_actor(actor, Permission.MEMBER_CHANGE)
    account = lock_account(actor)
    membership = _member(actor, membership)
    _require_not_ownership(role)
    require_not_owner(membership.role)
    _require_power_to_give(actor, role)
    if membership.role != role:
        changes = {"role": (membership.role, role.value)}
        membership.role = role.value
        membership.save(update_fields=["role"])
        audit.record(actor=actor, event=Event.MEMBER_CHANGED, target=membership.target, changes=changes)
        mail.notify([membership.user.email], "role_changed", account=account, membership=membership)
    return membership


@transaction.atomic
def remove_member(*, actor: Actor, membership: Membership) -> None:
    """Remove a member, effective on their next request. What they created stays, keys included."""
    actor = lock_actor(actor, Permission.MEMBER_CHANGE)
    lock_account(actor)
    _end_membership(actor, _member(actor, membership), Event.MEMBER_REMOVED)


@transaction.atomic
def leave(*, actor: Actor) -> None:
    """Leave the account. Raises `NotPermitted` for the Owner, who must transfer the account first."""
    lock_account(actor)
    membership = Membership.objects.for_account(actor.account).get(user_id=actor.id)
    _end_membership(actor, membership, Event.MEMBER_LEFT)


def _end_membership(actor: Actor, membership: Membership, event: Event) -> None:
    require_not_owner(membership.role)
    audit.record(actor=actor, event=event, target=membership.target, changes={"role": (membership.role, None)})
    membership.delete()


def require_not_owner(role: str | None) -> None:
    """Raise `NotPermitted` for the Owner's role, before a member is removed or gets another role."""
    if role == Role.OWNER:
        raise NotPermitted(
            "The Owner can't leave, be removed or get another role. Transfer or close the account instead."
        )


def _require_not_ownership(role: Role) -> None:
    if role == Role.OWNER:
        raise Invalid("An account has one Owner.", errors={"role": ["Transfer the account to give it a new Owner."]})


def _member(actor: Actor, membership: Membership) -> Membership:
    found = Membership.objects.for_account(actor.account).select_related("user").filter(pk=membership.pk).first()
    if found is None:
        raise NotFound("This person is no longer a member.")
    return found


def _require_power_to_give(actor: Actor, role: Role) -> None:
    """Raise `NotPermitted` if the role has permissions that the actor lacks.

    An Admin doesn't expire, works from any address, has no rate limit, and can create keys without these limits.
    So a key with one of these limits can't make anyone an Admin.
    """
    _require_not_ownership(role)
    if not GRANTS[role] <= actor.permissions:
        raise NotPermitted(f"You can't give the role {role.label}: it allows more than your own.")
    if role == Role.ADMIN and actor.bounds:
        raise NotPermitted(f"A key that {actor.bounds} can't give the role {role.label}.")


# Ownership --------------------------------------------------------------------------------------


@transaction.atomic
def offer_ownership(*, actor: Actor, membership: Membership) -> Account:
    """Offer the account to a member. It stays unchanged until they accept. A new offer replaces the old one."""
    actor = lock_actor(actor, Permission.ACCOUNT_TRANSFER)
    account = lock_account(actor)
    membership = _member(actor, membership)
    if membership.role == Role.OWNER:
        raise InvalidState(f"{membership.user.email} is the Owner.")
    account.offered_to = membership
    account.save(update_fields=["offered_to"])
    audit.record(actor=actor, event=Event.OWNERSHIP_OFFERED, target=membership.target)
    mail.notify([membership.user.email], "ownership_offered", account=account, offered_by=actor.label)
    return account


@transaction.atomic
def withdraw_ownership(*, actor: Actor) -> Account:
    """Withdraw the offer, as the Owner, or decline it, as its recipient."""
    account = lock_account(actor)
    offered_to = account.offered_to
    if offered_to is None:
        raise InvalidState("The ownership is not offered to a member.")
    if str(offered_to.user_id) != actor.id:
        policy.require(actor, Permission.ACCOUNT_TRANSFER)
    account.offered_to = None
    account.save(update_fields=["offered_to"])
    audit.record(actor=actor, event=Event.OWNERSHIP_WITHDRAWN, target=offered_to.target)
    return account


@transaction.atomic
def accept_ownership(*, actor: Actor) -> Account:
    """Accept the offer and become the Owner. The previous Owner becomes an Admin."""
    account = lock_account(actor)
    new_owner = account.offered_to
    if new_owner is None or str(new_owner.user_id) != actor.id:
        raise NotPermitted("The ownership of this account is not offered to you.")
    owner = Membership.objects.for_account(account).get(role=Role.OWNER.value)
    owner.role, new_owner.role = Role.ADMIN.value, Role.OWNER.value
    owner.save(update_fields=["role"])
    new_owner.save(update_fields=["role"])
    account.offered_to = None
    account.save(update_fields=["offered_to"])
    changes = {"owner": (owner.user.email, new_owner.user.email)}
    audit.record(actor=actor, event=Event.OWNERSHIP_TAKEN, target=new_owner.target, changes=changes)
    mail.notify([owner.user.email, new_owner.user.email], "ownership_taken", account=account, owner=new_owner.user)
    return account
