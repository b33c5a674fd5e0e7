"""Every service that changes something records the change. A new service fails here until it is listed with a call."""

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import audit, policy
from accounts import services as account_services
from accounts.audit import Event
from accounts.context import NO_REQUEST, RequestContext
from accounts.models import Account, AuditEvent, Membership
from accounts.policy import GRANTS, Actor, ActorKind, KeyPermission, Role
from apikeys import services as key_services
from apikeys.leaks import Leak
from apikeys.models import APIKey
from apikeys.services import ImportedKey, Overlap
from tests import factories
from tests.conftest import Cast

pytestmark = pytest.mark.django_db(transaction=True)

#: They change nothing; `prune_closed` deletes an account with its log.
CHANGE_NOTHING = {
    "apply_changes",
    "initial_changes",
    "invalid_fields",
    "lock_account",
    "lock_actor",
    "lock_for_update",
    "find_invitation",
    "has_address",
    "is_registered",
    "require_not_owner",
    "prune_closed",
    "widens_api_key",
    "widens_service",
    "require_known_services",
    "require_may_change",
}


def member(cast: Cast, who: str) -> Membership:
    return Membership.objects.get(account=cast.account, user=getattr(cast, who))


def person(cast: Cast, who: str) -> Actor:
    role = Role(member(cast, who).role)
    user = getattr(cast, who)
    return Actor(ActorKind.PERSON, str(user.pk), user.email, cast.account.ref, GRANTS[role], role)


def offered(cast: Cast) -> Account:
    return account_services.offer_ownership(actor=person(cast, "owner"), membership=member(cast, "admin"))


def closed(cast: Cast) -> Account:
    return account_services.close_account(actor=person(cast, "owner"), name="Acme")


def suspended(cast: Cast) -> Account:
    return account_services.suspend_account(actor=policy.system(cast.account.ref))


def disabled(cast: Cast) -> APIKey:
    return factories.make_key(cast.account, disabled_at=timezone.now()).api_key


CALLS: dict[str, Callable[[Cast, Actor], object]] = {
    "create_account": lambda c, a: account_services.create_account(name="Other", owner=c.owner),
    "change_account": lambda c, a: account_services.change_account(actor=a, name="Other"),
    "suspend_account": lambda c, a: account_services.suspend_account(actor=a),
    "resume_account": lambda c, a: (suspended(c), account_services.resume_account(actor=a)),
    "close_account": lambda c, a: account_services.close_account(actor=a, name="Acme"),
    "reopen_account": lambda c, a: (closed(c), account_services.reopen_account(actor=a)),
    "create_project": lambda c, a: account_services.create_project(actor=a, name="web"),
    "change_project": lambda c, a: account_services.change_project(
        actor=a, project=factories.make_project(c.account), name="site"
    ),
    "delete_project": lambda c, a: account_services.delete_project(actor=a, project=factories.make_project(c.account)),
    "create_deployment": lambda c, a: account_services.create_deployment(
        actor=a, project=factories.make_project(c.account), revision="1"
    ),
    "delete_deployment": lambda c, a: account_services.delete_deployment(
        actor=a, deployment=factories.make_deployment(factories.make_project(c.account))
    ),
    "add_member": lambda c, a: account_services.add_member(actor=a, user=c.stranger, role=Role.USER),
    "change_role": lambda c, a: account_services.change_role(actor=a, membership=member(c, "user"), role=Role.ADMIN),
    "remove_member": lambda c, a: account_services.remove_member(actor=a, membership=member(c, "user")),
    "reset_two_factor": lambda c, a: account_services.reset_two_factor(
        user=factories.give_second_factor(c.user), by=account_services.Initiator(a.kind, a.id, a.label)
    ),
    "leave": lambda c, a: account_services.leave(actor=person(c, "user")),
    "invite": lambda c, a: account_services.invite(actor=a, email="x@example.com", role=Role.USER, link=str),
    "resend_invitation": lambda c, a: account_services.resend_invitation(
        actor=a, invitation=factories.make_invitation(c.account).invitation, link=str
    ),
    "change_invitation": lambda c, a: account_services.change_invitation(
        actor=a, invitation=factories.make_invitation(c.account).invitation, role=Role.ADMIN
    ),
    "withdraw_invitation": lambda c, a: account_services.withdraw_invitation(
        actor=a, invitation=factories.make_invitation(c.account).invitation
    ),
    "accept_invitation": lambda c, a: account_services.accept_invitation(
        token=factories.make_invitation(c.account, c.stranger.email).token, user=c.stranger, context=NO_REQUEST
    ),
    "join": lambda c, a: account_services.join(
        token=factories.make_invitation(c.account).token, name="", password="x" * 12, context=NO_REQUEST
    ),
    "offer_ownership": lambda c, a: offered(c),
    "withdraw_ownership": lambda c, a: (offered(c), account_services.withdraw_ownership(actor=a)),
    "accept_ownership": lambda c, a: (offered(c), account_services.accept_ownership(actor=person(c, "admin"))),
    "create_api_key": lambda c, a: key_services.create_api_key(actor=a, name="x", permission=KeyPermission.READ),
    "import_api_keys": lambda c, a: key_services.import_api_keys(
        actor=a, rows=[ImportedKey(2, "x", KeyPermission.READ, "0" * 64, "x", None)]
    ),
    "import_valid_api_keys": lambda c, a: key_services.import_valid_api_keys(
        actor=a, rows=[ImportedKey(2, "x", KeyPermission.READ, "0" * 64, "x", None)]
    ),
    "change_api_key": lambda c, a: key_services.change_api_key(
        actor=a, api_key=factories.make_key(c.account).api_key, name="y"
    ),
    "disable_api_key": lambda c, a: key_services.disable_api_key(
        actor=a, api_key=factories.make_key(c.account).api_key
    ),
    "enable_api_key": lambda c, a: key_services.enable_api_key(actor=a, api_key=disabled(c)),
    "rotate_api_key": lambda c, a: key_services.rotate_api_key(
        actor=a, api_key=factories.make_key(c.account).api_key, overlap=Overlap.DAY
    ),
    "revoke_api_key": lambda c, a: key_services.revoke_api_key(actor=a, api_key=factories.make_key(c.account).api_key),
    "revoke_api_keys": lambda c, a: key_services.revoke_api_keys(
        actor=a, api_keys=[factories.make_key(c.account).api_key]
    ),
    "flag_exposed_key": lambda c, a: key_services.flag_exposed_key(
        api_key=factories.make_key(c.account).api_key, address="203.0.113.7"
    ),
    "report_leaked_keys": lambda c, a: key_services.report_leaked_keys(
        leaks=[Leak(factories.make_key(c.account).secret)], context=RequestContext("203.0.113.7")
    ),
    "expire_api_key": lambda c, a: key_services.expire_api_key(
        api_key=factories.make_key(c.account, expires_at=timezone.now() - timedelta(days=1)).api_key
    ),
    "create_service": lambda c, a: key_services.create_service(actor=a, name="Reports API"),
    "change_service": lambda c, a: key_services.change_service(
        actor=a, service=factories.make_service(c.account), name="Search API"
    ),
    "delete_service": lambda c, a: key_services.delete_service(actor=a, service=factories.make_service(c.account)),
}

#: The event that each service records last.
EVENTS = {
    "create_account": "member.added",
    "change_account": "account.changed",
    "suspend_account": "account.suspended",
    "resume_account": "account.resumed",
    "close_account": "account.closed",
    "reopen_account": "account.reopened",
    "create_project": "project.created",
    "change_project": "project.changed",
    "delete_project": "project.deleted",
    "create_deployment": "deployment.created",
    "delete_deployment": "deployment.deleted",
    "add_member": "member.added",
    "change_role": "member.changed",
    "remove_member": "member.removed",
    "reset_two_factor": "member.two_factor_reset",
    "leave": "member.left",
    "invite": "member.invited",
    "resend_invitation": "invitation.sent",
    "change_invitation": "invitation.changed",
    "withdraw_invitation": "invitation.withdrawn",
    "accept_invitation": "member.joined",
    "join": "member.joined",
    "offer_ownership": "ownership.offered",
    "withdraw_ownership": "ownership.withdrawn",
    "accept_ownership": "ownership.taken",
    "create_api_key": "api_key.created",
    "import_api_keys": "api_key.imported",
    "import_valid_api_keys": "api_key.imported",
    "change_api_key": "api_key.changed",
    "disable_api_key": "api_key.disabled",
    "enable_api_key": "api_key.enabled",
    "rotate_api_key": "api_key.rotated",
    "revoke_api_key": "api_key.revoked",
    "revoke_api_keys": "api_key.revoked",
    "flag_exposed_key": "api_key.exposed",
    "report_leaked_keys": "api_key.revoked",
    "expire_api_key": "api_key.expired",
    "create_service": "service.created",
    "change_service": "service.changed",
    "delete_service": "service.deleted",
}

#: The changes in that event, for each service that records changes.
CHANGES: dict[str, audit.Changes] = {
    "create_account": {"role": (None, "owner")},
    "change_account": {"name": ("Acme", "Other")},
    "change_project": {"name": ("web", "site")},
    "add_member": {"role": (None, "user")},
    "change_role": {"role": ("user", "admin")},
    "remove_member": {"role": ("user", None)},
    "leave": {"role": ("user", None)},
    "invite": {"role": (None, "user")},
    "change_invitation": {"role": ("user", "admin")},
    "accept_invitation": {"role": (None, "user")},
    "join": {"role": (None, "user")},
    "accept_ownership": {"owner": ("owner@example.com", "admin@example.com")},
    "create_api_key": {"permission": (None, "read")},
    "import_api_keys": {"permission": (None, "read")},
    "import_valid_api_keys": {"permission": (None, "read")},
    "change_api_key": {"name": ("Deploys", "y")},
    "rotate_api_key": {"successor": (None, mock.ANY), "expires_at": (None, mock.ANY)},
    "change_service": {"name": ("Reports API", "Search API")},
}


def services() -> Iterator[str]:
    for module in (account_services, key_services):
        for name, service in inspect.getmembers(module, inspect.isfunction):
            is_ours = service.__module__.startswith(module.__name__)
            if is_ours and not name.startswith("_") and name not in CHANGE_NOTHING:
                yield name


def test_every_service_is_listed() -> None:
    assert set(services()) == set(CALLS) == set(EVENTS), "Add a call to CALLS and its event to EVENTS"


@pytest.mark.parametrize("name", CALLS)
def test_a_service_records_what_it_changes_and_outside_a_request_too(name: str, cast: Cast) -> None:
    CALLS[name](cast, person(cast, "owner"))
    event = AuditEvent.objects.latest("at")
    assert event.event == EVENTS[name]
    assert event.changes == {field: list(values) for field, values in CHANGES.get(name, {}).items()}


# In one transaction -----------------------------------------------------------------------------


class RecordFails(Exception):
    """As if the last event of a service could not be written."""


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows of the tables that services write to."""
    models = [*apps.get_app_config("accounts").get_models(), *apps.get_app_config("apikeys").get_models()]
    return {model.__name__: list(model._base_manager.order_by("pk").values()) for model in models}


def wrapped(
    monkeypatch: pytest.MonkeyPatch, name: str, around: Callable[[Callable[..., Any], dict[str, Any]], None]
) -> None:
    """Replaces the service by `around(service, fields)` after its arguments were created."""
    module = key_services if hasattr(key_services, name) and name not in dir(account_services) else account_services
    service = getattr(module, name)
    monkeypatch.setattr(module, name, lambda **fields: around(service, fields))


@pytest.mark.parametrize("name", CALLS)
def test_a_service_whose_event_can_not_be_recorded_changes_nothing(
    name: str, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = audit.record_all

    def fail_at_the_last(*, event: Event, **fields: Any) -> Any:
        if event == EVENTS[name]:
            raise RecordFails
        return record(event=event, **fields)

    def around(service: Callable[..., Any], fields: dict[str, Any]) -> None:
        before = everything()
        with mock.patch.object(audit, "record_all", fail_at_the_last), pytest.raises(RecordFails):
            service(**fields)
        assert everything() == before
        called.append(name)

    called: list[str] = []
    wrapped(monkeypatch, name, around)
    CALLS[name](cast, person(cast, "owner"))
    assert called


#: Rows that refer to an account or a key can still be written, and a row that is joined to another isn't locked with
#: it.
LOCK_OPTIONS = {
    "account": {"no_key": True},
    "apikey": {"no_key": True},
    "project": {"of": ("self",)},
    "deployment": {"of": ("self",)},
}


def operator(cast: Cast) -> Actor:
    """Unlike a person, the operator doesn't lock the account when they act."""
    return policy.system(cast.account.ref)


@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize("acting", [operator, lambda cast: person(cast, "owner")])
@pytest.mark.parametrize("name", CALLS)
def test_a_service_locks_what_it_changes(
    name: str, acting: Callable[[Cast], Actor], cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two concurrent calls run one after the other: the rows are locked, or all rows of their account or their user."""

    def around(service: Callable[..., Any], fields: dict[str, Any]) -> None:
        locked = set()

        def lock(rows: QuerySet[Any], **options: Any) -> QuerySet[Any]:
            locked.add(model := rows.model._meta.model_name)
            assert options == LOCK_OPTIONS.get(model, {})
            return select_for_update(rows, **options)

        monkeypatch.setattr(QuerySet, "select_for_update", lock)
        with CaptureQueriesContext(connection) as queries:
            service(**fields)
        monkeypatch.setattr(QuerySet, "select_for_update", select_for_update)
        written = re.findall(r'(?:UPDATE|DELETE FROM) "[a-z]+_(\w+)"', "\n".join(query["sql"] for query in queries))
        assert not written or locked & {"account", "user", *written}
        called.append(name)

    called: list[str] = []
    select_for_update = QuerySet.select_for_update
    wrapped(monkeypatch, name, around)
    CALLS[name](cast, acting(cast))
    assert called


# Only what changes ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize("name", CALLS)
def test_a_service_saves_only_the_columns_whose_value_changes(
    name: str, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the row was read earlier, and other processes may have changed it."""

    def around(service: Callable[..., Any], fields: dict[str, Any]) -> None:
        before = everything()
        with CaptureQueriesContext(connection) as queries:
            service(**fields)
        changed = {
            (model.lower(), column)
            for model, rows in everything().items()
            for old, new in product(before[model], rows)
            for column in new
            if old["id"] == new["id"] and old[column] != new[column]
        }
        for query in queries:
            if update := re.match(r'UPDATE "[a-z]+_(\w+)" SET (.*) WHERE "\w+"\."id" = ', query["sql"]):
                assert {(update[1], column) for column in re.findall(r'"(\w+)" = ', update[2])} <= changed
        called.append(name)

    called: list[str] = []
    wrapped(monkeypatch, name, around)
    CALLS[name](cast, person(cast, "owner"))
    assert called
