"""Adding, changing and removing members."""

import pytest

from accounts import policy, services
from accounts.errors import AlreadyExists, Invalid, NotFound, NotPermitted
from accounts.models import AuditEvent, Membership, User
from accounts.policy import GRANTS, Actor, ActorKind, KeyRole, Permission, Role

from ..conftest import Cast
from ..mail import delivered


def _person(cast: Cast, role: Role) -> Actor:
    user = Membership.objects.get(account=cast.account, role=role).user
    return Actor(ActorKind.PERSON, str(user.pk), user.email, cast.account.ref, GRANTS[role], role)


def _member(cast: Cast, person: User) -> Membership:
    return Membership.objects.get(account=cast.account, user=person)


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
def test_an_owner_and_an_admin_add_change_and_remove(cast: Cast, role: Role) -> None:
    actor = _person(cast, role)
    membership = services.add_member(actor=actor, user=cast.stranger, role=Role.USER)
    assert services.change_role(actor=actor, membership=membership, role=Role.ADMIN).role == Role.ADMIN
    services.remove_member(actor=actor, membership=membership)
    assert not Membership.objects.filter(account=cast.account, user=cast.stranger).exists()


def test_a_member_is_mailed_about_a_new_role_once(cast: Cast) -> None:
    for _ in range(2):
        services.change_role(actor=_person(cast, Role.OWNER), membership=_member(cast, cast.user), role=Role.ADMIN)
    (message,) = delivered()
    assert (message.to, message.subject) == (["user@example.com"], "Your role in Acme was changed to Admin")
    assert AuditEvent.objects.filter(event="member.changed").count() == 1


def test_a_user_cannot_add_change_or_remove(cast: Cast) -> None:
    actor, membership = _person(cast, Role.USER), _member(cast, cast.admin)
    with pytest.raises(NotPermitted):
        services.add_member(actor=actor, user=cast.stranger, role=Role.USER)
    with pytest.raises(NotPermitted):
        services.change_role(actor=actor, membership=membership, role=Role.USER)
    with pytest.raises(NotPermitted):
        services.remove_member(actor=actor, membership=membership)


def test_the_owner_cannot_be_added_changed_or_removed(cast: Cast) -> None:
    actor, owner = policy.system(cast.account.ref), _member(cast, cast.owner)
    with pytest.raises(Invalid):
        services.add_member(actor=actor, user=cast.stranger, role=Role.OWNER)
    with pytest.raises(Invalid):
        services.change_role(actor=actor, membership=_member(cast, cast.admin), role=Role.OWNER)
    with pytest.raises(Invalid):
        services.change_role(actor=actor, membership=owner, role=Role.OWNER)
    with pytest.raises(NotPermitted):
        services.change_role(actor=actor, membership=owner, role=Role.ADMIN)
    with pytest.raises(NotPermitted):
        services.remove_member(actor=actor, membership=owner)


def test_nobody_gives_a_role_that_allows_more_than_their_own(cast: Cast) -> None:
    permissions = frozenset({Permission.MEMBER_CHANGE})
    actor = Actor(ActorKind.KEY, "key_1", "Deploys", cast.account.ref, permissions, KeyRole.KEY)
    with pytest.raises(NotPermitted, match="allows more than your own"):
        services.add_member(actor=actor, user=cast.stranger, role=Role.ADMIN)


def test_a_member_cannot_be_added_again(cast: Cast) -> None:
    with pytest.raises(AlreadyExists):
        services.add_member(actor=policy.system(cast.account.ref), user=cast.user, role=Role.ADMIN)


def test_another_accounts_member_is_not_found(cast: Cast) -> None:
    elsewhere = Membership.objects.get(account=cast.elsewhere)
    with pytest.raises(NotFound):
        services.remove_member(actor=policy.system(cast.account.ref), membership=elsewhere)
