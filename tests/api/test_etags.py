"""ETags: a program can't undo a change that it hasn't seen, and an item that it already has isn't sent again."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account, AuditEvent, Deployment, Invitation, Membership, Project
from accounts.policy import KeyPermission, system
from apikeys import services, usage
from apikeys.gate import Place
from apikeys.models import APIKey, KeyUsage, Service
from apikeys.usage import counts
from tests import factories
from tests.admin_pages import admin_url
from tests.conftest import Browser, Cast, Program

from .test_changing_meanwhile import BODIES, answer_after, once_past_the_gates
from .test_fields import VALUES
from .test_idempotency import VIEWS
from .test_matrix import fill, things

__all__ = ["things"]

pytestmark = pytest.mark.django_db

ITEMS = sorted(route for route, view in VIEWS.items() if view.has_etag and view.needs_key())
CHANGING = sorted((method, route) for method, route in BODIES if method in ("PUT", "PATCH", "DELETE"))
CHANGED = "This item has changed since you read it. Get it again, with its new ETag."
OTHER = '"0123456789abcdef0123456789abcdef"'


@pytest.fixture
def key(cast: Cast) -> APIKey:
    return factories.make_key(cast.account, "Another").api_key


def etag(program: Program, path: str) -> str:
    return str(program.get(path)["ETag"])


def if_match(program: Program, method: str, path: str, tag: str, fields: Any = None) -> Any:
    return program.send(method, path, fields, headers={"If-Match": tag})


def assert_changed(response: Any, message: str = CHANGED) -> None:
    assert (response.status_code, response.json()) == (412, {"Message": message})
    assert response["Content-Type"] == "application/json"


# Tags --------------------------------------------------------------------------------------------


def test_every_item_that_can_be_changed_has_an_etag() -> None:
    assert {route for _, route in CHANGING} <= set(ITEMS)
    for route in ITEMS:
        shown = VIEWS[route].response_serializers
        assert set(shown.values()) == {shown["GET"]}, "the answer to a change is the item as GET shows it"


@pytest.mark.parametrize("route", ITEMS)
def test_an_item_has_the_same_tag_until_it_changes(administrator: Program, things: dict[str, str], route: str) -> None:
    path = fill(route, things)
    tag = etag(administrator, path)
    assert etag(administrator, path) == etag(administrator, f"{path}/") == tag
    assert administrator.head(path)["ETag"] == tag
    is_weak = route in ("v2/api-keys/<id:key_id>", "v2/services/<id:service_id>")
    assert tag.startswith('W/"' if is_weak else '"')
    assert len(tag.removeprefix("W/")) == 34


@pytest.mark.parametrize(("method", "route"), [item for item in CHANGING if item[0] != "DELETE"])
def test_the_answer_to_a_change_has_the_new_tag(
    administrator: Program, things: dict[str, str], method: str, route: str
) -> None:
    path = fill(route, things)
    before = etag(administrator, path)
    answer = administrator.send(method, path, BODIES[method, route])
    assert answer["ETag"] == etag(administrator, path) != before
    assert administrator.send(method, path, BODIES[method, route])["ETag"] == answer["ETag"]


def test_the_answer_to_a_change_of_everything_has_the_tag_of_the_stored_item(
    administrator: Program, things: dict[str, str]
) -> None:
    """A value that was sent and the same value from the database may be written differently."""
    given = {**VALUES, "expires_at": "2030-01-01T02:00:00.5+02:00", "allowed_networks": ["127.0.0.0/8", "::1"]}
    for route in ITEMS:
        if "PATCH" in VIEWS[route].request_serializers:
            fields = VIEWS[route].request_serializers["PATCH"]().fields
            sent = {name: given[name] for name, field in fields.items() if not field.read_only}
            answer = administrator.send("PATCH", fill(route, things), sent)
            assert answer.status_code == 200
            assert answer["ETag"] == etag(administrator, fill(route, things))


@pytest.mark.parametrize("path", ["/v2", "/v2/projects", "/v2/api-keys", "/v2/usage"])
def test_whatever_is_no_item_has_no_tag(administrator: Program, path: str) -> None:
    assert "ETag" not in administrator.get(path)
    assert administrator.get(path, headers={"If-None-Match": "*"}).status_code == 200


FAR = timezone.now() + timedelta(days=100)


def _set(key: APIKey, **settings: Any) -> None:
    services.change_api_key(actor=system(key.account.ref), api_key=key, **settings)


#: Every way to change a key so that GET shows the change.
CHANGES: dict[str, Callable[[APIKey], object]] = {
    "name": partial(_set, name="Other"),
    "description": partial(_set, description="x"),
    "permission": partial(_set, permission="read"),
    "administrator": partial(_set, administrator=True),
    "expires_at": partial(_set, expires_at=timezone.now() + timedelta(days=100)),
    "allowed_networks": partial(_set, allowed_networks=["10.0.0.0/8"]),
    "rate_limit": partial(_set, rate_limit="5/minute"),
    "accepts_query": partial(_set, accepts_query=False),
    "accepts_body": partial(_set, accepts_body=False),
    "access": partial(_set, access="[]"),
    "disabled": partial(_set, disabled=True),
    "revoking": lambda key: services.revoke_api_key(actor=system(key.account.ref), api_key=key),
    "the clock": lambda key: APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now()),
    "rotating": lambda key: services.rotate_api_key(
        actor=system(key.account.ref), api_key=key, overlap=services.Overlap.HOUR
    ),
    "SQL": lambda key: APIKey.objects.filter(pk=key.pk).update(created_by="x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_tag_of_a_key_changes_with_each_of_its_fields(administrator: Program, key: APIKey, change: str) -> None:
    path = f"/v2/api-keys/{key.id}"
    before = etag(administrator, path)
    CHANGES[change](key)
    assert etag(administrator, path) != before


def test_the_tag_changes_with_a_change_on_a_page_and_in_admin(
    cast: Cast, administrator: Program, desk: Browser, key: APIKey
) -> None:
    path = f"/v2/api-keys/{key.id}"
    before = etag(administrator, path)
    assert Browser().as_(cast.owner).post(f"/accounts/acme/settings/api-keys/{key.id}/disable/").status_code == 302
    disabled = etag(administrator, path)
    desk.post(admin_url(APIKey, "changelist"), {"action": "enable", "_selected_action": key.pk})
    assert APIKey.objects.get(pk=key.pk).disabled_at is None
    assert etag(administrator, path) == before != disabled


def test_the_tag_of_a_key_stays_when_the_key_is_used(administrator: Program, key: APIKey) -> None:
    path = f"/v2/api-keys/{key.id}"
    before = administrator.get(path)
    usage.record({"REMOTE_ADDR": "203.0.113.7"}, key_id=key.id, place=Place.HEADER, status=200)
    counts.flush()
    after = administrator.get(path)
    assert after.json()["last_used_from"] != before.json()["last_used_from"]
    assert after["ETag"] == before["ETag"]


def test_the_tag_of_a_service_stays_when_a_gateway_asks(cast: Cast, administrator: Program) -> None:
    service = factories.make_service(cast.account)
    before = etag(administrator, f"/v2/services/{service.id}")
    Service.objects.update(last_question_at=timezone.now())
    assert etag(administrator, f"/v2/services/{service.id}") == before


def test_the_tag_says_nothing_about_fields_that_are_not_shown(cast: Cast) -> None:
    shared = factories.make_service(cast.elsewhere)
    Service.objects.update(shared=True)
    program = Program(factories.make_key(cast.account).secret)
    before = etag(program, f"/v2/services/{shared.id}")
    Service.objects.update(upstream="http://10.0.0.8:3000", gateways=["10.0.0.7"])
    assert etag(program, f"/v2/services/{shared.id}") == before


# If-None-Match -----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ITEMS)
def test_304_for_an_item_that_the_client_has(administrator: Program, things: dict[str, str], route: str) -> None:
    path = fill(route, things)
    first = administrator.get(path)
    for sent in (first["ETag"], f"{OTHER}, {first['ETag']}", "*", f"W/{first['ETag'].removeprefix('W/')}"):
        for method in ("GET", "HEAD"):
            again = administrator.send(method, path, headers={"If-None-Match": sent})
            assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
            for name in ("Cache-Control", "X-Request-ID", "RateLimit"):
                assert name in again
            assert not {"Content-Length", "Content-Type"} & set(again.headers)


@pytest.mark.parametrize("sent", [OTHER, "", "nonsense", '"', "W/", "0123456789abcdef0123456789abcdef", '"*"'])
def test_200_for_another_tag_or_a_malformed_one(cast: Cast, program: Program, sent: str) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    answer = program.get(path, headers={"If-None-Match": sent})
    assert (answer.status_code, answer.json()["name"]) == (200, "web")


def test_a_304_is_counted_and_limited(cast: Cast) -> None:
    issued = factories.make_key(cast.account, rate_limit="2/minute")
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    program = Program(issued.secret)
    tag = etag(program, path)
    answers = [program.get(path, headers={"If-None-Match": tag}).status_code for _ in range(2)]
    assert answers == [304, 429]
    counts.flush()
    used = KeyUsage.objects.get(api_key=issued.api_key)
    assert (used.requests, used.succeeded, used.throttled) == (3, 2, 1)


def test_no_304_without_the_permission_to_read(cast: Cast) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    write = Program(factories.make_key(cast.account, permission=KeyPermission.WRITE).secret)
    assert write.get(path, headers={"If-None-Match": "*"}).status_code == 403
    assert Program("nonsense").get(path, headers={"If-None-Match": "*"}).status_code == 401


def test_an_item_takes_no_more_queries_with_a_tag(
    cast: Cast, program: Program, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    with django_assert_num_queries(2):  # the key, the project
        program.get(path, headers={"If-None-Match": "*"})


# If-Match ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "route"), CHANGING)
def test_a_change_of_the_item_that_was_read_is_made(
    administrator: Program, things: dict[str, str], method: str, route: str
) -> None:
    path = fill(route, things)
    tag = etag(administrator, path)
    events = AuditEvent.objects.count()
    for sent in (tag, f'{OTHER} , {tag},"x"', f"W/{tag.removeprefix('W/')}", "*"):
        with transaction.atomic():
            answer = if_match(administrator, method, path, sent, BODIES[method, route])
            assert answer.status_code == (204 if method == "DELETE" else 200), sent
            assert AuditEvent.objects.count() == events + 1, sent
            transaction.set_rollback(True)


@pytest.mark.parametrize(("method", "route"), CHANGING)
def test_412_for_a_change_of_an_item_that_has_changed(
    administrator: Program, things: dict[str, str], method: str, route: str
) -> None:
    path = fill(route, things)
    events = AuditEvent.objects.count()
    assert_changed(if_match(administrator, method, path, OTHER, BODIES[method, route]))
    assert AuditEvent.objects.count() == events


def test_two_programs_that_read_the_same_item_can_not_both_change_it(administrator: Program, key: APIKey) -> None:
    path = f"/v2/api-keys/{key.id}"
    tag = etag(administrator, path)
    first = if_match(administrator, "PATCH", path, tag, {"allowed_networks": ["10.0.0.0/8"]})
    assert_changed(if_match(administrator, "PATCH", path, tag, {"permission": "read", "allowed_networks": []}))
    assert if_match(administrator, "PATCH", path, first["ETag"], {"permission": "read"}).status_code == 200
    assert APIKey.objects.get(pk=key.pk).allowed_networks == ["10.0.0.0/8"]


def test_without_if_match_a_change_is_made_as_before(administrator: Program, key: APIKey) -> None:
    assert administrator.send("PATCH", f"/v2/api-keys/{key.id}", {"name": "Other"}).status_code == 200


def test_a_key_is_changed_although_it_was_used_meanwhile(administrator: Program, key: APIKey) -> None:
    path = f"/v2/api-keys/{key.id}"
    tag = etag(administrator, path)
    APIKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now(), last_used_from="203.0.113.7")
    assert if_match(administrator, "PATCH", path, tag, {"name": "Other"}).status_code == 200


def test_an_item_that_was_deleted_is_404_for_any_tag(cast: Cast, program: Program) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    tag = etag(program, path)
    program.delete(path)
    for sent in (tag, "*"):
        assert if_match(program, "PATCH", path, sent, {"name": "x"}).status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("sent", ["", "nonsense", '"', "W/", "0123456789abcdef0123456789abcdef", "W/*"])
def test_400_for_a_malformed_if_match_and_nothing_is_changed(
    cast: Cast, program: Program, method: str, sent: str
) -> None:
    project = factories.make_project(cast.account)
    answer = if_match(program, method, f"/v2/projects/{project.id}", sent, {"name": "x"})
    assert (answer.status_code, answer.json()["Message"]) == (400, "If-Match is malformed.")
    assert list(answer.json()["Errors"]) == ["If-Match"]
    assert Project.objects.get(pk=project.pk).name == "web"


def test_get_obeys_if_match_too(cast: Cast, program: Program) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    tag = etag(program, path)
    assert program.get(path, headers={"If-Match": tag}).status_code == 200
    assert_changed(program.get(path, headers={"If-Match": OTHER}))
    assert program.get(path, headers={"If-Match": tag, "If-None-Match": tag}).status_code == 304
    assert_changed(program.get(path, headers={"If-Match": OTHER, "If-None-Match": tag}))


def test_a_change_obeys_if_none_match_too(cast: Cast, program: Program) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    for sent in (etag(program, path), "*"):
        answer = program.send("PATCH", path, {"name": "x"}, headers={"If-None-Match": sent})
        assert_changed(answer, "This item matches If-None-Match.")
    assert program.send("PATCH", path, {"name": "x"}, headers={"If-None-Match": OTHER}).status_code == 200


def test_dates_are_no_preconditions_because_items_have_none(cast: Cast, program: Program) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    long_ago = "Sat, 29 Oct 1994 19:43:31 GMT"
    assert program.send("PATCH", path, {"name": "x"}, headers={"If-Unmodified-Since": long_ago}).status_code == 200
    assert program.get(path, headers={"If-Modified-Since": long_ago}).status_code == 200


# Other refusals come first (RFC 9110, §13.2.1) ---------------------------------------------------


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_invalid_fields_are_400_and_not_412(cast: Cast, program: Program, header: str) -> None:
    project = factories.make_project(cast.account, "web")
    headers = {header: '"0"' if header == "If-Match" else "*"}
    answers = [
        program.send("PATCH", f"/v2/projects/{project.id}", fields, headers=headers)
        for fields in ({"name": "Web"}, {"name": ""}, {"nom": "Web"})
    ]
    assert [answer.status_code for answer in answers] == [412, 400, 400]


def test_what_may_not_be_changed_is_403_and_not_412(cast: Cast, administrator: Program) -> None:
    shared = factories.make_service(cast.elsewhere)
    Service.objects.update(shared=True)
    for method in ("PATCH", "DELETE"):
        assert if_match(administrator, method, f"/v2/services/{shared.id}", OTHER, {"name": "x"}).status_code == 403
    read = Program(factories.make_key(cast.account, permission=KeyPermission.READ).secret)
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    assert if_match(read, "PATCH", path, OTHER, {"name": "x"}).status_code == 403


def test_an_item_of_another_account_is_404_and_not_412(cast: Cast, administrator: Program) -> None:
    project = factories.make_project(cast.elsewhere)
    service = factories.make_service(cast.elsewhere)
    for path in (f"/v2/projects/{project.id}", f"/v2/services/{service.id}"):
        assert if_match(administrator, "PATCH", path, OTHER, {"name": "x"}).status_code == 404
        assert administrator.get(path, headers={"If-None-Match": "*"}).status_code == 404


def test_a_key_that_is_revoked_meanwhile_is_401_and_not_412(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    root = factories.make_key(cast.account, "Root")
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    rows = APIKey.objects.filter(pk=root.api_key.pk)
    once_past_the_gates(monkeypatch, lambda: rows.update(revoked_at=timezone.now()))
    assert if_match(Program(root.secret), "PATCH", path, OTHER, {"name": "x"}).status_code == 401


def test_a_write_key_may_protect_its_change(cast: Cast) -> None:
    write = Program(factories.make_key(cast.account, permission=KeyPermission.WRITE).secret)
    path = f"/v2/projects/{factories.make_project(cast.account).id}"
    tag = write.send("PATCH", path, {"name": "x"})["ETag"]
    assert if_match(write, "PATCH", path, tag, {"name": "y"}).status_code == 200
    assert_changed(if_match(write, "PATCH", path, tag, {"name": "z"}))


# At once -----------------------------------------------------------------------------------------

#: A change by somebody else, as one statement.
ELSEWHERE: dict[str, Callable[[], object]] = {
    "v2/account": lambda: Account.objects.filter(slug="acme").update(name="Theirs"),
    "v2/api-keys/<id:key_id>": lambda: APIKey.objects.filter(name="Another").update(description="Theirs"),
    "v2/invitations/<id:invitation_id>": lambda: Invitation.objects.update(expires_at=timezone.now()),
    "v2/members/<id:member_id>": lambda: Membership.objects.filter(role="user").update(joined_at=timezone.now()),
    "v2/projects/<id:project_id>": lambda: Project.objects.update(name="Theirs"),
    "v2/projects/<id:project_id>/deployments/<id:deployment_id>": lambda: Deployment.objects.update(changes="Theirs"),
    "v2/services/<id:service_id>": lambda: Service.objects.update(upstream="http://10.0.0.8:3000"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "route"), CHANGING)
def test_412_for_a_change_that_waits_while_somebody_else_changes_the_item(
    cast: Cast, things: dict[str, str], method: str, route: str
) -> None:
    """The tag still matches when the request arrives, but no longer when the request has got the lock."""
    root = factories.make_key(cast.account, "Root", administrator=True)
    path = fill(route, things)
    tag = etag(Program(root.secret), path)
    events = AuditEvent.objects.count()
    answer = answer_after(
        lambda: if_match(Program(root.secret), method, path, tag, BODIES[method, route]), ELSEWHERE[route]
    )
    assert_changed(answer)
    assert AuditEvent.objects.count() == events


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("route", "field"),
    [
        ("v2/account", "name"),
        ("v2/api-keys/<id:key_id>", "description"),
        ("v2/projects/<id:project_id>", "name"),
        ("v2/services/<id:service_id>", "name"),
    ],
)
def test_of_many_changes_of_one_version_at_once_one_is_made(
    cast: Cast, things: dict[str, str], route: str, field: str
) -> None:
    """Each request has its own key, so that the lock of a key doesn't put them in order."""
    programs = [Program(factories.make_key(cast.account, f"Root {n}", administrator=True).secret) for n in range(6)]
    path = fill(route, things)

    def send(start: threading.Barrier, program: Program, tag: str, value: str) -> Any:
        start.wait()
        try:
            return if_match(program, "PATCH", path, tag, {field: value})
        finally:
            connection.close()

    for number in range(5):
        start, tag = threading.Barrier(6), etag(programs[0], path)
        values = [f"{number} {n}" for n in range(6)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(send, [start] * 6, programs, [tag] * 6, values))
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
        (made,) = (answer for answer in answers if answer.status_code == 200)
        now = programs[0].get(path)
        assert (now.json()[field], now["ETag"]) == (made.json()[field], made["ETag"])


@pytest.mark.django_db(transaction=True)
def test_protected_and_other_changes_at_once_never_deadlock(cast: Cast, things: dict[str, str]) -> None:
    keys = [factories.make_key(cast.account, f"Root {n}", administrator=True) for n in range(3)]
    things["<id:key_id>"] = keys[0].api_key.id
    bodies: list[tuple[str, Callable[[int], dict[str, Any]]]] = [
        ("v2/account", lambda n: {"name": f"Acme {n}"}),
        ("v2/api-keys/<id:key_id>", lambda n: {"description": str(n)}),
        ("v2/projects/<id:project_id>", lambda n: {"name": str(n)}),
        ("v2/members/<id:member_id>", lambda n: {"role": ("admin", "user")[n % 2]}),
        ("v2/services/<id:service_id>", lambda n: {"name": str(n)}),
    ]

    def send(n: int) -> int:
        route, body = bodies[n % 5]
        try:
            path, program = fill(route, things), Program(keys[n % 3].secret)
            answer = if_match(program, "PATCH", path, "*", body(n)) if n % 4 else program.send("PATCH", path, body(n))
            return int(answer.status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send, range(60))) == {200}
