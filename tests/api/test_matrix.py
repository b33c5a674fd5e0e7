"""Two accounts × every route × every method, generated from the URLconf: a new route fails until it is listed."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import AuditEvent, Membership
from accounts.policy import KEY_GRANTS, KeyPermission, KeyRole, Permission
from apikeys.models import APIKey
from apikeys.services import Issued
from atatus_dash.api.base import APIView
from atatus_dash.api.docs import DocsView
from tests import factories
from tests.clones import Clone
from tests.conftest import KEY, Cast, Program, alike

pytestmark = pytest.mark.django_db

#: Deleting comes last: a test may send all of them to one item.
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# Each route with the permission that each method needs; None allows any key.
ROUTES: dict[str, dict[str, Permission | None]] = {
    "v2": {"GET": None, "POST": None},
    "v2/account": {"GET": Permission.ACCOUNT_READ, "PATCH": Permission.ACCOUNT_CHANGE},
    "v2/projects": {"GET": Permission.PROJECT_READ, "POST": Permission.PROJECT_CHANGE},
    "v2/projects/<id:project_id>": {
        "GET": Permission.PROJECT_READ,
        "PUT": Permission.PROJECT_CHANGE,
        "PATCH": Permission.PROJECT_CHANGE,
        "DELETE": Permission.PROJECT_CHANGE,
    },
    "v2/projects/<id:project_id>/deployments": {
        "GET": Permission.DEPLOYMENT_READ,
        "POST": Permission.DEPLOYMENT_CHANGE,
    },
    "v2/projects/<id:project_id>/deployments/<id:deployment_id>": {
        "GET": Permission.DEPLOYMENT_READ,
        "DELETE": Permission.DEPLOYMENT_CHANGE,
    },
    "v2/api-keys": {"GET": Permission.API_KEY_READ, "POST": Permission.API_KEY_CHANGE},
    "v2/api-keys/revoke": {"POST": Permission.API_KEY_CHANGE},
    "v2/api-keys/import": {"POST": Permission.API_KEY_CHANGE},
    "v2/api-keys/<id:key_id>": {
        "GET": Permission.API_KEY_READ,
        "PATCH": Permission.API_KEY_CHANGE,
        "DELETE": Permission.API_KEY_CHANGE,
    },
    "v2/api-keys/<id:key_id>/rotate": {"POST": Permission.API_KEY_CHANGE},
    "v2/services": {"GET": Permission.SERVICE_READ, "POST": Permission.SERVICE_CHANGE},
    "v2/services/<id:service_id>": {
        "GET": Permission.SERVICE_READ,
        "PATCH": Permission.SERVICE_CHANGE,
        "DELETE": Permission.SERVICE_CHANGE,
    },
    "v2/members": {"GET": Permission.MEMBER_READ},
    "v2/members/<id:member_id>": {
        "GET": Permission.MEMBER_READ,
        "PATCH": Permission.MEMBER_CHANGE,
        "DELETE": Permission.MEMBER_CHANGE,
    },
    "v2/invitations": {"GET": Permission.MEMBER_READ, "POST": Permission.MEMBER_CHANGE},
    "v2/invitations/<id:invitation_id>": {
        "GET": Permission.MEMBER_READ,
        "PATCH": Permission.MEMBER_CHANGE,
        "DELETE": Permission.MEMBER_CHANGE,
    },
    "v2/audit-events": {"GET": Permission.AUDIT_READ},
    "v2/audit-events/<id:event_id>": {"GET": Permission.AUDIT_READ},
    "v2/usage": {"GET": Permission.USAGE_READ},
    "v2/leaked-keys": {"POST": None},
    "v2/openapi.json": {"GET": None},
}


def api_routes(
    patterns: list[URLPattern | URLResolver] | None = None, prefix: str = ""
) -> Iterator[tuple[str, type[APIView]]]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if route.startswith("v2") or "v2/".startswith(route):
                yield from api_routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and route.startswith("v2"):
            view = cast(Any, pattern.callback).view_class
            if not issubclass(view, DocsView):  # tests/api/test_reference.py
                yield route, view


def test_every_route_is_listed_here() -> None:
    assert {route for route, _ in api_routes()} == set(ROUTES)


def test_every_method_declares_what_it_needs() -> None:
    for route, view in api_routes():
        handled = {method for method in METHODS if hasattr(view, method.lower())}
        assert handled == set(view.permissions) == set(ROUTES[route]), route
        assert dict(view.permissions) == ROUTES[route]


def test_every_method_names_its_request_and_response_serializers() -> None:
    for route, view in api_routes():
        methods = set(view.permissions)
        assert set(view.request_serializers) == methods - {"GET", "DELETE"}
        assert set(view.response_serializers) == methods - {"DELETE"}, route
        assert set(view.operations) == methods


def test_safe_methods_need_a_reading_permission_and_the_others_a_changing_one() -> None:
    for needed in ROUTES.values():
        for method, permission in needed.items():
            if permission is not None:
                assert permission.reads == (method == "GET")


def _things(cast: Cast) -> dict[str, str]:
    project = factories.make_project(cast.account)
    return {
        "<id:project_id>": project.id,
        "<id:deployment_id>": factories.make_deployment(project).id,
        "<id:key_id>": factories.make_key(cast.account, "Another").api_key.id,
        "<id:service_id>": factories.make_service(cast.account).id,
        "<id:member_id>": Membership.objects.get(account=cast.account, user=cast.user).id,
        "<id:invitation_id>": factories.make_invitation(cast.account).invitation.id,
        "<id:event_id>": AuditEvent.objects.for_account(cast.account).values_list("id", flat=True)[0],
    }


THINGS = Clone(_things)


@pytest.fixture
def things(cast: Cast) -> dict[str, str]:
    return THINGS.get(cast)


def fill(route: str, things: dict[str, str]) -> str:
    for placeholder, value in things.items():
        route = route.replace(placeholder, value)
    return "/" + route


def with_power(issued: Issued, permission: KeyPermission, role: KeyRole = KeyRole.KEY) -> Program:
    """A program whose key has this power now. A new key would take longer."""
    administrator = role == KeyRole.ADMINISTRATOR
    APIKey.objects.filter(pk=issued.api_key.pk).update(permission=permission, administrator=administrator)
    return Program(issued.secret)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("role", alike(KeyRole, repeat=KeyRole.ADMINISTRATOR))
@pytest.mark.parametrize("permission", alike(KeyPermission, repeat=KeyPermission.READ_WRITE))
def test_a_key_can_do_what_its_power_covers_and_nothing_else(
    cast: Cast, things: dict[str, str], route: str, role: KeyRole, permission: KeyPermission
) -> None:
    program = with_power(KEY.get(cast), permission, role)
    beyond_its_power = route.endswith("/rotate") and permission == KeyPermission.WRITE
    for method in METHODS:
        status = program.send(method, fill(route, things), None if method == "GET" else {}).status_code
        if method not in ROUTES[route]:
            expected = {405}
        elif beyond_its_power or ROUTES[route][method] not in {None, *KEY_GRANTS[role, permission.value]}:
            expected = {403}
        else:
            expected = {200, 201, 204, 400}
        assert status in expected, method


@pytest.mark.parametrize("route", [route for route in ROUTES if "<" in route])
def test_another_accounts_items_are_404(cast: Cast, things: dict[str, str], route: str) -> None:
    stranger = Program(factories.make_key(cast.elsewhere, administrator=True).secret)
    for method in METHODS:
        fields = None if method == "GET" else {"name": "mine", "revision": "1"}
        response = stranger.send(method, fill(route, things), fields)
        assert response.status_code == (404 if method in ROUTES[route] else 405), method


@pytest.mark.parametrize("route", [route for route in ROUTES if "GET" in ROUTES[route]])
def test_head_works_like_get(administrator: Program, things: dict[str, str], route: str) -> None:
    path = fill(route, things)
    assert administrator.head(path).status_code == administrator.get(path).status_code == 200


#: Every route but the description, which is the same for everybody, and has an account called Acme in its examples.
OF_AN_ACCOUNT = [
    route for route in ROUTES if "<" not in route and "GET" in ROUTES[route] and route != "v2/openapi.json"
]


@pytest.mark.parametrize("route", OF_AN_ACCOUNT)
def test_lists_contain_nothing_of_another_account(cast: Cast, things: dict[str, str], route: str) -> None:
    stranger = Program(factories.make_key(cast.elsewhere, administrator=True).secret)
    response = stranger.get("/" + route)
    text = response.content.decode()
    assert response.status_code == 200
    assert not any(value in text for value in things.values())
    assert "Acme" not in text
