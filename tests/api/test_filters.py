"""The filters of lists, and lists that stay complete while their items change."""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.fields import Field

from accounts.models import AuditEvent, Project
from accounts.policy import KeyPermission, Role, system
from apikeys import services, tokens
from apikeys.models import APIKey
from atatus_dash.api.schema.document import document
from atatus_dash.api.serializers import TextFilter
from tests import factories
from tests.conftest import Cast, Program

from .test_matrix import api_routes, fill, things

__all__ = ["things"]

pytestmark = pytest.mark.django_db

FIELDS: dict[str, dict[str, Field[Any, Any, Any, Any]]] = {
    route: dict(view.filter_serializer().fields) for route, view in api_routes() if view.filter_serializer().fields
}
LISTS = list(FIELDS)
PARAMETERS = [(route, name) for route in LISTS for name in FIELDS[route]]
OF_TEXT = [(route, name) for route, name in PARAMETERS if isinstance(FIELDS[route][name], TextFilter)]


def names(program: Program, path: str, field: str = "name", **query: Any) -> list[str]:
    response = program.get(path, query)
    assert response.status_code == 200, response.content
    return [row[field] for row in response.json()["results"]]


def test_every_list_has_filters() -> None:
    assert {route for route, view in api_routes() if view.lists} == set(LISTS)


# Keys -------------------------------------------------------------------------------------------


@pytest.fixture
def keys(cast: Cast, administrator: Program) -> Program:
    """A key for each filter. The sender is called Root."""
    service = factories.make_service(cast.account)
    now = timezone.now()
    factories.make_key(cast.account, "Revoked", revoked_at=now, disabled_at=now, expires_at=now - timedelta(days=1))
    factories.make_key(cast.account, "Expired", disabled_at=now, expires_at=now - timedelta(days=1))
    factories.make_key(cast.account, "Disabled", disabled_at=now)
    factories.make_key(cast.account, "Reader", permission=KeyPermission.READ)
    factories.make_key(cast.account, "Writer", permission=KeyPermission.WRITE)
    factories.make_key(cast.account, "Narrow", access=f'[{{"service":"{service.id}"}}]')
    factories.make_key(cast.account, "None", access="[]")
    APIKey.objects.filter(name="Reader").update(created_by="olga@example.com")
    return administrator


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "active"}, {"Root", "Reader", "Writer", "Narrow", "None"}),
        ({"state": "disabled"}, {"Disabled"}),
        ({"state": "expired"}, {"Expired"}),
        ({"state": "revoked"}, {"Revoked"}),
        ({"permission": "read"}, {"Reader"}),
        ({"permission": "write"}, {"Writer"}),
        ({"administrator": "true"}, {"Root"}),
        ({"administrator": "false", "permission": "read_write", "state": "active"}, {"Narrow", "None"}),
        ({"created_by": "olga@example.com"}, {"Reader"}),
        ({"created_by": "olga"}, set()),
        ({"q": "read"}, {"Reader"}),
        ({"q": "r", "state": "active", "permission": "write"}, {"Writer"}),
        ({"q": "nothing"}, set()),
        ({"state": "", "q": "", "permission": "write"}, {"Writer"}),
        ({"service": "api", "permission": "write"}, {"Writer"}),
    ],
)
def test_keys_are_filtered(keys: Program, query: dict[str, str], found: set[str]) -> None:
    assert set(names(keys, "/v2/api-keys", **query)) == found


def test_keys_are_filtered_by_the_service_that_they_have_access_to(keys: Program, cast: Cast) -> None:
    service = services.create_service(actor=system(cast.account.ref), name="Other")
    narrow = APIKey.objects.get(name="Narrow")
    assert "Narrow" not in names(keys, "/v2/api-keys", service=service.id)
    assert "Root" in names(keys, "/v2/api-keys", service=service.id)
    own = re.search(r"svc_\w+", str(narrow.access))
    assert own is not None
    assert "Narrow" in names(keys, "/v2/api-keys", service=own.group())
    assert "None" not in names(keys, "/v2/api-keys", service=own.group())


def test_a_key_is_found_by_its_id_and_by_its_mask(keys: Program) -> None:
    key = APIKey.objects.get(name="Writer")
    assert names(keys, "/v2/api-keys", q=key.id) == ["Writer"]
    assert names(keys, "/v2/api-keys", q=key.mask) == ["Writer"]
    assert names(keys, "/v2/api-keys", q=key.mask[-4:], permission="write") == ["Writer"]


@pytest.mark.parametrize(("route", "name"), OF_TEXT)
def test_a_whole_key_in_a_filter_is_refused_and_not_repeated(
    administrator: Program, things: dict[str, str], caplog: pytest.LogCaptureFixture, route: str, name: str
) -> None:
    secret = tokens.generate()
    response = administrator.get(fill(route, things), {name: f"x{secret}"})
    assert (response.status_code, list(response.json()["Errors"])) == (400, [name])
    assert secret not in response.content.decode() + str(response.headers) + caplog.text


def test_a_key_of_another_system_is_not_found_by_its_text(keys: Program, cast: Cast) -> None:
    secret = "key-of-another-system-0123456789"
    row = services.ImportedKey(1, "Imported", KeyPermission.READ, tokens.digest(secret), "other…", None)
    services.import_api_keys(actor=system(cast.account.ref), rows=[row])
    assert names(keys, "/v2/api-keys", q=secret) == []


# Other lists ------------------------------------------------------------------------------------


def test_projects_are_found_by_a_part_of_their_name_or_their_id(cast: Cast, program: Program) -> None:
    factories.make_project(cast.account, "Shop")
    kept = factories.make_project(cast.account, "Blog", kept_id="5f43a1b2c3d4e5f60718293a")
    other = factories.make_project(cast.account, "Wiki")
    factories.make_project(cast.elsewhere, "Shop of another account")
    assert names(program, "/v2/projects", q="sho") == ["Shop"]
    assert names(program, "/v2/projects", q=str(kept.kept_id)) == ["Blog"]
    assert names(program, "/v2/projects", q=kept.id) == []
    assert names(program, "/v2/projects", q=other.id) == ["Wiki"]


def test_deployments_are_filtered(cast: Cast, program: Program) -> None:
    project = factories.make_project(cast.account)
    days = [datetime(2026, 11, day, tzinfo=timezone.get_default_timezone()) for day in (1, 2, 3)]
    for revision, at, stage in zip(("r1", "r2", "r3"), days, ("staging", "production", "staging"), strict=True):
        factories.make_deployment(project, revision, created_at=at, release_stage=stage)
    path = f"/v2/projects/{project.id}/deployments"
    assert names(program, path, "revision", release_stage="staging") == ["r3", "r1"]
    assert names(program, path, "revision", revision="r2") == ["r2"]
    assert names(program, path, "revision", since=days[1].isoformat()) == ["r3", "r2"]
    assert names(program, path, "revision", until=days[1].isoformat()) == ["r1"]
    assert names(program, path, "revision", since=days[0].isoformat(), until=days[2].isoformat()) == ["r2", "r1"]


def test_members_and_invitations_are_filtered_by_role(cast: Cast, administrator: Program) -> None:
    factories.make_invitation(cast.account, "a@example.com", Role.ADMIN)
    factories.make_invitation(cast.account, "u@example.com", Role.USER)
    assert names(administrator, "/v2/members", "email", role="admin") == ["admin@example.com"]
    assert names(administrator, "/v2/members", "email", role="owner") == ["owner@example.com"]
    assert names(administrator, "/v2/invitations", "email", role="admin") == ["a@example.com"]
    assert administrator.get("/v2/invitations", {"role": "owner"}).status_code == 400


def test_services_are_filtered(cast: Cast, program: Program) -> None:
    factories.make_service(cast.account, "Reports")
    factories.make_service(cast.elsewhere, "Hidden reports")
    shared = factories.make_service(cast.elsewhere, "Maps")
    type(shared).objects.filter(pk=shared.pk).update(shared=True)
    assert names(program, "/v2/services", q="rep") == ["Reports"]
    assert names(program, "/v2/services", q=shared.id) == ["Maps"]
    assert names(program, "/v2/services", shared="true") == ["Maps"]
    assert names(program, "/v2/services", shared="false") == ["Reports"]


# Wrong parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize("route", LISTS)
def test_an_unknown_parameter_is_refused_by_name(administrator: Program, things: dict[str, str], route: str) -> None:
    response = administrator.get(fill(route, things), {"stat": "active"})
    assert (response.status_code, response.json()["Errors"]) == (400, {"stat": ["This parameter is unknown here."]})


@pytest.mark.parametrize("route", LISTS)
def test_a_parameter_that_is_sent_twice_is_refused(administrator: Program, things: dict[str, str], route: str) -> None:
    response = administrator.get(fill(route, things) + "?limit=1&limit=2")
    assert (response.status_code, response.json()["Errors"]) == (400, {"limit": ["Send this parameter once."]})


@pytest.mark.parametrize("route", LISTS)
def test_limit_cursor_and_the_key_are_no_filters(cast: Cast, things: dict[str, str], route: str) -> None:
    secret = factories.make_key(cast.account, administrator=True).secret
    assert Program().get(fill(route, things), {"api_key": secret, "limit": "5", "cursor": ""}).status_code == 200


WRONG = {
    "state": "asleep",
    "permission": "Read",
    "administrator": "maybe",
    "shared": "maybe",
    "role": "king",
    "event": "key.made",
    "since": "yesterday",
    "until": "2026-13-01",
}


@pytest.mark.parametrize(("route", "name"), PARAMETERS)
def test_a_wrong_value_is_refused_by_name(
    administrator: Program, things: dict[str, str], route: str, name: str
) -> None:
    for wrong in ["nul\x00", "line\nbreak", "x" * 255] if (route, name) in OF_TEXT else [WRONG[name]]:
        response = administrator.get(fill(route, things), {name: wrong})
        assert (response.status_code, list(response.json()["Errors"])) == (400, [name])


@pytest.mark.parametrize("key", ["mine", "key_", "key_ä", "svc_7Qm2xV9tKc4LrBzW"])
def test_usage_of_what_is_no_id_of_a_key_is_refused(administrator: Program, key: str) -> None:
    """An empty list would look as if the key had never been used."""
    response = administrator.get("/v2/usage", {"key": key})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["key"])


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_a_time_at_the_ends_of_the_calendar_is_no_fault(administrator: Program, name: str, moment: str) -> None:
    assert administrator.get("/v2/audit-events", {name: moment}).status_code in (200, 400)


def test_the_page_on_resources_names_every_filter() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "api" / "resources.md").read_text()
    for route, name in PARAMETERS:
        path = re.sub(r"<id:\w+>", "{id}", route)
        (row,) = re.findall(rf"^\| `/{re.escape(path)}`.*$", page, re.MULTILINE)
        assert f"`{name}`" in row, (route, name)


# Pages of a filtered list -----------------------------------------------------------------------


def pages(program: Program, path: str) -> Iterator[list[str]]:
    while path:
        response = program.get(path)
        assert response.status_code == 200, response.content
        content = response.json()
        assert response.headers.get("Link", "") == (f'<{content["next"]}>; rel="next"' if content["next"] else "")
        yield [row["id"] for row in content["results"]]
        path = (content["next"] or "").removeprefix("https://testserver")


def cursor_pattern(route: str) -> str:
    """The description of a list's cursors in `/v2/openapi.json`."""
    path = re.sub("<id:([^>]*)>", r"{\1}", f"/{route}")
    (parameter,) = [each for each in document()["paths"][path]["get"]["parameters"] if each["name"] == "cursor"]
    return str(parameter["schema"]["pattern"])


@pytest.mark.parametrize("route", LISTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_a_list_accepts_every_cursor_that_the_description_allows(
    administrator: Program, things: dict[str, str], route: str, data: st.DataObject
) -> None:
    pattern = re.compile(cursor_pattern(route).replace("$", r"\Z"))
    cursor = data.draw(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii")))
    assert administrator.get(fill(route, things), {"cursor": cursor}).status_code == 200


@pytest.mark.parametrize("route", ["v2/members", "v2/api-keys", "v2/usage"])
def test_the_description_has_the_pattern_of_cursors_that_lists_return(
    cast: Cast, administrator: Program, route: str
) -> None:
    """Cursors of texts, numbers, times and days."""
    for number in range(3):
        factories.make_usage(factories.make_key(cast.account).api_key, date(2026, 11, 24 + number), succeeded=1)
    following = administrator.get(f"/{route}", {"limit": "1"}).json()["next"]
    (cursor,) = parse_qs(urlsplit(following).query)["cursor"]
    assert re.search(cursor_pattern(route), cursor)


def test_next_keeps_the_filters_and_never_the_key(cast: Cast) -> None:
    secret = factories.make_key(cast.account, "Root", administrator=True).secret
    for number in range(3):
        factories.make_key(cast.account, f"Büro & {number}", permission=KeyPermission.READ)
    query = {"q": "Büro & ", "permission": "read", "limit": "2", "api_key": secret}
    response = Program().get("/v2/api-keys", query)
    sent = parse_qs(urlsplit(response.json()["next"]).query)
    del sent["cursor"]
    assert sent == {"q": ["Büro & "], "permission": ["read"], "limit": ["2"]}
    assert secret not in response["Link"]


def test_a_filtered_list_is_complete_and_without_doubles_while_keys_are_added(
    cast: Cast, administrator: Program
) -> None:
    before = [factories.make_key(cast.account, permission=KeyPermission.READ).api_key.id for _ in range(7)]
    found: list[str] = []
    for page in pages(administrator, "/v2/api-keys?permission=read&limit=2"):
        found += page
        factories.make_key(cast.account, permission=KeyPermission.READ)
    assert found == before[::-1]


#: Adds an item to each list.
ADD: dict[str, Callable[[Cast, dict[str, str]], object]] = {
    "v2/api-keys": lambda cast, things: factories.make_key(cast.account),
    "v2/audit-events": lambda cast, things: factories.make_key(cast.account),
    "v2/invitations": lambda cast, things: factories.make_invitation(cast.account, f"{tokens.generate()[4:]}@a.test"),
    "v2/members": lambda cast, things: factories.make_member(cast.account, Role.USER),
    "v2/projects": lambda cast, things: factories.make_project(cast.account),
    "v2/projects/<id:project_id>/deployments": lambda cast, things: factories.make_deployment(
        Project.objects.get(pk=things["<id:project_id>"])
    ),
    "v2/services": lambda cast, things: factories.make_service(cast.account),
    "v2/usage": lambda cast, things: factories.make_usage(
        factories.make_key(cast.account).api_key, date(2026, 11, 24), succeeded=1
    ),
}


@pytest.mark.parametrize("route", LISTS)
def test_every_list_is_complete_and_without_doubles_while_items_are_added(
    cast: Cast, administrator: Program, things: dict[str, str], route: str
) -> None:
    def rows(path: str) -> tuple[list[Any], str]:
        content = administrator.get(path).json()
        return [row.get("id") or row["api_key"]["id"] for row in content["results"]], content["next"] or ""

    for _ in range(7):
        ADD[route](cast, things)
    before, _ = rows(fill(route, things) + "?limit=100")
    assert len(before) >= 7
    found, following = rows(fill(route, things) + "?limit=2")
    while following:
        ADD[route](cast, things)
        page, following = rows(following.removeprefix("https://testserver"))
        found += page
    assert found[: len(before)] == before  # new members are at the end, all others before the first page
    assert len(set(found)) == len(found)


def test_a_list_by_state_is_complete_and_without_doubles_while_states_change(
    cast: Cast, administrator: Program
) -> None:
    """Keys that stay active are listed once. Others are listed at most once, whenever they change."""
    made = [factories.make_key(cast.account).api_key for _ in range(12)]
    changing, staying = made[::2], [key.id for key in made[1::2]]
    found: list[str] = []
    for number, page in enumerate(pages(administrator, "/v2/api-keys?state=active&limit=2")):
        found += page
        for key in changing[number : number + 1]:
            services.revoke_api_key(actor=system(cast.account.ref), api_key=key)
        for key in changing[-number - 1 : len(changing) - number]:
            services.revoke_api_key(actor=system(cast.account.ref), api_key=key)
    assert len(set(found)) == len(found)
    assert set(staying) <= set(found)


def test_a_program_can_revoke_what_it_lists_page_by_page(cast: Cast, administrator: Program) -> None:
    for _ in range(7):
        factories.make_key(cast.account, permission=KeyPermission.READ)
    for page in pages(administrator, "/v2/api-keys?state=active&permission=read&limit=2"):
        for id in page:
            assert administrator.delete(f"/v2/api-keys/{id}").status_code == 204
    assert not APIKey.objects.filter(permission="read", revoked_at=None).exists()


@pytest.mark.parametrize("route", LISTS)
def test_filters_need_no_more_queries(administrator: Program, things: dict[str, str], route: str) -> None:
    right = {"state": "active", "permission": "read", "role": "user", "event": "api_key", "key": "key_1"}
    right |= {"since": "2026-01-01", "until": "2026-12-01", "administrator": "1", "shared": "0"}
    query = {name: right.get(name, "web") for name in FIELDS[route]}
    path = fill(route, things)
    administrator.get(path)
    with CaptureQueriesContext(connection) as plain:
        administrator.get(path)
    with CaptureQueriesContext(connection) as filtered:
        assert administrator.get(path, query).status_code == 200
    assert len(filtered) == len(plain)


# One audit event --------------------------------------------------------------------------------


def test_an_event_is_read_by_its_id(cast: Cast, administrator: Program, program: Program) -> None:
    administrator.send("post", "/v2/projects", {"name": "web"})
    event = AuditEvent.objects.get(event="project.created")
    one = administrator.get(f"/v2/audit-events/{event.id}")
    assert one.json() == administrator.get("/v2/audit-events", {"event": "project"}).json()["results"][0]
    assert one.json()["target"]["label"] == "web"
    assert program.get(f"/v2/audit-events/{event.id}").status_code == 403
    assert administrator.get("/v2/audit-events/evt_0000000000000000").status_code == 404
    stranger = Program(factories.make_key(cast.elsewhere, administrator=True).secret)
    assert stranger.get(f"/v2/audit-events/{event.id}").status_code == 404
