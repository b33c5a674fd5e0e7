"""A person who loses their role during a request can't change anything with it."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from accounts import services as account_services
from accounts.errors import NotPermitted
from accounts.models import AuditEvent, Membership
from accounts.policy import KeyPermission, Role
from apikeys import services as key_services
from apikeys.models import APIKey

from . import factories
from .accounts.people import actor_of
from .conftest import Cast
from .test_audit_is_complete import CALLS

#: These have no actor, or an actor other than the person who loses their role.
OF_OTHERS = {
    "create_account",
    "reset_two_factor",
    "leave",
    "accept_invitation",
    "join",
    "offer_ownership",
    "accept_ownership",
    "flag_exposed_key",
    "report_leaked_keys",
    "expire_api_key",
    # They finish something that the Owner began, so there has to be an Owner.
    "reopen_account",
    "withdraw_ownership",
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(CALLS.keys() - OF_OTHERS))
@pytest.mark.parametrize("becomes", [Role.USER, None], ids=["a User", "no member"])
def test_a_person_who_loses_their_role_during_a_request_changes_nothing(
    name: str, becomes: Role | None, cast: Cast
) -> None:
    actor = actor_of(cast.owner, cast.account)
    memberships = Membership.objects.filter(account=cast.account, user=cast.owner)
    if becomes is None:
        memberships.delete()
    else:
        memberships.update(role=becomes.value)
    with pytest.raises(NotPermitted):
        CALLS[name](cast, actor)
    assert not AuditEvent.objects.filter(account=cast.account, actor_id=actor.id).exists()


@pytest.mark.django_db
def test_it_does_not_help_that_another_member_has_the_role(cast: Cast) -> None:
    factories.make_member(cast.account, Role.ADMIN)
    admin = actor_of(cast.admin, cast.account)
    Membership.objects.filter(account=cast.account, user=cast.admin).update(role=Role.USER.value)
    with pytest.raises(NotPermitted):
        account_services.create_project(actor=admin, name="web")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_after_waiting_for_a_lock_the_current_role_decides(cast: Cast) -> None:
    admin = actor_of(cast.admin, cast.account)
    errors = []
    start = threading.Event()

    def act(change: Callable[[], object]) -> None:
        try:
            start.set()
            change()
        except NotPermitted as error:
            errors.append(error.message)
        finally:
            connection.close()

    def issue() -> None:
        key_services.create_api_key(actor=admin, name="x", permission=KeyPermission.READ)

    with transaction.atomic():
        account_services.change_role(
            actor=actor_of(cast.owner, cast.account),
            membership=Membership.objects.get(account=cast.account, user=cast.admin),
            role=Role.USER,
        )
        thread = threading.Thread(target=act, args=[issue])
        thread.start()
        start.wait()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert errors == ["Your role in this account has changed."]
    assert not APIKey.objects.for_account(cast.account).exists()
