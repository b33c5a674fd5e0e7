"""Concurrent changes leave exactly one Owner and no duplicate members."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import RequestFactory
from django.utils import timezone

from accounts import services
from accounts.context import NO_REQUEST
from accounts.decorators import actor_for
from accounts.errors import AlreadyExists, DomainError
from accounts.models import Account, Invitation, Membership, User
from accounts.policy import Role
from accounts.services.members import SentInvitation
from tests import factories
from tests.conftest import Cast

from .people import accept, actor_of, membership

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_concurrent_changes_leave_one_owner_and_no_duplicate_member(cast: Cast) -> None:
    """Two Admins and an Owner transfer, remove, leave and accept at once, fifty times."""
    other = factories.make_member(cast.account, Role.ADMIN, "other@example.com")
    people = [cast.owner, cast.admin, other]

    def act(start: threading.Barrier, newcomer: User, sent: SentInvitation, user: User) -> None:
        start.wait()
        try:
            actor = actor_of(user, cast.account)
            attempts: list[Callable[[], object]] = [
                lambda: services.offer_ownership(actor=actor, membership=pick(cast.account)),
                lambda: services.accept_ownership(actor=actor),
                lambda: services.remove_member(actor=actor, membership=pick(cast.account)),
                lambda: services.leave(actor=actor),
                lambda: services.change_role(actor=actor, membership=pick(cast.account), role=Role.ADMIN),
                lambda: accept(sent, newcomer),
            ]
            random.choice(attempts)()
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
def test_a_new_user_who_sends_the_form_twice_at_once_is_one_user(cast: Cast) -> None:
    token = factories.make_invitation(cast.account).token
    start = threading.Barrier(2)

    def join(_: int) -> User | None:
        start.wait()
        try:
            return services.join(token=token, name="", password="x" * 12, context=NO_REQUEST)
        except AlreadyExists:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(join, range(2))).count(None) == 1
    assert User.objects.filter(email="new@example.com").count() == 1


def pick(account: Account) -> Membership:
    return random.choice(list(Membership.objects.filter(account=account)))


def test_the_database_allows_one_open_invitation_for_an_address(cast: Cast) -> None:
    invitation = factories.make_invitation(cast.account).invitation
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            account=cast.account, email=invitation.email, role="user", token_digest="0" * 64, expires_at=timezone.now()
        )


def test_the_actor_of_a_page_is_the_member(cast: Cast, rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = cast.admin
    assert actor_for(request, membership(cast.admin, cast.account)).role == Role.ADMIN
