"""Transferring, closing and reopening an account."""

from datetime import UTC, timedelta

import pytest
from django.utils import timezone

from accounts import services
from accounts.deletion import no_checkpoint
from accounts.errors import Invalid, InvalidState, NotPermitted
from accounts.models import Account, AuditEvent
from accounts.policy import Role
from accounts.services import accounts
from tests.conftest import Cast, Program
from tests.mail import delivered

from .people import actor_of, events, membership

pytestmark = pytest.mark.django_db


def test_ownership_is_transferred_when_the_offer_is_accepted(cast: Cast) -> None:
    services.offer_ownership(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    assert membership(cast.owner, cast.account).role == Role.OWNER
    services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    assert membership(cast.admin, cast.account).role == Role.OWNER
    assert membership(cast.owner, cast.account).role == Role.ADMIN
    with pytest.raises(NotPermitted):
        services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    assert [name for name in events() if name.startswith("ownership")] == ["ownership.offered", "ownership.taken"]


def test_an_offer_is_of_the_account_as_it_is_then(cast: Cast) -> None:
    owner, admin = actor_of(cast.owner, cast.account), actor_of(cast.admin, cast.account)
    to_admin = membership(cast.admin, cast.account)
    assert services.offer_ownership(actor=owner, membership=to_admin).offered_to == to_admin
    assert services.withdraw_ownership(actor=owner).offered_to is None
    services.offer_ownership(actor=owner, membership=to_admin)
    assert services.accept_ownership(actor=admin).offered_to is None


def test_an_offer_and_its_acceptance_are_mailed(cast: Cast) -> None:
    services.offer_ownership(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    offered, *taken = delivered()
    assert (offered.to, offered.subject) == (["admin@example.com"], "You were offered the ownership of Acme")
    assert "owner@example.com offered you the ownership of Acme." in offered.body
    assert {message.to[0] for message in taken} == {"owner@example.com", "admin@example.com"}
    assert {message.subject for message in taken} == {"Acme has a new Owner"}
    assert "admin@example.com is now the Owner of Acme." in taken[0].body


def test_an_owner_can_not_offer_the_account_to_themselves(cast: Cast) -> None:
    owner = actor_of(cast.owner, cast.account)
    with pytest.raises(InvalidState, match=r"owner@example\.com is the Owner"):
        services.offer_ownership(actor=owner, membership=membership(cast.owner, cast.account))


def test_only_its_recipient_can_accept_an_offer(cast: Cast) -> None:
    services.offer_ownership(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    with pytest.raises(NotPermitted):
        services.accept_ownership(actor=actor_of(cast.user, cast.account))
    with pytest.raises(NotPermitted):
        services.withdraw_ownership(actor=actor_of(cast.user, cast.account))


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_an_offer_is_withdrawn_or_declined(cast: Cast, who: str) -> None:
    owner, admin = actor_of(cast.owner, cast.account), actor_of(cast.admin, cast.account)
    services.offer_ownership(actor=owner, membership=membership(cast.admin, cast.account))
    services.withdraw_ownership(actor=owner if who == "owner" else admin)
    with pytest.raises(NotPermitted):
        services.accept_ownership(actor=admin)
    with pytest.raises(InvalidState):
        services.withdraw_ownership(actor=owner)


def test_an_offer_ends_when_its_recipient_leaves(cast: Cast) -> None:
    owner = actor_of(cast.owner, cast.account)
    services.offer_ownership(actor=owner, membership=membership(cast.admin, cast.account))
    services.remove_member(actor=owner, membership=membership(cast.admin, cast.account))
    cast.account.refresh_from_db()
    assert cast.account.offered_to is None


def test_an_owner_who_transferred_the_account_meanwhile_cannot_offer_it(cast: Cast) -> None:
    """The request arrived while they were still the Owner, and waited for the request that accepted the ownership."""
    was_owner = actor_of(cast.owner, cast.account)
    services.offer_ownership(actor=was_owner, membership=membership(cast.admin, cast.account))
    services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    with pytest.raises(NotPermitted, match="Your role in this account has changed"):
        services.offer_ownership(actor=was_owner, membership=membership(cast.user, cast.account))
    with pytest.raises(NotPermitted):
        services.close_account(actor=was_owner, name="Acme")


def test_a_member_who_was_removed_meanwhile_changes_nothing(cast: Cast) -> None:
    was_admin = actor_of(cast.admin, cast.account)
    services.remove_member(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    with pytest.raises(NotPermitted):
        services.invite(actor=was_admin, email="new@example.com", role=Role.ADMIN, link=str)
    with pytest.raises(NotPermitted):
        services.leave(actor=was_admin)


def test_an_admin_cannot_offer_the_account(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        services.offer_ownership(
            actor=actor_of(cast.admin, cast.account), membership=membership(cast.user, cast.account)
        )


# Closing ----------------------------------------------------------------------------------------


def test_keys_stop_working_when_the_account_is_closed_and_work_after_reopening(cast: Cast, program: Program) -> None:
    owner = actor_of(cast.owner, cast.account)
    with pytest.raises(Invalid):
        services.close_account(actor=owner, name="acme")
    services.close_account(actor=owner, name="Acme")
    assert program.get("/v2").json() == {"Message": "This account is closed."}
    with pytest.raises(InvalidState):
        services.close_account(actor=owner, name="Acme")
    assert services.reopen_account(actor=owner).closed_at is None
    assert program.get("/v2").status_code == 200


def test_closing_needs_the_name_of_the_account_and_says_until_when_it_can_be_reopened(cast: Cast) -> None:
    owner = actor_of(cast.owner, cast.account)
    with pytest.raises(InvalidState):
        services.reopen_account(actor=owner)
    with pytest.raises(Invalid) as refused:
        services.close_account(actor=owner, name="Acne")
    assert list(refused.value.errors or {}) == ["name"]
    closed_at = services.close_account(actor=owner, name=" Acme ").closed_at
    assert closed_at is not None
    until = closed_at.astimezone(UTC) + timedelta(days=30)
    assert {message.subject for message in delivered()} == {"Acme was closed"}
    assert f"can reopen the account until {until.day} {until:%B %Y}." in delivered()[0].body


def test_of_the_accounts_whose_grace_period_ends_one_is_deleted_after_the_other(cast: Cast) -> None:
    gone = Account.objects.filter(closed_at__isnull=False)
    assert accounts._prune(gone, cast.elsewhere.pk, no_checkpoint) is False  # it was reopened
    gone.model.objects.update(closed_at=timezone.now())
    assert accounts._prune(gone, cast.elsewhere.pk, no_checkpoint)
    assert Account.objects.get() == cast.account


def test_a_closed_account_is_deleted_with_all_data_after_the_grace_period(cast: Cast, program: Program) -> None:
    program.send("post", "/v2/projects", {"name": "web"})
    services.close_account(actor=actor_of(cast.owner, cast.account), name="Acme")
    assert services.prune_closed() == 0
    Account.objects.filter(pk=cast.account.pk).update(closed_at=timezone.now() - services.GRACE_PERIOD)
    assert services.prune_closed() == 1
    assert not Account.objects.filter(pk=cast.account.pk).exists()
    assert not AuditEvent.objects.filter(account_id=cast.account.pk).exists()
    assert AuditEvent.objects.filter(account=cast.elsewhere).exists()
    assert services.prune_closed() == 0
