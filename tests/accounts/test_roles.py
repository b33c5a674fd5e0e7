"""Changing roles, leaving and removing members."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import services
from accounts.errors import Invalid, NotFound, NotPermitted
from accounts.models import AuditEvent, Membership
from accounts.policy import KEY_GRANTS, Actor, ActorKind, KeyRole, Role
from tests import factories
from tests.conftest import Cast
from tests.mail import delivered

from .people import actor_of, events, membership

pytestmark = pytest.mark.django_db


def test_a_role_changes_and_the_member_is_mailed(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        services.change_role(
            actor=actor_of(cast.admin, cast.account),
            membership=membership(cast.user, cast.account),
            role=Role.ADMIN,
        )
    assert membership(cast.user, cast.account).role == Role.ADMIN
    assert AuditEvent.objects.get(event="member.changed").changes == {"role": ["user", "admin"]}
    assert delivered()[-1].subject == "Your role in Acme was changed to Admin"


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_nobody_changes_the_owner_or_adds_a_second_one(cast: Cast, who: str) -> None:
    actor = actor_of(getattr(cast, who), cast.account)
    owner = membership(cast.owner, cast.account)
    with pytest.raises(NotPermitted):
        services.change_role(actor=actor, membership=owner, role=Role.USER)
    with pytest.raises(NotPermitted):
        services.remove_member(actor=actor, membership=owner)
    with pytest.raises(Invalid):
        services.change_role(actor=actor, membership=membership(cast.user, cast.account), role=Role.OWNER)
    with pytest.raises(Invalid):
        factories.make_invitation(cast.account, role=Role.OWNER)


def test_a_user_cannot_change_members(cast: Cast) -> None:
    actor = actor_of(cast.user, cast.account)
    for attempt in (
        lambda: services.change_role(actor=actor, membership=membership(cast.user, cast.account), role=Role.ADMIN),
        lambda: services.remove_member(actor=actor, membership=membership(cast.admin, cast.account)),
        lambda: services.invite(actor=actor, email="x@example.com", role=Role.USER, link=str),
        lambda: services.offer_ownership(actor=actor, membership=membership(cast.admin, cast.account)),
        lambda: services.close_account(actor=actor, name="Acme"),
    ):
        with pytest.raises(NotPermitted):
            attempt()


@pytest.mark.parametrize(
    "give",
    [
        lambda cast, actor: services.invite(actor=actor, email="x@example.com", role=Role.ADMIN, link=str),
        lambda cast, actor: services.change_role(
            actor=actor, membership=membership(cast.user, cast.account), role=Role.ADMIN
        ),
        lambda cast, actor: services.add_member(actor=actor, user=cast.stranger, role=Role.ADMIN),
        lambda cast, actor: services.resend_invitation(
            actor=actor, invitation=factories.make_invitation(cast.account, role=Role.ADMIN).invitation, link=str
        ),
        lambda cast, actor: services.change_invitation(
            actor=actor, invitation=factories.make_invitation(cast.account).invitation, role=Role.ADMIN
        ),
    ],
    ids=["invite", "change_role", "add_member", "resend_invitation", "change_invitation"],
)
def test_a_key_cannot_grant_a_role_with_more_power_than_its_own(cast: Cast, give: Callable[..., Any]) -> None:
    writer = Actor(
        ActorKind.KEY,
        "key_1",
        "Writer",
        cast.account.ref,
        KEY_GRANTS[KeyRole.ADMINISTRATOR, "write"],
        KeyRole.ADMINISTRATOR,
    )
    with pytest.raises(NotPermitted, match="it allows more than your own"):
        give(cast, writer)


def test_another_accounts_member_cannot_be_changed(cast: Cast) -> None:
    foreign = membership(cast.stranger, cast.elsewhere)
    with pytest.raises(NotFound):
        services.remove_member(actor=actor_of(cast.owner, cast.account), membership=foreign)


def test_leaving_and_being_removed_end_a_membership(cast: Cast) -> None:
    services.leave(actor=actor_of(cast.user, cast.account))
    services.remove_member(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    assert Membership.objects.filter(account=cast.account).count() == 1
    assert events()[-2:] == ["member.left", "member.removed"]


def test_the_owner_cannot_leave(cast: Cast) -> None:
    with pytest.raises(NotPermitted, match="Transfer or close the account instead"):
        services.leave(actor=actor_of(cast.owner, cast.account))
