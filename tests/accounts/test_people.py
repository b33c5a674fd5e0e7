"""Who is in an account, and how they come and go."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from unittest import mock

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from accounts import policy, services
from accounts.access import actor_for
from accounts.errors import (
    AlreadyExists,
    DomainError,
    Invalid,
    InvalidState,
    NotFound,
    NotPermitted,
    TooManyRequests,
    Unavailable,
)
from accounts.models import Account, AuditEvent, Invitation, Membership, User
from accounts.policy import KEY_GRANTS, Actor, ActorKind, KeyRole, Role
from tests import factories

pytestmark = pytest.mark.django_db


def membership(user, account):
    return Membership.objects.get(user=user, account=account)


def actor_of(user, account):
    member = membership(user, account)
    role = Role(member.role)
    return Actor(ActorKind.PERSON, str(user.pk), user.email, account.ref, policy.GRANTS[role], role)


def accept(sent, user):
    return services.accept_invitation(token=sent.token, user=user, address="203.0.113.7", request_id="req-1")


def events():
    return list(AuditEvent.objects.order_by("at").values_list("event", flat=True))


# Invitations ------------------------------------------------------------------------------------


def test_an_invitation_is_a_mail_with_a_link_that_is_stored_nowhere(cast):
    sent = factories.make_invitation(cast.account, "New@Example.com", Role.ADMIN)
    message = mail.outbox[-1]
    assert message.to == ["new@example.com"]
    assert message.subject == "Join Acme"
    assert sent.token in message.body
    assert sent.token in message.alternatives[0][0]
    assert sent.token not in str(Invitation.objects.values().get())
    assert "member.invited" in events()


def test_a_name_is_no_markup_in_a_mail(cast):
    Account.objects.update(name="<a href='https://elsewhere.example'>Acme & Co</a>")
    cast.account.refresh_from_db()
    factories.make_invitation(cast.account)
    html = mail.outbox[-1].alternatives[0][0]
    assert "<a href='" not in html
    assert "Acme &amp; Co&lt;/a&gt;" in html
    assert html.count("<a href=") == 1


def test_accepting_makes_a_member_with_the_role(cast):
    sent = factories.make_invitation(cast.account, "new@example.com", Role.ADMIN)
    user = factories.make_user("new@example.com")
    assert accept(sent, user).role == Role.ADMIN
    assert AuditEvent.objects.get(event="member.joined").actor_label == "new@example.com"


def test_a_newcomer_joins_without_a_second_mail(cast):
    sent = factories.make_invitation(cast.account)
    user = services.join(token=sent.token, name="New", password="x" * 12, address=None, request_id="")
    assert membership(user, cast.account).role == Role.USER
    assert user.emailaddress_set.get().verified
    with pytest.raises(AlreadyExists):
        services.join(token=sent.token, name="New", password="x" * 12, address=None, request_id="")


def test_a_newcomer_who_sends_the_form_twice_at_once_is_made_once(cast):
    sent = factories.make_invitation(cast.account)
    factories.make_user("new@example.com")
    with mock.patch("accounts.services.members.is_known", return_value=False), pytest.raises(AlreadyExists):
        services.join(token=sent.token, name="New", password="x" * 12, address=None, request_id="")
    assert Invitation.objects.get().accepted_at is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"accepted_at": timezone.now()}, "used already"),
        ({"withdrawn_at": timezone.now()}, "withdrawn"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired"),
    ],
)
def test_a_link_that_no_longer_works_says_why(cast, fields, problem):
    sent = factories.make_invitation(cast.account, **fields)
    with pytest.raises(InvalidState, match=problem):
        accept(sent, factories.make_user("new@example.com"))
    User.objects.filter(email="new@example.com").delete()
    with pytest.raises(InvalidState, match=problem):
        services.join(token=sent.token, name="", password="x" * 12, address=None, request_id="")
    assert not User.objects.filter(email="new@example.com").exists()


def test_a_link_works_once(cast):
    sent, user = factories.make_invitation(cast.account), factories.make_user("new@example.com")
    accept(sent, user)
    with pytest.raises(InvalidState, match="used already"):
        accept(sent, user)


def test_a_link_is_for_the_person_it_was_sent_to(cast):
    with pytest.raises(NotPermitted, match=r"for new@example\.com"):
        accept(factories.make_invitation(cast.account), cast.stranger)


def test_a_token_that_nobody_made_is_not_there(cast):
    with pytest.raises(NotFound):
        services.accept_invitation(token="x" * 43, user=cast.stranger, address=None, request_id="")


def test_sending_again_gives_a_new_link_and_ends_the_old_one(cast):
    first = factories.make_invitation(cast.account, expires_at=timezone.now() - timedelta(days=1))
    tokens = []
    services.resend_invitation(
        actor=actor_of(cast.owner, cast.account), invitation=first.invitation, link=lambda t: tokens.append(t) or t
    )
    user = factories.make_user("new@example.com")
    with pytest.raises(NotFound):
        accept(first, user)
    services.accept_invitation(token=tokens[0], user=user, address=None, request_id="")


def test_nobodys_mailbox_is_flooded_with_invitations(cast):
    sent = factories.make_invitation(cast.account)
    actor = actor_of(cast.owner, cast.account)
    for _ in range(9):
        services.resend_invitation(actor=actor, invitation=sent.invitation, link=str)
    with pytest.raises(TooManyRequests):
        services.resend_invitation(actor=actor, invitation=sent.invitation, link=str)
    services.withdraw_invitation(actor=actor, invitation=sent.invitation)
    with pytest.raises(TooManyRequests):
        factories.make_invitation(cast.account)
    factories.make_invitation(cast.account, "other@example.com")
    factories.make_invitation(cast.elsewhere)


def test_an_account_mails_so_many_invitations_an_hour(cast, monkeypatch):
    monkeypatch.setattr("accounts.services.members.MOST_TO_ALL", 2)
    for name in ("a", "b"):
        factories.make_invitation(cast.account, f"{name}@example.com")
    with pytest.raises(TooManyRequests):
        factories.make_invitation(cast.account, "c@example.com")


def test_members_and_invited_people_are_not_invited_twice(cast):
    factories.make_invitation(cast.account)
    for email in ("new@example.com", "NEW@example.com", "user@example.com"):
        with pytest.raises(AlreadyExists):
            factories.make_invitation(cast.account, email)
    factories.make_invitation(cast.elsewhere)


IMPOSSIBLE = [f"a@{'ä' * 60}.com", "a@xn--ä.com", f"a@{'.'.join(['İ' * 40] * 6)}"]


@pytest.mark.parametrize("address", IMPOSSIBLE)
def test_nobody_is_invited_where_no_mail_can_be_sent(address, cast):
    with pytest.raises(Invalid) as refused:
        factories.make_invitation(cast.account, address)
    assert list(refused.value.errors) == ["email"]
    assert not Invitation.objects.exists()


def test_an_expired_invitation_makes_way_for_a_new_one(cast):
    factories.make_invitation(cast.account, expires_at=timezone.now() - timedelta(days=1))
    factories.make_invitation(cast.account)
    assert Invitation.objects.open().count() == 1


def test_a_mail_that_fails_leaves_an_invitation_to_send_again(cast):
    with mock.patch("accounts.mail.send", side_effect=ConnectionRefusedError), pytest.raises(Unavailable):
        factories.make_invitation(cast.account)
    assert Invitation.objects.get().state == Invitation.State.PENDING


def test_a_member_who_accepts_an_invitation_to_a_second_address_joins_no_second_time(cast):
    EmailAddress.objects.create(user=cast.user, email="second@example.com", verified=True)
    accept(factories.make_invitation(cast.account, "second@example.com", Role.ADMIN), cast.user)
    assert membership(cast.user, cast.account).role == Role.USER
    assert "member.joined" not in events()


def test_everybody_hears_that_their_account_is_closed(cast, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        services.close_account(actor=actor_of(cast.owner, cast.account), name="Acme")
    assert {message.to[0] for message in mail.outbox} == {"owner@example.com", "admin@example.com", "user@example.com"}


def test_nobody_joins_a_closed_account(cast):
    sent = factories.make_invitation(cast.account, cast.stranger.email)
    services.close_account(actor=actor_of(cast.owner, cast.account), name="Acme")
    with pytest.raises(InvalidState, match="closed"):
        accept(sent, cast.stranger)


def test_a_withdrawn_or_accepted_invitation_is_not_changed(cast):
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


# Roles ------------------------------------------------------------------------------------------


def test_a_role_changes_and_the_person_is_told(cast, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        services.change_role(
            actor=actor_of(cast.admin, cast.account),
            membership=membership(cast.user, cast.account),
            role=Role.ADMIN,
        )
    assert membership(cast.user, cast.account).role == Role.ADMIN
    assert AuditEvent.objects.get(event="member.changed").changes == {"role": ["user", "admin"]}
    assert mail.outbox[-1].subject == "Acme: you are Admin now"


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_nobody_touches_the_owner_or_makes_a_second_one(cast, who):
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


def test_a_user_changes_nobody(cast):
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
def test_a_key_gives_no_role_that_may_more_than_it(cast, give):
    writer = Actor(
        ActorKind.KEY,
        "key_1",
        "Writer",
        cast.account.ref,
        KEY_GRANTS[KeyRole.ADMINISTRATOR, "write"],
        KeyRole.ADMINISTRATOR,
    )
    with pytest.raises(NotPermitted, match="more than you may"):
        give(cast, writer)


def test_another_accounts_member_is_out_of_reach(cast):
    foreign = membership(cast.stranger, cast.elsewhere)
    with pytest.raises(NotFound):
        services.remove_member(actor=actor_of(cast.owner, cast.account), membership=foreign)


def test_leaving_and_being_removed_end_a_membership(cast):
    services.leave(actor=actor_of(cast.user, cast.account))
    services.remove_member(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    assert Membership.objects.filter(account=cast.account).count() == 1
    assert events()[-2:] == ["member.left", "member.removed"]


def test_the_owner_does_not_leave(cast):
    with pytest.raises(NotPermitted, match="transfer the account first"):
        services.leave(actor=actor_of(cast.owner, cast.account))


# Ownership --------------------------------------------------------------------------------------


def test_ownership_passes_when_the_offer_is_accepted(cast):
    services.offer_ownership(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    assert membership(cast.owner, cast.account).role == Role.OWNER
    services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    assert membership(cast.admin, cast.account).role == Role.OWNER
    assert membership(cast.owner, cast.account).role == Role.ADMIN
    with pytest.raises(NotPermitted):
        services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    assert [name for name in events() if name.startswith("ownership")] == ["ownership.offered", "ownership.taken"]


def test_only_the_person_it_is_offered_to_accepts(cast):
    services.offer_ownership(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    with pytest.raises(NotPermitted):
        services.accept_ownership(actor=actor_of(cast.user, cast.account))
    with pytest.raises(NotPermitted):
        services.withdraw_ownership(actor=actor_of(cast.user, cast.account))


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_an_offer_is_withdrawn_or_declined(cast, who):
    owner, admin = actor_of(cast.owner, cast.account), actor_of(cast.admin, cast.account)
    services.offer_ownership(actor=owner, membership=membership(cast.admin, cast.account))
    services.withdraw_ownership(actor=owner if who == "owner" else admin)
    with pytest.raises(NotPermitted):
        services.accept_ownership(actor=admin)
    with pytest.raises(InvalidState):
        services.withdraw_ownership(actor=owner)


def test_an_offer_goes_with_whom_it_was_made_to(cast):
    owner = actor_of(cast.owner, cast.account)
    services.offer_ownership(actor=owner, membership=membership(cast.admin, cast.account))
    services.remove_member(actor=owner, membership=membership(cast.admin, cast.account))
    cast.account.refresh_from_db()
    assert cast.account.offered_to is None


def test_who_handed_the_account_over_while_they_waited_offers_it_to_nobody_else(cast):
    """Their request came in while they were the Owner, and had to wait for the one that accepted."""
    was_owner = actor_of(cast.owner, cast.account)
    services.offer_ownership(actor=was_owner, membership=membership(cast.admin, cast.account))
    services.accept_ownership(actor=actor_of(cast.admin, cast.account))
    with pytest.raises(NotPermitted, match="Your role in this account has changed"):
        services.offer_ownership(actor=was_owner, membership=membership(cast.user, cast.account))
    with pytest.raises(NotPermitted):
        services.close_account(actor=was_owner, name="Acme")


def test_who_was_removed_while_they_waited_changes_nothing(cast):
    was_admin = actor_of(cast.admin, cast.account)
    services.remove_member(actor=actor_of(cast.owner, cast.account), membership=membership(cast.admin, cast.account))
    with pytest.raises(NotPermitted):
        services.invite(actor=was_admin, email="new@example.com", role=Role.ADMIN, link=str)
    with pytest.raises(NotPermitted):
        services.leave(actor=was_admin)


def test_an_admin_offers_nothing(cast):
    with pytest.raises(NotPermitted):
        services.offer_ownership(
            actor=actor_of(cast.admin, cast.account), membership=membership(cast.user, cast.account)
        )


# Closing ----------------------------------------------------------------------------------------


def test_closing_ends_the_keys_at_once_and_taking_back_brings_them_back(cast, program):
    owner = actor_of(cast.owner, cast.account)
    with pytest.raises(Invalid):
        services.close_account(actor=owner, name="acme")
    services.close_account(actor=owner, name="Acme")
    assert program.get("/v2").json() == {"Message": "API key has been revoked!"}
    with pytest.raises(InvalidState):
        services.close_account(actor=owner, name="Acme")
    services.reopen_account(actor=owner)
    assert program.get("/v2").status_code == 200


def test_a_closed_account_goes_with_all_its_data_after_the_grace_period(cast, program):
    program.send("post", "/v2/projects", {"name": "web"})
    services.close_account(actor=actor_of(cast.owner, cast.account), name="Acme")
    assert services.prune_closed() == 0
    Account.objects.filter(pk=cast.account.pk).update(closed_at=timezone.now() - services.GRACE_PERIOD)
    assert services.prune_closed() == 1
    assert not Account.objects.filter(pk=cast.account.pk).exists()
    assert not AuditEvent.objects.filter(account_id=cast.account.pk).exists()
    assert AuditEvent.objects.filter(account=cast.elsewhere).exists()
    assert services.prune_closed() == 0


# Races ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_whatever_happens_at_once_there_is_one_owner_and_no_doubled_member(cast):
    """Two Admins and an Owner transfer, remove, leave and accept at once, fifty times."""
    other = factories.make_member(cast.account, Role.ADMIN, "other@example.com")
    people = [cast.owner, cast.admin, other]

    def act(start, newcomer, sent, user):
        start.wait()
        try:
            actor = actor_of(user, cast.account)
            random.choice(
                [
                    lambda: services.offer_ownership(actor=actor, membership=pick(cast.account)),
                    lambda: services.accept_ownership(actor=actor),
                    lambda: services.remove_member(actor=actor, membership=pick(cast.account)),
                    lambda: services.leave(actor=actor),
                    lambda: services.change_role(actor=actor, membership=pick(cast.account), role=Role.ADMIN),
                    lambda: accept(sent, newcomer),
                ]
            )()
            accept(sent, newcomer)
        except (DomainError, Membership.DoesNotExist, IntegrityError, OperationalError):
            pass
        finally:
            connection.close()

    for number in range(50):
        for user in people:
            if not Membership.objects.filter(account=cast.account, user=user).exists():
                Membership.objects.create(account=cast.account, user=user, role=Role.ADMIN)
        newcomer = factories.make_user(f"newcomer{number}@example.com")
        sent = factories.make_invitation(cast.account, newcomer.email)
        start = threading.Barrier(len(people))
        with ThreadPoolExecutor(len(people)) as pool:
            list(pool.map(partial(act, start, newcomer, sent), people))
        assert Membership.objects.filter(account=cast.account, role=Role.OWNER).count() == 1
        assert Membership.objects.filter(account=cast.account, user=newcomer).count() <= 1


@pytest.mark.django_db(transaction=True)
def test_a_newcomer_who_sends_the_form_twice_at_once_is_one_person(cast):
    token = factories.make_invitation(cast.account).token
    start = threading.Barrier(2)

    def join(_):
        start.wait()
        try:
            return services.join(token=token, name="", password="x" * 12, address=None, request_id="")
        except AlreadyExists:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(join, range(2))).count(None) == 1
    assert User.objects.filter(email="new@example.com").count() == 1


def pick(account):
    return random.choice(list(Membership.objects.filter(account=account)))


def test_the_database_holds_one_open_invitation_for_an_address(cast):
    invitation = factories.make_invitation(cast.account).invitation
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            account=cast.account, email=invitation.email, role="user", token_digest="0" * 64, expires_at=timezone.now()
        )


def test_the_actor_of_a_page_is_the_member(cast, rf):
    request = rf.get("/")
    request.user, request.request_id = cast.admin, "req-1"
    assert actor_for(request, membership(cast.admin, cast.account)).role == Role.ADMIN
