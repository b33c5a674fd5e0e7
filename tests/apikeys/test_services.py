from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import ids, policy
from accounts.context import NO_REQUEST
from accounts.errors import AlreadyExists, Invalid, InvalidState, NotFound, NotPermitted
from accounts.models import AuditEvent
from accounts.policy import GRANTS, Actor, ActorKind, KeyPermission, Role
from apikeys import actors, lookup, scopes, services, tokens
from apikeys.models import APIKey, Notice, State
from apikeys.scopes import Entry
from apikeys.services import Issued
from tests import factories
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(cast: Cast) -> Actor:
    return policy.system(cast.account.ref)


def issue(actor: Actor, **fields: Any) -> Issued:
    return services.create_api_key(actor=actor, name="Deploys", permission=KeyPermission.READ, **fields)


def test_a_key_is_stored_as_digest_and_mask_only(operator: Actor) -> None:
    issued = issue(operator)
    assert issued.api_key.digest == tokens.digest(issued.secret)
    assert issued.api_key.mask == tokens.mask(issued.secret)
    assert issued.secret not in str(APIKey.objects.values().get())


def test_a_retry_with_the_same_id_creates_no_second_key(operator: Actor) -> None:
    key_id = ids.new_key_id()
    issue(operator, id=key_id)
    with pytest.raises(AlreadyExists):
        issue(operator, id=key_id)
    assert APIKey.objects.count() == 1
    assert AuditEvent.objects.filter(event="api_key.created").count() == 1


def test_another_constraint_than_that_of_the_id_is_not_called_a_retry(operator: Actor) -> None:
    secret = issue(operator).secret
    for key_id in (ids.new_key_id(), None):
        with mock.patch.object(tokens, "generate", return_value=secret), pytest.raises(IntegrityError):
            issue(operator, id=key_id)


def test_the_owner_and_admins_are_told_of_a_new_key(operator: Actor) -> None:
    key = issue(operator).api_key
    assert list(key.notices.values_list("kind", flat=True)) == [Notice.Kind.CREATED]


def test_a_key_needs_a_name(operator: Actor) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_api_key(actor=operator, name="", permission=KeyPermission.READ)
    assert refused.value.errors == {"name": ["This field cannot be blank."]}


def test_a_key_can_not_expire_in_the_past(operator: Actor) -> None:
    with pytest.raises(Invalid) as refused:
        issue(operator, expires_at=timezone.now())
    assert "expires_at" in (refused.value.errors or {})


def test_a_new_key_has_no_invalid_option(operator: Actor) -> None:
    with pytest.raises(Invalid) as refused:
        issue(operator, rate_limit="often")
    assert set(refused.value.errors or {}) == {"rate_limit"}


def test_a_key_gets_access_only_to_services_that_its_account_sees(cast: Cast, operator: Actor) -> None:
    foreign = factories.make_service(cast.elsewhere)
    access = scopes.store((Entry(foreign.id),))
    key = issue(operator).api_key
    for attempt in (
        lambda: issue(operator, access=access),
        lambda: services.change_api_key(actor=operator, api_key=key, access=access),
    ):
        with pytest.raises(Invalid) as refused:
            attempt()
        assert refused.value.errors == {"access": [f"Unknown service: {foreign.id}."]}


def test_a_key_keeps_its_access_to_a_service_that_was_deleted(cast: Cast, operator: Actor) -> None:
    service = factories.make_service(cast.account)
    key = issue(operator, access=scopes.store((Entry(service.id),))).api_key
    access = scopes.store((Entry(scopes.API), Entry(service.id)))
    service.delete()
    assert services.change_api_key(actor=operator, api_key=key, access=access).access == access


def test_an_access_is_recorded_as_commands_write_it(cast: Cast, operator: Actor) -> None:
    service = factories.make_service(cast.account).id
    key = issue(operator, access=scopes.store((Entry(service, ("/reports",)),))).api_key
    services.change_api_key(actor=operator, api_key=key, access=scopes.store((Entry(service),)))
    changes = {event.event: event.changes["access"] for event in AuditEvent.objects.filter(target_id=key.pk)}
    assert changes == {
        "api_key.created": [None, [f"{service}:/reports"]],
        "api_key.widened": [[f"{service}:/reports"], [service]],
    }


def test_a_user_may_not_create_or_revoke_keys(cast: Cast, operator: Actor) -> None:
    user = Actor(ActorKind.PERSON, "1", "user@example.com", cast.account.ref, GRANTS[Role.USER], Role.USER)
    key = issue(operator).api_key
    for attempt in (
        lambda: issue(user),
        lambda: services.revoke_api_key(actor=user, api_key=key),
        lambda: services.disable_api_key(actor=user, api_key=key),
    ):
        with pytest.raises(NotPermitted):
            attempt()


def test_a_service_can_not_change_another_accounts_key(cast: Cast, operator: Actor) -> None:
    foreign = factories.make_key(cast.elsewhere).api_key
    with pytest.raises(NotFound):
        services.revoke_api_key(actor=operator, api_key=foreign)


def test_a_key_that_changes_another_is_locked_together_with_it(cast: Cast, operator: Actor) -> None:
    """If rows were locked one after the other, two keys that change each other would deadlock."""
    key = issue(operator).api_key
    acting = factories.make_key(cast.account, administrator=True).api_key
    record = lookup.by_id(acting.pk)
    assert record is not None
    with mock.patch.object(actors, "lock", wraps=actors.lock) as lock:
        services.disable_api_key(actor=actors.actor_of(record, context=NO_REQUEST), api_key=key)
        services.enable_api_key(actor=operator, api_key=key)
    first, of_itself, last = (set(call.args[1]) for call in lock.call_args_list)
    assert (first, of_itself, last) == ({key.pk, acting.pk}, {acting.pk}, {key.pk})


def test_a_key_is_disabled_and_enabled_again(operator: Actor) -> None:
    key = issue(operator).api_key
    assert services.disable_api_key(actor=operator, api_key=key).state == State.DISABLED
    with pytest.raises(InvalidState, match="is disabled"):
        services.disable_api_key(actor=operator, api_key=key)
    assert services.enable_api_key(actor=operator, api_key=key).state == State.ACTIVE
    with pytest.raises(InvalidState, match="is active"):
        services.enable_api_key(actor=operator, api_key=key)


def test_a_revoked_key_can_not_be_enabled(operator: Actor) -> None:
    key = services.revoke_api_key(actor=operator, api_key=issue(operator).api_key)
    with pytest.raises(InvalidState, match="is revoked"):
        services.enable_api_key(actor=operator, api_key=key)


def test_revoking_twice_is_one_event_and_keeps_the_first_time(operator: Actor) -> None:
    key = issue(operator).api_key
    first = services.revoke_api_key(actor=operator, api_key=key).revoked_at
    assert services.revoke_api_key(actor=operator, api_key=key).revoked_at == first
    assert AuditEvent.objects.filter(event="api_key.revoked").count() == 1


def test_a_new_key_and_a_successor_get_an_id(operator: Actor) -> None:
    key = issue(operator).api_key
    successor = services.rotate_api_key(actor=operator, api_key=key, overlap=services.Overlap.NONE).api_key
    assert key.id != successor.id
    assert (key.id[:4], successor.id[:4]) == ("key_", "key_")


def test_an_overlap_is_named_by_its_length() -> None:
    lengths = {overlap: overlap.length for overlap in services.Overlap}
    hour, day = timedelta(hours=1), timedelta(days=1)
    assert lengths == {"none": timedelta(0), "1h": hour, "24h": day, "7d": 7 * day}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, State.ACTIVE),
        ({"disabled_at": timezone.now()}, State.DISABLED),
        ({"expires_at": timezone.now() - timedelta(days=1)}, State.EXPIRED),
        ({"expires_at": timezone.now() - timedelta(days=1), "disabled_at": timezone.now()}, State.EXPIRED),
        ({"expires_at": timezone.now() - timedelta(days=1), "revoked_at": timezone.now()}, State.REVOKED),
    ],
)
def test_the_state_of_a_key_and_the_search_for_it_agree(cast: Cast, fields: dict[str, Any], state: State) -> None:
    key = factories.make_key(cast.account, **fields).api_key
    assert key.state == state
    found = [other for other in State if APIKey.objects.in_state(other).exists()]
    assert found == [state]


def test_the_database_refuses_an_invalid_digest_or_permission(operator: Actor) -> None:
    key = issue(operator).api_key
    for wrong in ({"digest": "short"}, {"permission": "all"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            APIKey.objects.filter(pk=key.pk).update(**wrong)
