"""Inviting people, and accepting invitations."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from allauth.account.models import EmailAddress
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import services
from accounts.context import NO_REQUEST
from accounts.errors import AlreadyExists, Invalid, InvalidState, NotFound, NotPermitted, TooManyRequests
from accounts.models import Account, AuditEvent, Invitation, OutgoingMail, User
from accounts.policy import Role
from tests import factories
from tests.conftest import Cast
from tests.mail import delivered

from .people import accept, actor_of, events, membership

pytestmark = pytest.mark.django_db


def test_an_invitation_is_a_mail_with_a_link_that_is_stored_nowhere(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account, "New@Example.com", Role.ADMIN)
    message = delivered()[-1]
    assert message.to == ["new@example.com"]
    assert message.subject == "You are invited to join Acme"
    assert sent.token in message.body
    assert sent.token in message.alternatives[0][0]
    assert sent.token not in str(Invitation.objects.values().get())
    assert "member.invited" in events()


def test_an_invitation_is_a_secret_of_256_bits_for_seven_days(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    assert len(sent.token) == 43  # in base64
    for until in (sent.invitation.expires_at, OutgoingMail.objects.get().expires_at):
        assert timedelta(days=7, minutes=-1) < until - timezone.now() <= timedelta(days=7)


def test_a_name_is_escaped_in_a_mail(cast: Cast) -> None:
    Account.objects.update(name="<a href='https://elsewhere.example'>Acme & Co</a>")
    cast.account.refresh_from_db()
    factories.make_invitation(cast.account)
    html = delivered()[-1].alternatives[0][0]
    assert "<a href='" not in html
    assert "Acme &amp; Co&lt;/a&gt;" in html
    assert html.count("<a href=") == 1


def test_accepting_makes_a_member_with_the_role(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account, "new@example.com", Role.ADMIN)
    user = factories.make_user("new@example.com")
    assert accept(sent, user).role == Role.ADMIN
    joined = AuditEvent.objects.get(event="member.joined")
    assert (joined.actor_id, joined.actor_label) == (str(user.pk), "new@example.com")
    assert (joined.address, joined.request_id) == ("203.0.113.7", "req-1")


def test_a_new_user_joins_without_a_second_mail(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    user = services.join(token=sent.token, name="New", password="x" * 12, context=NO_REQUEST)
    assert membership(user, cast.account).role == Role.USER
    assert user.emailaddress_set.get().verified
    with pytest.raises(AlreadyExists):
        services.join(token=sent.token, name="New", password="x" * 12, context=NO_REQUEST)


def test_a_new_user_who_sends_the_form_twice_at_once_is_created_once(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    factories.make_user("new@example.com")
    with mock.patch("accounts.services.members.is_registered", return_value=False), pytest.raises(AlreadyExists):
        services.join(token=sent.token, name="New", password="x" * 12, context=NO_REQUEST)
    assert Invitation.objects.get().accepted_at is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"accepted_at": timezone.now()}, "already accepted"),
        ({"withdrawn_at": timezone.now()}, "withdrawn"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired"),
    ],
)
def test_a_link_that_no_longer_works_says_why(cast: Cast, fields: dict[str, Any], problem: str) -> None:
    sent = factories.make_invitation(cast.account, **fields)
    with pytest.raises(InvalidState, match=problem):
        accept(sent, factories.make_user("new@example.com"))
    User.objects.filter(email="new@example.com").delete()
    with pytest.raises(InvalidState, match=problem):
        services.join(token=sent.token, name="", password="x" * 12, context=NO_REQUEST)
    assert not User.objects.filter(email="new@example.com").exists()


def test_a_link_works_once(cast: Cast) -> None:
    sent, user = factories.make_invitation(cast.account), factories.make_user("new@example.com")
    accept(sent, user)
    with pytest.raises(InvalidState, match="already accepted"):
        accept(sent, user)


def test_a_link_is_for_the_person_it_was_sent_to(cast: Cast) -> None:
    with pytest.raises(NotPermitted, match=r"for new@example\.com"):
        accept(factories.make_invitation(cast.account), cast.stranger)


@pytest.mark.parametrize(
    ("email", "is_strangers", "is_registered"),
    [
        ("stranger@example.com", True, True),
        ("second@example.com", True, True),
        ("unconfirmed@example.com", False, False),
        ("of-user@example.com", False, True),
        ("user@example.com", False, True),
        ("new@example.com", False, False),
    ],
)
def test_an_address_is_a_persons_if_they_sign_in_with_it_or_have_confirmed_it(
    cast: Cast, email: str, is_strangers: bool, is_registered: bool
) -> None:
    EmailAddress.objects.create(user=cast.stranger, email="second@example.com", verified=True)
    EmailAddress.objects.create(user=cast.stranger, email="unconfirmed@example.com", verified=False)
    EmailAddress.objects.create(user=cast.user, email="of-user@example.com", verified=True)
    # A user may sign in with an address that has no row in allauth's table.
    EmailAddress.objects.filter(email="stranger@example.com").delete()
    assert services.has_address(cast.stranger, email) == is_strangers
    assert services.is_registered(email) == is_registered


def test_an_unknown_token_is_not_found(cast: Cast) -> None:
    with pytest.raises(NotFound):
        services.accept_invitation(token="x" * 43, user=cast.stranger, context=NO_REQUEST)
    with pytest.raises(NotFound):
        services.join(token="x" * 43, name="", password="x" * 12, context=NO_REQUEST)


def test_nobody_joins_with_the_confirmed_second_address_of_another(cast: Cast) -> None:
    EmailAddress.objects.create(user=cast.stranger, email="new@example.com", verified=True)
    sent = factories.make_invitation(cast.account)
    with pytest.raises(AlreadyExists):
        services.join(token=sent.token, name="", password="x" * 12, context=NO_REQUEST)


def test_an_invitation_names_who_sent_it(cast: Cast) -> None:
    owner = actor_of(cast.owner, cast.account)
    services.invite(actor=owner, email="new@example.com", role=Role.USER, link=str)
    assert "owner@example.com invited you" in delivered()[-1].body


def test_only_the_invitation_that_is_named_changes(cast: Cast) -> None:
    owner = actor_of(cast.owner, cast.account)
    first, second, third = (factories.make_invitation(cast.account, f"{n}@example.com").invitation for n in range(3))
    services.change_invitation(actor=owner, invitation=second, role=Role.ADMIN)
    assert services.resend_invitation(actor=owner, invitation=second, link=str) == second
    services.withdraw_invitation(actor=owner, invitation=third)
    now = {each.pk: (each.role, each.state) for each in Invitation.objects.all()}
    assert now == {first.pk: ("user", "pending"), second.pk: ("admin", "pending"), third.pk: ("user", "withdrawn")}


def test_resending_creates_a_new_link_and_the_old_one_stops_working(cast: Cast) -> None:
    first = factories.make_invitation(cast.account, expires_at=timezone.now() - timedelta(days=1))
    tokens: list[str] = []

    def link(token: str) -> str:
        tokens.append(token)
        return token

    services.resend_invitation(actor=actor_of(cast.owner, cast.account), invitation=first.invitation, link=link)
    user = factories.make_user("new@example.com")
    with pytest.raises(NotFound):
        accept(first, user)
    services.accept_invitation(token=tokens[0], user=user, context=NO_REQUEST)


def test_a_new_link_replaces_a_mail_that_was_not_sent_yet(cast: Cast) -> None:
    first = factories.make_invitation(cast.account)
    services.resend_invitation(actor=actor_of(cast.owner, cast.account), invitation=first.invitation, link=str)
    (message,) = delivered()
    assert first.token not in message.body


def test_only_mail_to_an_address_counts_against_its_limit(cast: Cast) -> None:
    actor, invitation = actor_of(cast.owner, cast.account), factories.make_invitation(cast.account).invitation
    for role in [Role.ADMIN, Role.USER] * 5:
        services.change_invitation(actor=actor, invitation=invitation, role=role)
    for number in range(10):
        factories.make_invitation(cast.account, f"{number}@example.com")
    services.resend_invitation(actor=actor, invitation=invitation, link=str)


def test_invitations_to_one_address_are_limited(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    actor = actor_of(cast.owner, cast.account)
    for _ in range(9):
        services.resend_invitation(actor=actor, invitation=sent.invitation, link=str)
    with pytest.raises(TooManyRequests) as refused:
        services.resend_invitation(actor=actor, invitation=sent.invitation, link=str)
    assert refused.value.retry_after == 3600
    services.withdraw_invitation(actor=actor, invitation=sent.invitation)
    with pytest.raises(TooManyRequests):
        factories.make_invitation(cast.account)
    factories.make_invitation(cast.account, "other@example.com")


def test_invitations_to_one_address_are_limited_over_all_accounts(cast: Cast) -> None:
    for number in range(10):
        factories.make_invitation(factories.make_account(f"Account {number}"), "Victim@example.com")
    with pytest.raises(TooManyRequests):
        factories.make_invitation(cast.account, "victim@example.com")
    assert len(delivered()) == 10
    factories.make_invitation(cast.account, "other@example.com")


def test_the_limit_ends_after_an_hour(cast: Cast) -> None:
    for number in range(10):
        factories.make_invitation(factories.make_account(f"Account {number}"))
    with mock.patch("django.utils.timezone.now", return_value=timezone.now() + timedelta(hours=1, seconds=1)):
        factories.make_invitation(cast.account)


@pytest.mark.django_db(transaction=True)
def test_accounts_that_invite_at_once_are_counted_one_after_the_other(cast: Cast) -> None:
    accounts = [cast.account, *(factories.make_account(f"Account {number}") for number in range(11))]

    def invite(account: Account) -> bool:
        try:
            factories.make_invitation(account, "victim@example.com")
        except TooManyRequests:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(invite, accounts)) == 10


def test_an_account_sends_300_invitations_an_hour(cast: Cast) -> None:
    factories.make_invitation(cast.account, "a@example.com")
    sent: dict[str, Any] = {**AuditEvent.objects.filter(event="member.invited").values().get()}
    del sent["id"]
    AuditEvent.objects.bulk_create(AuditEvent(**sent) for _ in range(298))
    factories.make_invitation(cast.account, "b@example.com")
    with pytest.raises(TooManyRequests):
        factories.make_invitation(cast.account, "c@example.com")
    factories.make_invitation(cast.elsewhere, "c@example.com")


def test_members_and_invited_people_are_not_invited_twice(cast: Cast) -> None:
    factories.make_invitation(cast.account)
    for email in ("new@example.com", "NEW@example.com", "user@example.com"):
        with pytest.raises(AlreadyExists) as refused:
            factories.make_invitation(cast.account, email)
        assert list(refused.value.errors or {}) == ["email"]
    factories.make_invitation(cast.elsewhere)


IMPOSSIBLE = [f"a@{'ä' * 60}.com", "a@xn--ä.com", f"a@{'.'.join(['İ' * 40] * 6)}"]


@pytest.mark.parametrize("address", IMPOSSIBLE)
def test_an_undeliverable_address_is_not_invited(address: str, cast: Cast) -> None:
    with pytest.raises(Invalid) as refused:
        factories.make_invitation(cast.account, address)
    assert list(refused.value.errors or {}) == ["email"]
    assert not Invitation.objects.exists()


def test_an_expired_invitation_is_replaced_by_a_new_one(cast: Cast) -> None:
    factories.make_invitation(cast.account, expires_at=timezone.now() - timedelta(days=1))
    factories.make_invitation(cast.account)
    assert Invitation.objects.open().count() == 1


def test_an_invitation_that_is_withdrawn_before_it_was_mailed_is_not_mailed(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    services.withdraw_invitation(actor=actor_of(cast.owner, cast.account), invitation=sent.invitation)
    assert not delivered()


def test_an_invitation_that_is_rolled_back_is_not_mailed(cast: Cast) -> None:
    with transaction.atomic():
        factories.make_invitation(cast.account)
        transaction.set_rollback(True)
    assert not delivered()


def test_a_member_who_accepts_at_a_second_address_stays_one_member(cast: Cast) -> None:
    EmailAddress.objects.create(user=cast.user, email="second@example.com", verified=True)
    accept(factories.make_invitation(cast.account, "second@example.com", Role.ADMIN), cast.user)
    assert membership(cast.user, cast.account).role == Role.USER
    assert "member.joined" not in events()


def test_every_member_is_mailed_that_the_account_is_closed(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        services.close_account(actor=actor_of(cast.owner, cast.account), name="Acme")
    assert {message.to[0] for message in delivered()} == {"owner@example.com", "admin@example.com", "user@example.com"}


def test_nobody_joins_a_closed_account(cast: Cast) -> None:
    sent = factories.make_invitation(cast.account, cast.stranger.email)
    services.close_account(actor=actor_of(cast.owner, cast.account), name="Acme")
    with pytest.raises(InvalidState, match="closed"):
        accept(sent, cast.stranger)


def test_a_withdrawn_or_accepted_invitation_cannot_be_changed(cast: Cast) -> None:
    owner = actor_of(cast.owner, cast.account)
    invitation = factories.make_invitation(cast.account).invitation
    services.change_invitation(actor=owner, invitation=invitation, role=Role.ADMIN)
    services.withdraw_invitation(actor=owner, invitation=invitation)
    for attempt in (
        lambda: services.withdraw_invitation(actor=owner, invitation=invitation),
        lambda: services.change_invitation(actor=owner, invitation=invitation, role=Role.USER),
        lambda: services.resend_invitation(actor=owner, invitation=invitation, link=str),
    ):
        with pytest.raises(InvalidState):
            attempt()
