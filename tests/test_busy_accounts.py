"""An account sends many changes at once: all of them are made, and other accounts are not delayed."""

import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Account, AuditEvent, Project, User
from accounts.policy import KeyPermission
from accounts.turns import OPERATORS, TURN, Postponed, Turn, turns
from apikeys.models import APIKey, KeyUsage
from apikeys.rates import Rate
from apikeys.usage import counts

from . import factories
from .answers import Answer
from .api.test_matrix import ROUTES, fill, things
from .conftest import Browser, Cast, Program
from .html_forms import filled
from .servers import Installation, Server, install, serving, wait_for
from .test_guard_served import GATEWAY
from .test_pages_access import CHANGES, PAGES_OF_AN_ACCOUNT, address

pytestmark = pytest.mark.stores

__all__ = ["address", "things"]  # fixtures


# Which requests wait ------------------------------------------------------------------------------


@pytest.fixture
def occupy(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Turn]:
    """Takes the only turn of an account."""
    monkeypatch.setattr(turns, "_running", Counter())
    monkeypatch.setattr(turns, "_waiting", {})
    monkeypatch.setattr(turns, "_taken", Counter())
    turns.limit(of_one=1, of_all=9, places=18)

    def occupy(account_id: int) -> Turn:
        turn = Turn()
        turns.take({TURN: turn}, account_id)
        return turn

    return occupy


def _with(turn: Turn) -> dict[str, Any]:
    """The part of the environ with which our server sends a request."""
    return {TURN: turn}


def _waits(send: Callable[..., Any], *args: Any) -> bool:
    """Whether our server would let the request wait."""
    turn = Turn()
    try:
        send(*args, **_with(turn))
    except Postponed:
        return True
    finally:
        turns.end(turn)
    return False


def test_every_change_by_a_key_waits_while_its_account_is_busy_and_nothing_else_does(
    cast: Cast, administrator: Program, things: dict[str, str], occupy: Any
) -> None:
    occupy(cast.account.id)
    for route, methods in ROUTES.items():
        for method in [*methods, "OPTIONS"]:
            permission = methods.get(method)
            changes = permission is not None and not permission.reads
            body: dict[str, str] | None = {} if method in ("POST", "PUT", "PATCH") else None
            assert _waits(administrator.send, method, fill(route, things), body) is changes, (method, route)


def test_a_change_of_another_account_does_not_wait(cast: Cast, program: Program, occupy: Any) -> None:
    occupy(cast.elsewhere.id)
    assert not _waits(program.send, "POST", "/v2/projects", {"name": "web"})


def test_a_request_that_is_refused_does_not_wait(cast: Cast, program: Program, occupy: Any) -> None:
    occupy(cast.account.id)
    read_only = Program(factories.make_key(cast.account, permission=KeyPermission.READ).secret)
    revoked = Program(factories.make_key(cast.account, revoked_at=timezone.now()).secret)
    for refused in (read_only, revoked, Program("atk_" + "a" * 36), Program()):
        assert not _waits(refused.send, "POST", "/v2/projects", {"name": "web"})
    assert not _waits(program.send, "PUT", "/v2/projects", {"name": "web"})
    assert _waits(program.send, "POST", "/v2/projects", {"name": "web"})


def test_every_form_of_an_account_waits_while_it_is_busy_and_no_page_does(
    cast: Cast, browser: Browser, address: Any, occupy: Any
) -> None:
    occupy(cast.account.id)
    browser.as_(cast.owner)
    assert [name for name, (fields, _) in CHANGES.items() if not _waits(browser.post, address(name), fields)] == []
    assert [name for name in PAGES_OF_AN_ACCOUNT if _waits(browser.get, address(name))] == []


@pytest.mark.parametrize("page", ["accounts:new_project", "admin:accounts_account_add"])
def test_a_form_that_renews_the_session_does_not_wait(
    cast: Cast, browser: Browser, operator: User, settings: Settings, occupy: Any, page: str
) -> None:
    """Django renews it after a change of `SECRET_KEY`. The old one has then ended, so the form can't be sent again."""
    in_admin = page.startswith("admin:")
    occupy(OPERATORS if in_admin else cast.account.id)
    browser.as_(operator if in_admin else cast.owner)
    path = reverse(page, args=[] if in_admin else [cast.account.slug])
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "new" * 20
    assert not _waits(browser.post, path, {"name": "web"})
    assert browser.get(path).status_code == 200
    assert _waits(browser.post, path, {"name": "web"})


def test_a_strangers_form_does_not_wait(cast: Cast, address: Any, occupy: Any) -> None:
    occupy(cast.account.id)
    assert not _waits(Browser().as_(cast.stranger).post, address("accounts:new_project"), {"name": "web"})
    assert not _waits(Browser().as_(cast.user).post, address("accounts:new_project"), {"name": "web"})


def test_changes_of_operators_wait_for_each_other(desk: Browser, cast: Cast, occupy: Any) -> None:
    occupy(OPERATORS)
    assert not _waits(desk.get, "/admin/accounts/account/add/")
    assert not _waits(Browser().as_(cast.owner).post, "/admin/accounts/account/add/")
    assert _waits(desk.post, "/admin/accounts/account/add/")


@pytest.mark.parametrize("in_body", [False, True])
def test_a_request_that_waited_counts_once_and_is_answered_as_any_other(cast: Cast, occupy: Any, in_body: bool) -> None:
    key = factories.make_key(cast.account, rate_limit="2/minute")
    sent = {"name": "web", **({"api_key": key.secret} if in_body else {})}
    program = Program(None if in_body else key.secret)
    busy, turn = occupy(cast.account.id), Turn()
    with pytest.raises(Postponed):
        program.send("POST", "/v2/projects", sent, **_with(turn))
    turns.wait(turn, lambda: None)
    turns.end(busy)
    response = program.send("POST", "/v2/projects", sent, **_with(turn))
    turns.end(turn)
    assert response.status_code == 201
    assert response["RateLimit"].startswith('"default";r=1;')
    assert AuditEvent.objects.get(event="project.created").request_id == response["X-Request-ID"]
    assert [program.send("POST", "/v2/projects", sent).status_code for _ in range(2)] == [201, 429]
    counts.flush()
    assert KeyUsage.objects.get(api_key=key.api_key).requests == 3


def test_a_form_that_waited_is_saved_once_and_says_so_once(cast: Cast, occupy: Any) -> None:
    browser = Browser(enforce_csrf_checks=True, headers={"Referer": "https://testserver/"}).as_(cast.owner)
    path = reverse("accounts:new_project", args=[cast.account.slug])
    form = filled(browser.get(path), "name", name="web")
    busy, turn = occupy(cast.account.id), Turn()
    with pytest.raises(Postponed):
        browser.post(path, form, **_with(turn))
    turns.wait(turn, lambda: None)
    turns.end(busy)
    response = browser.post(path, form, **_with(turn))
    turns.end(turn)
    assert response.status_code == 302
    assert Project.objects.filter(name="web").count() == 1
    assert browser.get(response["Location"]).content.decode().count("Project web created") == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/projects", {"name": "web"}),
        ("POST", "/v2/projects", {"name": ""}),
        ("DELETE", "/v2/projects/prj_unknown", None),
    ],
    ids=["valid", "invalid", "unknown"],
)
def test_a_key_that_was_revoked_while_its_request_waited_changes_and_learns_nothing(
    cast: Cast, occupy: Any, method: str, path: str, body: dict[str, str] | None
) -> None:
    """A repeated `Idempotency-Key` neither, whose answer is stored."""
    key = factories.make_key(cast.account)
    sent: dict[str, Any] = {"method": method, "path": path, "data": body, "headers": {"Idempotency-Key": "a"}}
    Program(key.secret).send(**sent)
    busy, turn = occupy(cast.account.id), Turn()
    with pytest.raises(Postponed):
        Program(key.secret).send(**sent, **_with(turn))
    turns.wait(turn, lambda: None)
    APIKey.objects.filter(pk=key.api_key.pk).update(revoked_at=timezone.now())
    turns.end(busy)
    response = Program(key.secret).send(**sent, **_with(turn))
    turns.end(turn)
    assert (response.status_code, response.json()) == (401, {"Message": "API key has been revoked!"})
    counts.flush()
    assert KeyUsage.objects.get(api_key=key.api_key).requests == 2


@pytest.mark.parametrize("page", ["accounts:new_project", "admin:accounts_account_add"])
def test_a_large_form_that_waited_counts_once_against_the_limit_of_forms(
    cast: Cast, browser: Browser, operator: User, settings: Settings, occupy: Any, page: str
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(2, 60)
    in_admin = page.startswith("admin:")
    browser.as_(operator if in_admin else cast.owner)
    path = reverse(page, args=[] if in_admin else [cast.account.slug])
    busy, turn = occupy(OPERATORS if in_admin else cast.account.id), Turn()
    form = {"name": "a" * 20_000}
    with pytest.raises(Postponed):
        browser.post(path, form, **_with(turn))
    turns.wait(turn, lambda: None)
    turns.end(busy)
    browser.post(path, form, **_with(turn))
    turns.end(turn)
    assert [browser.post(path, form).status_code == 429 for _ in range(2)] == [False, True]


# On a server --------------------------------------------------------------------------------------


@pytest.fixture
def installation(transactional_db: None, tmp_path: Path) -> Installation:
    environment = {"ALLOW_HTTP": "1", "API_RATE_LIMIT": "100000/minute"}
    environment |= {"DATABASE_LOCK_TIMEOUT": "30", "DATABASE_STATEMENT_TIMEOUT": "60"}  # on a busy machine
    if connection.vendor == "sqlite":
        return install(tmp_path, **environment)
    database = connection.settings_dict
    login = ":".join(filter(None, (database["USER"], database["PASSWORD"])))
    place = f"{database['HOST']}:{database['PORT'] or 5432}"
    return Installation(tmp_path, {**environment, "DATABASE_URL": f"postgres://{login}@{place}/{database['NAME']}"})


@pytest.fixture
def server(installation: Installation) -> Iterator[Server]:
    with serving(installation, REDIS_URL=None) as server:
        yield server


def _account(name: str) -> Account:
    return factories.make_account(name, factories.make_user(f"{name.lower()}@example.com"))


def _post(server: Server, key: str) -> Answer:
    body = '{"name": "web"}'
    return server.get("/v2/projects", key, "POST", body, Content_Type="application/json")


@pytest.mark.xdist_group("servers")
def test_changes_that_wait_for_a_lock_refuse_no_request_of_another_account(
    installation: Installation, server: Server
) -> None:
    def ask(method: str, path: str, key: str | None) -> int:
        started = time.monotonic()
        status = server.get(path, key, method, **GATEWAY).status
        assert time.monotonic() - started < 2
        return status

    with installation.connected(), ThreadPoolExecutor(40) as pool:
        busy, calm = _account("Busy"), _account("Calm")
        key, other = factories.make_key(busy), factories.make_key(calm)
        service = factories.make_service(calm, gateways=["127.0.0.1"])
        with transaction.atomic():
            list(APIKey.objects.select_for_update().filter(pk=key.api_key.pk))  # on SQLite, the database is locked
            changes = [pool.submit(_post, server, key.secret) for _ in range(40)]
            for _ in range(3):  # less than the ten seconds after which `_post` gives up
                time.sleep(0.2)
                assert ask("GET", "/healthz", None) == 200
                assert ask("GET", "/v2/projects", other.secret) == 200
                assert ask("GET", "/v2/projects", key.secret) == 200
                assert ask("GET", f"/v2/verify/{service.id}/auth-request", other.secret) == 200
                assert ask("GET", "/auth/login/", None) == 200
                if connection.vendor != "sqlite":
                    assert _post(server, other.secret).status == 201
            assert not any(change.done() for change in changes)
        assert _post(server, other.secret).status == 201
        assert Counter(change.result().status for change in changes) == {201: 40}


@pytest.mark.xdist_group("servers")
def test_a_burst_of_changes_by_one_key_is_made_completely_and_counted_exactly(
    installation: Installation, server: Server
) -> None:
    with installation.connected(), ThreadPoolExecutor(100) as pool:
        account = _account("Busy")
        key, limited = factories.make_key(account), factories.make_key(account, rate_limit="30/minute")
        for count in (16, 100):
            answers = list(pool.map(lambda _: _post(server, key.secret), range(count)))
            assert Counter(answer.status for answer in answers) == {201: count}
        answers = list(pool.map(lambda _: _post(server, limited.secret), range(60)))
        assert Counter(answer.status for answer in answers) == {201: 30, 429: 30}
        events = AuditEvent.objects.filter(event="project.created", account=account)
        assert events.count() == 16 + 100 + 30
        sent = {answer.headers["x-request-id"] for answer in answers if answer.status == 201}
        assert set(events.filter(actor_id=limited.api_key.pk).values_list("request_id", flat=True)) == sent


@pytest.mark.xdist_group("servers")
def test_large_bodies_of_changes_that_wait_take_a_bounded_part_of_the_memory(
    installation: Installation, server: Server
) -> None:
    """The others are refused at once."""
    with installation.connected(), ExitStack() as opened:
        key = factories.make_key(_account("Busy"))
        head = (
            f"POST /v2/projects HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: {key.secret}\r\nContent-Length: 1000000\r\n"
        )
        before = _memory(server)
        with transaction.atomic():
            list(APIKey.objects.select_for_update().filter(pk=key.api_key.pk))
            changes = [
                opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
                for _ in range(200)
            ]
            for change in changes:
                change.sendall(
                    f"{head}Content-Type: application/json\r\n\r\n".encode() + b'{"name": "web"}'.rjust(1_000_000)
                )
            wait_for(lambda: len(select.select(changes, [], [], 0)[0]) > 130, "the refusals", 5)
            assert _memory(server) - before < 256 * 1024 * 1024
        assert {change.recv(12) for change in changes} == {b"HTTP/1.1 201", b"HTTP/1.1 503"}


def _memory(server: Server) -> int:
    """Bytes of the worker's memory."""
    (worker,) = server.workers()
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.xdist_group("servers")
def test_a_stop_makes_the_changes_that_wait(installation: Installation) -> None:
    with installation.connected(), ThreadPoolExecutor(20) as pool:
        key = factories.make_key(_account("Busy"))
        with serving(installation, REDIS_URL=None) as server:
            with transaction.atomic():
                list(APIKey.objects.select_for_update().filter(pk=key.api_key.pk))
                changes = [pool.submit(_post, server, key.secret) for _ in range(20)]
                time.sleep(1)
                server.process.terminate()
                time.sleep(1)
            assert Counter(change.result().status for change in changes) == {201: 20}
            assert server.process.wait(timeout=20) == 0
