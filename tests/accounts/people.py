"""Helpers for the tests of members: memberships, actors and recorded events."""

from accounts import policy, services
from accounts.context import RequestContext
from accounts.models import Account, AuditEvent, Membership, User
from accounts.policy import Actor, ActorKind, Role
from accounts.services.members import SentInvitation


def membership(user: User, account: Account) -> Membership:
    return Membership.objects.get(user=user, account=account)


def actor_of(user: User, account: Account) -> Actor:
    member = membership(user, account)
    role = Role(member.role)
    return Actor(ActorKind.PERSON, str(user.pk), user.email, account.ref, policy.GRANTS[role], role)


def accept(sent: SentInvitation, user: User) -> Membership:
    return services.accept_invitation(token=sent.token, user=user, context=RequestContext("203.0.113.7", "req-1"))


def events() -> list[str]:
    return list(AuditEvent.objects.order_by("at").values_list("event", flat=True))
