"""Changes to services: who may make them, which are refused, which widen keys, and what is recorded."""

from collections.abc import Callable
from typing import Any

import pytest

from accounts import policy
from accounts.errors import Invalid, NotFound, NotPermitted
from accounts.models import AuditEvent
from accounts.policy import GRANTS, KEY_GRANTS, Actor, ActorKind, KeyRole, Role
from accounts.services import prune_closed
from apikeys import services
from apikeys.models import Service
from apikeys.usage import problems
from tests import factories
from tests.accounts.people import actor_of
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


def actor(cast: Cast, role: Role | KeyRole) -> Actor:
    if isinstance(role, Role):
        return actor_of({Role.OWNER: cast.owner, Role.ADMIN: cast.admin, Role.USER: cast.user}[role], cast.account)
    return Actor(ActorKind.KEY, "1", "Some key", cast.account.ref, GRANTS[role], role)


@pytest.mark.parametrize("role", [*Role, *KeyRole])
def test_services_are_changed_by_owner_admins_and_keys_with_administrator_access(
    cast: Cast, role: Role | KeyRole
) -> None:
    service = factories.make_service(cast.account)
    attempts: list[Callable[[], object]] = [
        lambda: services.create_service(actor=actor(cast, role), name="x"),
        lambda: services.change_service(actor=actor(cast, role), service=service, name="y"),
        lambda: services.delete_service(actor=actor(cast, role), service=service),
    ]
    if role in (Role.OWNER, Role.ADMIN, KeyRole.ADMINISTRATOR):
        for attempt in attempts:
            attempt()
        assert [service.name for service in Service.objects.all()] == ["x"]
    else:
        for attempt in attempts:
            with pytest.raises(NotPermitted, match="for administrators only"):
                attempt()


def test_a_read_key_with_administrator_access_changes_no_service(cast: Cast) -> None:
    reader = Actor(
        ActorKind.KEY, "1", "Reader", cast.account.ref, KEY_GRANTS[KeyRole.ADMINISTRATOR, "read"], KeyRole.ADMINISTRATOR
    )
    with pytest.raises(NotPermitted, match="does not have the Write permission"):
        services.create_service(actor=reader, name="x")


def test_a_service_needs_a_name(cast: Cast) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_service(actor=actor(cast, Role.OWNER), upstream="https://reports.internal")
    assert refused.value.errors == {"name": ["This field cannot be blank."]}


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, KeyRole.ADMINISTRATOR])
def test_a_shared_service_is_changed_by_its_own_account_as_any_other(cast: Cast, role: Role | KeyRole) -> None:
    service = factories.make_service(cast.account, shared=True)
    services.change_service(actor=actor(cast, role), service=service, name="x", gateways=["10.0.0.5"])
    service.refresh_from_db()
    assert (service.name, service.gateways, service.shared) == ("x", ["10.0.0.5/32"], True)
    assert AuditEvent.objects.filter(target_id=service.id, event="service.widened").exists()
    services.delete_service(actor=actor(cast, role), service=service)
    assert not Service.objects.exists()


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, KeyRole.ADMINISTRATOR])
def test_another_accounts_shared_service_can_not_be_changed(cast: Cast, role: Role | KeyRole) -> None:
    service = factories.make_service(cast.elsewhere, shared=True)
    attempts: list[Callable[[], object]] = [
        lambda: services.change_service(actor=actor(cast, role), service=service, name="x"),
        lambda: services.delete_service(actor=actor(cast, role), service=service),
    ]
    for attempt in attempts:
        with pytest.raises(NotPermitted, match="belongs to another account"):
            attempt()
    assert Service.objects.get().name == "Reports API"


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, KeyRole.ADMINISTRATOR])
def test_only_the_operator_changes_whether_a_service_is_shared(cast: Cast, role: Role | KeyRole) -> None:
    shared = factories.make_service(cast.account, shared=True)
    private = factories.make_service(cast.account)
    attempts: list[Callable[[], object]] = [
        lambda: services.create_service(actor=actor(cast, role), name="x", shared=True),
        lambda: services.change_service(actor=actor(cast, role), service=private, shared=True),
        lambda: services.change_service(actor=actor(cast, role), service=shared, shared=False),
    ]
    for attempt in attempts:
        with pytest.raises(NotPermitted, match="Only the operator"):
            attempt()
    assert set(Service.objects.values_list("pk", "shared")) == {(shared.pk, True), (private.pk, False)}
    services.change_service(actor=policy.system(cast.account.ref), service=shared, shared=False)
    assert not Service.objects.filter(shared=True).exists()


def test_another_accounts_service_is_not_found(cast: Cast) -> None:
    other = factories.make_service(cast.elsewhere)
    with pytest.raises(NotFound):
        services.change_service(actor=actor(cast, Role.OWNER), service=other, name="x")
    with pytest.raises(NotFound):
        services.delete_service(actor=actor(cast, Role.OWNER), service=other)


def test_an_account_sees_its_own_services_and_shared_ones(cast: Cast) -> None:
    own, shared = factories.make_service(cast.account), factories.make_service(cast.elsewhere, shared=True)
    factories.make_service(cast.elsewhere)

    assert list(Service.objects.visible_to(cast.account)) == [shared, own]
    assert list(Service.objects.for_account(cast.account)) == [own]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a" * 101),
        ("name", "two\nlines"),
        ("gateways", ["home"]),
        ("gateways", "10.0.0.5"),
        ("gateways", ["10.0.0.5"] * 51),
        ("reading_methods", ["GET POST"]),
        ("reading_methods", [""]),
        ("reading_methods", "GET"),
        ("reading_methods", ["GET"] * 21),
        ("reading_methods", ["A" * 21]),
        ("reading_paths", ["graphql"]),
        ("reading_paths", ["/a/../b"]),
        ("reading_paths", ["/a*"]),
        ("reading_paths", ["/a/\u202e/b"]),
        ("reading_paths", [f"/{number}" for number in range(51)]),
        ("upstream", "10.0.0.8"),
        ("upstream", "ftp://10.0.0.8"),
        ("upstream", "http://"),
        ("upstream", "http://user:word@10.0.0.8"),
        ("upstream", "http://10.0.0.8/?a=b"),
        ("upstream", "http://10.0.0.8/#a"),
        ("upstream", "http://10.0.0.8:0"),
        ("upstream", "http://10.0.0.8:65536"),
        ("upstream", "http://10.0.0.8/$host;"),
        ("upstream", "http://[10.0.0.8]/"),
        ("upstream", "http://10.0.0.8\n"),
        ("upstream", "http://" + "a" * 200),
    ],
)
def test_invalid_settings_are_named_and_change_nothing(cast: Cast, field: str, value: Any) -> None:
    service = factories.make_service(cast.account)
    sent = {field: value}
    attempts: list[Callable[[], object]] = [
        lambda: services.create_service(actor=policy.system(cast.account.ref), **{"name": "x", **sent}),
        lambda: services.change_service(actor=policy.system(cast.account.ref), service=service, **sent),
    ]
    for attempt in attempts:
        with pytest.raises(Invalid) as refused:
            attempt()
        assert list(refused.value.errors or {}) == [field]
    assert list(Service.objects.values_list("name", flat=True)) == ["Reports API"]


@pytest.mark.parametrize(
    "upstream",
    ["", "http://localhost", "https://api.example.com:8443/v1/", "http://reports_1:3000", "http://[2001:db8::1]:80"],
)
def test_an_upstream_is_an_origin_with_an_optional_path(cast: Cast, upstream: str) -> None:
    assert factories.make_service(cast.account, upstream=upstream).upstream == upstream


@pytest.mark.parametrize(("gateway", "stays"), [("10.0.0.9", False), ("10.0.0.8", True)])
def test_listing_the_gateway_that_was_refused_ends_the_problem(cast: Cast, gateway: str, stays: bool) -> None:
    problem = problems.unlisted("10.0.0.9")
    service = factories.make_service(cast.account, gateways=["10.0.0.5"], problem=problem)
    services.change_service(actor=actor(cast, Role.OWNER), service=service, gateways=["10.0.0.5", gateway])
    service.refresh_from_db()
    assert service.problem == (problem if stays else "")


def test_whether_invalid_settings_widen_a_service_is_not_answered(cast: Cast) -> None:
    with pytest.raises(Invalid) as refused:
        services.widens_service(factories.make_service(cast.account), gateways=["nonsense"])
    assert list(refused.value.errors or {}) == ["gateways"]


def test_lists_are_stored_in_normal_form(cast: Cast) -> None:
    service = factories.make_service(
        cast.account,
        reading_methods=["post", " GET ", "POST"],
        reading_paths=["/a", "/b/*", "/a"],
        gateways=["::ffff:10.0.0.5", "10.0.0.5/32", "10.0.1.7/24"],
    )
    assert service.reading_methods == ["GET", "POST"]
    assert service.reading_paths == ["/a", "/b/*"]
    assert service.gateways == ["10.0.0.5/32", "10.0.1.0/24"]


@pytest.mark.parametrize(
    ("field", "before", "after", "is_wider"),
    [
        ("name", "a", "b", False),
        ("upstream", "", "http://a", False),
        ("gateways", [], ["10.0.0.5"], True),
        ("gateways", ["10.0.0.0/24"], ["10.0.0.5", "10.0.0.6"], False),
        ("gateways", ["10.0.0.5"], ["10.0.0.0/24"], True),
        ("gateways", ["10.0.0.5"], [], False),
        ("gateways", ["10.0.0.5"], ["2001:db8::1"], True),
        ("reading_methods", ["GET"], ["GET", "POST"], True),
        ("reading_methods", ["GET", "HEAD"], ["GET"], True),  # a Write key may send HEAD
        ("reading_methods", ["GET"], ["POST"], True),
        ("reading_paths", ["/a/*"], ["/a", "/a/b/*"], True),  # a Write key may send GET /a/c
        ("reading_paths", ["/a/*"], ["/a/*", "/a"], False),
        ("reading_paths", ["/a"], ["/a/*"], True),
        ("reading_paths", [], ["/a"], True),
        ("reading_paths", ["/a"], [], True),
        *[
            (field, before, not before, not before)
            for field in ("preflight", "query_keys", "shared")
            for before in (0, 1)
        ],
    ],
)
def test_a_change_that_allows_more_has_its_own_event(
    cast: Cast, field: str, before: Any, after: Any, is_wider: bool
) -> None:
    service = factories.make_service(cast.account, **{"name": "x", field: before})

    assert services.widens_service(service, **{field: after}) == is_wider

    services.change_service(actor=policy.system(cast.account.ref), service=service, **{field: after})
    events = AuditEvent.objects.filter(event__in=["service.changed", "service.widened"])
    assert [event.event for event in events] == ["service.widened" if is_wider else "service.changed"]
    assert list(events[0].changes) == [field]


def test_a_change_that_changes_nothing_is_not_recorded(cast: Cast) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.5"])
    services.change_service(
        actor=policy.system(cast.account.ref),
        service=service,
        gateways=["10.0.0.5/32"],
        reading_methods=["get", "HEAD", "OPTIONS"],
    )
    assert not AuditEvent.objects.filter(event__in=["service.changed", "service.widened"]).exists()


def test_services_are_deleted_with_their_account(cast: Cast) -> None:
    factories.make_service(cast.account, shared=True)
    cast.account.closed_at = cast.account.created_at.replace(year=2001)
    cast.account.save()
    prune_closed()
    assert not Service.objects.exists()
