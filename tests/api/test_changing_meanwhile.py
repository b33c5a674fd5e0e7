"""If a key is revoked or restricted after its request passed the gate, the request changes nothing."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.request import Request

from accounts.models import Account, AuditEvent, Membership
from accounts.policy import GRANTS, KeyPermission, KeyRole
from apikeys.models import APIKey
from apikeys.services import Issued
from atatus_dash.api.base import APIView
from tests import factories
from tests.conftest import ADMINISTRATOR_KEY, Cast, Program
from tests.servers import install, serving, wait_for

from .test_matrix import ROUTES, fill, things

__all__ = ["things"]

pytestmark = pytest.mark.django_db

#: For each request, a body with which it would change something.
BODIES: dict[tuple[str, str], dict[str, Any] | None] = {
    ("PATCH", "v2/account"): {"name": "Other"},
    ("POST", "v2/projects"): {"name": "site"},
    ("PUT", "v2/projects/<id:project_id>"): {"name": "site"},
    ("PATCH", "v2/projects/<id:project_id>"): {"name": "site"},
    ("DELETE", "v2/projects/<id:project_id>"): None,
    ("POST", "v2/projects/<id:project_id>/deployments"): {"revision": "1"},
    ("DELETE", "v2/projects/<id:project_id>/deployments/<id:deployment_id>"): None,
    ("POST", "v2/api-keys"): {"name": "x", "permission": "read"},
    ("POST", "v2/api-keys/revoke"): {"ids": ["<id:key_id>"]},
    ("POST", "v2/api-keys/import"): {"api_keys": [{"name": "x", "permission": "read", "digest": "0" * 64}]},
    ("PATCH", "v2/api-keys/<id:key_id>"): {"name": "Other"},
    ("DELETE", "v2/api-keys/<id:key_id>"): None,
    ("POST", "v2/api-keys/<id:key_id>/rotate"): {"overlap": "24h"},
    ("POST", "v2/services"): {"name": "Reports API"},
    ("PATCH", "v2/services/<id:service_id>"): {"name": "Search API"},
    ("DELETE", "v2/services/<id:service_id>"): None,
    ("PATCH", "v2/members/<id:member_id>"): {"role": "admin"},
    ("DELETE", "v2/members/<id:member_id>"): None,
    ("POST", "v2/invitations"): {"email": "new2@example.com", "role": "user"},
    ("PATCH", "v2/invitations/<id:invitation_id>"): {"role": "admin"},
    ("DELETE", "v2/invitations/<id:invitation_id>"): None,
}


def body_of(method: str, route: str, things: dict[str, str]) -> Any:
    """The body, with the ids of the items."""
    return json.loads(fill(json.dumps(BODIES[method, route]), things)[1:])


A_MINUTE_AGO = timezone.now() - timedelta(minutes=1)

#: What happens to the key or its account in the meantime, and the response to the request.
FATES: dict[str, tuple[dict[str, Any], dict[str, Any], int, str]] = {
    "revoked": ({"revoked_at": A_MINUTE_AGO}, {}, 401, "API key has been revoked!"),
    "expired": ({"expires_at": A_MINUTE_AGO}, {}, 401, "API key has expired!"),
    "disabled": ({"disabled_at": A_MINUTE_AGO}, {}, 401, "API key is disabled!"),
    "read": ({"permission": "read"}, {}, 403, "This API key does not have the Write permission."),
    "bound elsewhere": (
        {"allowed_networks": ["203.0.113.0/24"]},
        {},
        403,
        "This API key may not be used from this address.",
    ),
    "kept out": ({"access": "[]"}, {}, 403, "This API key has no access to this API."),
    "suspended": ({}, {"suspended_at": A_MINUTE_AGO}, 403, "This account is suspended."),
    "closed": ({}, {"closed_at": A_MINUTE_AGO}, 403, "This account is closed."),
    "closed and suspended": (
        {},
        {"closed_at": A_MINUTE_AGO, "suspended_at": A_MINUTE_AGO},
        403,
        "This account is closed.",
    ),
}


@pytest.fixture
def root(cast: Cast) -> Issued:
    return ADMINISTRATOR_KEY.get(cast)


Meanwhile = Callable[[Callable[[], object]], None]


def once_past_the_gates(patch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Call `happen` after a request has passed the gate, as if the rest of its body were still arriving."""
    gates = APIView.check_permissions

    def pass_gates(view: APIView, request: Request) -> None:
        gates(view, request)
        happen()

    patch.setattr(APIView, "check_permissions", pass_gates)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    return partial(once_past_the_gates, monkeypatch)


def test_every_request_that_changes_something_is_listed_here() -> None:
    changing = {
        (method, route)
        for route, methods in ROUTES.items()
        for method, permission in methods.items()
        if permission is not None and not permission.reads
    }
    assert changing == set(BODIES)


@pytest.mark.parametrize(("method", "route"), BODIES)
def test_a_key_that_stops_working_meanwhile_changes_nothing(
    cast: Cast, things: dict[str, str], root: Issued, method: str, route: str
) -> None:
    for fate, (of_key, of_account, status, message) in FATES.items():

        def happen(of_key: dict[str, Any] = of_key, of_account: dict[str, Any] = of_account) -> None:
            APIKey.objects.filter(pk=root.api_key.pk).update(**of_key)
            Account.objects.filter(pk=cast.account.pk).update(**of_account)

        with pytest.MonkeyPatch.context() as patch, transaction.atomic():
            once_past_the_gates(patch, happen)
            response = Program(root.secret).send(method, fill(route, things), body_of(method, route, things))
            assert (response.status_code, response.json()) == (status, {"Message": message}), fate
            assert not AuditEvent.objects.filter(actor_id=root.api_key.id).exists(), fate
            transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("method", "route"), [item for item in BODIES if ROUTES[item[1]][item[0]] not in GRANTS[KeyRole.KEY]]
)
def test_a_key_that_loses_administrator_access_meanwhile_changes_nothing(
    things: dict[str, str], root: Issued, meanwhile: Meanwhile, method: str, route: str
) -> None:
    meanwhile(lambda: APIKey.objects.filter(pk=root.api_key.pk).update(administrator=False))
    response = Program(root.secret).send(method, fill(route, things), body_of(method, route, things))
    assert (response.status_code, response.json()) == (403, {"Message": "This item is for administrators only."})
    assert not AuditEvent.objects.filter(actor_id=root.api_key.id).exists()


def test_a_key_that_loses_the_read_permission_meanwhile_cannot_invite_an_admin(
    root: Issued, meanwhile: Meanwhile
) -> None:
    meanwhile(lambda: APIKey.objects.filter(pk=root.api_key.pk).update(permission="write"))
    response = Program(root.secret).send("POST", "/v2/invitations", {"email": "a@example.com", "role": "admin"})
    assert response.status_code == 403


def test_a_key_that_gets_an_expiry_meanwhile_cannot_promote_a_member(
    cast: Cast, things: dict[str, str], root: Issued, meanwhile: Meanwhile
) -> None:
    soon = timezone.now() + timedelta(days=1)
    meanwhile(lambda: APIKey.objects.filter(pk=root.api_key.pk).update(expires_at=soon))
    response = Program(root.secret).send("PATCH", fill("v2/members/<id:member_id>", things), {"role": "admin"})
    assert response.status_code == 403
    assert Membership.objects.get(user=cast.user).role == "user"


@pytest.mark.parametrize(("method", "route"), BODIES)
def test_an_unchanged_key_can_make_changes_that_it_may_make(
    things: dict[str, str], root: Issued, method: str, route: str
) -> None:
    response = Program(root.secret).send(method, fill(route, things), body_of(method, route, things))
    assert response.status_code in (200, 201, 204)
    assert AuditEvent.objects.filter(actor_id=root.api_key.id, actor_label="Root").exists()


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_a_key_can_revoke_and_disable_itself(root: Issued, method: str) -> None:
    path = f"/v2/api-keys/{root.api_key.id}"
    assert Program(root.secret).send(method, path, {"disabled": True} if method == "PATCH" else None).status_code < 300
    assert Program(root.secret).get("/v2").status_code == 401


def test_a_request_that_only_reads_locks_nothing(
    root: Issued, things: dict[str, str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):  # finding the key
        Program(root.secret).get("/v2")


# In parallel ----------------------------------------------------------------------------------------


def answer_after(send: Callable[[], Any], meanwhile: Callable[[], object]) -> Any:
    """The answer to a request that has passed the gate, and waits for a lock while `meanwhile` runs."""
    answers: list[Any] = []

    def send_once() -> None:
        try:
            answers.append(send())
        finally:
            connection.close()

    with pytest.MonkeyPatch.context() as patch:
        passed = threading.Event()
        once_past_the_gates(patch, passed.set)
        thread = threading.Thread(target=send_once)
        with transaction.atomic():
            meanwhile()
            thread.start()
            assert passed.wait(10)
            thread.join(0.3)
            assert not answers
        thread.join(10)
    return answers[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("narrowed", "status"), [({"revoked_at": A_MINUTE_AGO}, 401), ({"permission": "read"}, 403)], ids=["ended", "read"]
)
def test_a_change_waits_for_a_running_revocation(cast: Cast, narrowed: dict[str, Any], status: int) -> None:
    """The request passes the gate before the other transaction ends, and is refused afterwards."""
    root = factories.make_key(cast.account, "Root", administrator=True)
    answer = answer_after(
        lambda: Program(root.secret).send("POST", "/v2/projects", {"name": "late"}),
        lambda: APIKey.objects.filter(pk=root.api_key.pk).update(**narrowed),
    )
    assert answer.status_code == status
    assert not cast.account.projects.exists()


def patched_while(root: Issued, path: str, wish: dict[str, Any], meanwhile: Callable[[], object]) -> Any:
    """The answer to a PATCH that waits for the lock while `meanwhile` runs."""
    return answer_after(lambda: Program(root.secret).send("PATCH", path, wish), meanwhile)


@pytest.mark.django_db(transaction=True)
def test_a_patch_keeps_restrictions_that_were_added_while_it_waited(cast: Cast) -> None:
    root = factories.make_key(cast.account, "Root", administrator=True)
    target = factories.make_key(cast.account, "Target").api_key
    rows = APIKey.objects.filter(pk=target.pk)
    answer = patched_while(
        root,
        f"/v2/api-keys/{target.id}",
        {"description": "mine"},
        lambda: rows.update(allowed_networks=["10.0.0.0/8"], permission="read"),
    )
    assert answer.status_code == 200
    assert rows.values_list("description", "allowed_networks", "permission").get() == ("mine", ["10.0.0.0/8"], "read")


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_restricted_while_its_patch_waits_cannot_widen_beyond_the_restriction(cast: Cast) -> None:
    root = factories.make_key(cast.account, "Root", administrator=True)
    target = factories.make_key(cast.account, "Target", allowed_networks=["10.0.0.0/8"]).api_key
    answer = patched_while(
        root,
        f"/v2/api-keys/{target.id}",
        {"allowed_networks": []},
        lambda: APIKey.objects.filter(pk=root.api_key.pk).update(allowed_networks=["127.0.0.0/8"]),
    )
    assert answer.status_code == 403
    assert APIKey.objects.get(pk=target.pk).allowed_networks == ["10.0.0.0/8"]


@pytest.mark.django_db(transaction=True)
def test_a_revocation_waits_for_a_running_change(cast: Cast) -> None:
    root = factories.make_key(cast.account, "Root", administrator=True)
    ended = threading.Event()

    def revoke() -> None:
        try:
            APIKey.objects.filter(pk=root.api_key.pk).update(revoked_at=timezone.now())
            ended.set()
        finally:
            connection.close()

    with transaction.atomic():
        assert Program(root.secret).send("POST", "/v2/projects", {"name": "in time"}).status_code == 201
        thread = threading.Thread(target=revoke)
        thread.start()
        assert not ended.wait(0.3)
    thread.join(10)
    assert ended.is_set()
    assert Program(root.secret).get("/v2").status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", [("DELETE", None), ("PATCH", {"disabled": True}), ("PATCH", {"administrator": False})])
def test_of_two_keys_that_revoke_each_other_at_once_one_succeeds(
    cast: Cast, what: tuple[str, dict[str, Any] | None]
) -> None:
    method, body = what

    def act(start: threading.Barrier, me: Issued, other: Issued) -> int:
        start.wait()
        try:
            status: int = Program(me.secret).send(method, f"/v2/api-keys/{other.api_key.id}", body).status_code
            return status
        finally:
            connection.close()

    for _ in range(8):
        one, two = (factories.make_key(cast.account, name, administrator=True) for name in ("One", "Two"))
        start = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(act, [start] * 2, [one, two], [two, one]))
        assert sorted(answers) in ([200, 401], [200, 403], [204, 401]), answers


@pytest.mark.django_db(transaction=True)
def test_simultaneous_changes_of_members_and_keys_never_deadlock(cast: Cast) -> None:
    keys = [factories.make_key(cast.account, f"Root {n}", administrator=True) for n in range(3)]
    member = Membership.objects.get(account=cast.account, user=cast.user)
    target = factories.make_key(cast.account, "Target").api_key
    requests: list[tuple[str, str, Callable[[int], dict[str, str]]]] = [
        ("PATCH", f"/v2/members/{member.id}", lambda n: {"role": ("admin", "user")[n % 2]}),
        ("PATCH", f"/v2/api-keys/{keys[0].api_key.id}", lambda n: {"description": str(n)}),
        ("PATCH", "/v2/account", lambda n: {"name": f"Acme {n}"}),
        ("POST", "/v2/projects", lambda n: {"name": f"p{n}"}),
        ("POST", f"/v2/api-keys/{target.id}/rotate", lambda n: {"overlap": "24h"}),
        ("PATCH", f"/v2/api-keys/{keys[2].api_key.id}", lambda n: {"description": str(n)}),
    ]

    def act(n: int) -> int:
        method, path, body = requests[n % len(requests)]
        try:
            status: int = Program(keys[n % 3].secret).send(method, path, body(n)).status_code
            return status
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(act, range(48)))
    assert all(status in (200, 201, 400) for status in answers), answers


# Over a real server -----------------------------------------------------------------------------


def test_a_key_that_is_revoked_while_its_body_arrives_creates_no_key(tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1")
    secret = installation.key("Root", "read_write", "--administrator")
    body = json.dumps({"name": "Late", "permission": KeyPermission.READ_WRITE.value}).encode()
    head = (
        "POST /v2/api-keys HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"X-API-KEY: {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with serving(installation) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as late:
        late.sendall(head + body[:20])
        wait_for(lambda: server.get("/v2", secret).status == 200, "the key to be valid")
        installation.run("revoke_api_key", secret)
        late.sendall(body[20:])
        answer = b"".join(iter(lambda: late.recv(65_536), b""))
        assert b" 401 " in answer.splitlines()[0], answer
        assert b"API key has been revoked!" in answer
        other = installation.key("Reader", "read", "--administrator")
        assert "Late" not in server.get("/v2/api-keys", other).body.decode()
