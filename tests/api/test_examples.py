"""The examples in `/v2/openapi.json`: real requests and responses of every operation, in the schema's examples.json.

After an intended change, rewrite the file with
`WRITE_EXAMPLES=1 .venv/bin/python -m pytest tests/api/test_examples.py` and read the diff.
"""

import hashlib
import itertools
import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts import ids
from accounts.models import Membership
from apikeys import limits, tokens
from apikeys.rates import Rate
from atatus_dash.api.problems import CATALOGUE
from atatus_dash.api.schema import examples
from tests import factories
from tests.conftest import Cast, Program, new_cast

from .test_problems import REFUSED, WANTED
from .test_schema import operations

pytestmark = pytest.mark.django_db

FILE = Path(examples.__file__).with_name("examples.json")
START = datetime(2026, 12, 1, 9, tzinfo=UTC)
REQUEST_ID = "9f86d081884c7d659a2feaa0c55ad015"

#: Headers of a response that its example shows.
SHOWN = ("Location", "Link", "ETag")


class Recorder:
    """Sends requests as an administrator key, one a second, and records them."""

    def __init__(self, cast: Cast, program: Program, clock: "Clock") -> None:
        self.cast, self.program, self.clock = cast, program, clock
        self.recorded: dict[str, dict[str, Any]] = {}

    def send(self, name: str, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        self.clock.tick()
        sent = {"HTTP_X_REQUEST_ID": REQUEST_ID, "REMOTE_ADDR": "203.0.113.7", **extra}
        response = self.program.send(method, path, body, **sent)
        assert response.status_code < 300, response.content
        headers = {header: response[header] for header in SHOWN if header in response}
        content = orjson.loads(response.content) if response.content else None
        self.recorded[name] = {
            "path": path.partition("?")[0],
            **({"request": body} if body is not None else {}),
            "status": response.status_code,
            **({"headers": headers} if headers else {}),
            **({"response": content} if content is not None else {}),
        }
        return content


class Clock:
    """A clock that moves only with each request."""

    def __init__(self) -> None:
        self.time = START

    def now(self, tz: Any = None) -> datetime:
        return self.time

    def tick(self) -> None:
        self.time += timedelta(seconds=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    monkeypatch.setattr(timezone, "datetime", type("Frozen", (datetime,), {"now": clock.now}))
    return clock


@pytest.fixture(autouse=True)
def _stable_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids and keys that are the same on each run."""
    numbers = itertools.count()

    def new_id(prefix: str) -> str:
        digest = hashlib.sha256(f"{prefix}{next(numbers)}".encode()).digest()
        return f"{prefix}_" + "".join(ids.ALPHABET[byte % 62] for byte in digest[: ids.RANDOM_LENGTH])

    monkeypatch.setattr(ids, "new_id", new_id)


@pytest.fixture
def cast(db: None, clock: Clock, _stable_ids: None) -> Cast:
    """A new account, because that of other tests was created at another time and with other ids."""
    return new_cast()


#: Stands for a key in the examples.
KEY = "atk_…"


def new_key(text: str) -> str:
    """A key that is the same on each run, and therefore has the same mask."""
    body = tokens.PREFIX + text.ljust(tokens.RANDOM_LENGTH, "0")
    return body + tokens._checksum(body)


def record(cast: Cast, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A request for each operation. Each one comes after those that create what it needs."""
    numbers = itertools.count(1)
    monkeypatch.setattr(tokens, "generate", lambda: new_key(f"{next(numbers)}fKx"))
    monkeypatch.setattr(factories, "_number", itertools.count(1))
    issued = factories.make_key(cast.account, "Operations", administrator=True)
    recorder = Recorder(cast, Program(issued.secret), clock)
    send = recorder.send
    send("check_api_key", "GET", "/v2")
    recorder.program = Program()
    send("check_api_key_in_body", "POST", "/v2", {"api_key": issued.secret})
    recorder.program = Program(issued.secret)
    send("get_account", "GET", "/v2/account")
    send("change_account", "PATCH", "/v2/account", {"revoke_exposed_keys": True})

    project = "/v2/projects/" + send("create_project", "POST", "/v2/projects", {"name": "web"})["id"]
    send("list_projects", "GET", "/v2/projects")
    send("get_project", "GET", project)
    send("replace_project", "PUT", project, {"name": "website"})
    send("change_project", "PATCH", project, {"name": "web"})
    fields: dict[str, Any] = {
        "revision": "4f2a91c",
        "release_stage": "production",
        "changes": "Faster search",
        "user": "octocat",
    }
    deployment = f"{project}/deployments/" + send("create_deployment", "POST", f"{project}/deployments", fields)["id"]
    send("list_deployments", "GET", f"{project}/deployments")
    send("get_deployment", "GET", deployment)
    send("delete_deployment", "DELETE", deployment)
    send("delete_project", "DELETE", project)

    fields = {"name": "Reports API", "gateways": ["10.0.0.7"], "upstream": "http://10.0.0.8:3000"}
    service = send("create_service", "POST", "/v2/services", fields)["id"]
    send("list_services", "GET", "/v2/services")
    send("get_service", "GET", f"/v2/services/{service}")
    send("change_service", "PATCH", f"/v2/services/{service}", {"reading_paths": ["/search/*"]})

    # Programs send the examples as they are, even about their own key: they are valid in any account, for years, and
    # lock nobody out.
    fields = {"name": "Reports", "permission": "read", "expires_at": "2034-06-01T00:00:00Z"}
    key = "/v2/api-keys/" + send("create_api_key", "POST", "/v2/api-keys", fields)["id"]
    access = [{"service": service, "paths": ["/reports/*"]}]
    limited = {"access": access, "allowed_networks": ["203.0.113.0/24"], "rate_limit": "100/minute"}
    assert recorder.program.send("PATCH", key, limited).status_code == 200  # not as an example: see above
    send("list_api_keys", "GET", "/v2/api-keys?limit=1&permission=read")
    send("get_api_key", "GET", key)
    send("change_api_key", "PATCH", key, {"description": "For the nightly report.", "accepts_query": False})
    successor = send("rotate_api_key", "POST", f"{key}/rotate", {"overlap": "24h"})["id"]
    send("revoke_api_key", "DELETE", key)
    send("revoke_api_keys", "POST", "/v2/api-keys/revoke", {"ids": [successor, "key_0000000000000000"]})
    imported: dict[str, Any] = {
        "name": "Mobile app",
        "permission": "read",
        "digest": hashlib.sha256(b"an old key").hexdigest(),
    }
    imported["expires_at"] = "2034-06-01T00:00:00Z"
    items = [imported, {**imported, "name": "Kiosk", "digest": "unknown"}]
    send("import_api_keys", "POST", "/v2/api-keys/import", {"api_keys": items})

    reader = factories.make_key(cast.account, "Reader")
    asked = {"key": reader.secret, "method": "GET", "path": "/reports/today", "address": "203.0.113.7"}
    send("check_request", "POST", f"/v2/verify/{service}", asked)
    send("check_api_request", "POST", "/v2/verify/api", {**asked, "path": "/v2/projects", "dry_run": True})
    send("delete_service", "DELETE", f"/v2/services/{service}")

    person = Membership.objects.get(account=cast.account, user=cast.user).id
    send("list_members", "GET", "/v2/members")
    send("get_member", "GET", f"/v2/members/{person}")
    send("change_member", "PATCH", f"/v2/members/{person}", {"role": "admin"})
    send("remove_member", "DELETE", f"/v2/members/{person}")
    fields = {"email": "newcomer@example.com", "role": "user"}
    invitation = "/v2/invitations/" + send("send_invitation", "POST", "/v2/invitations", fields)["id"]
    send("list_invitations", "GET", "/v2/invitations")
    send("get_invitation", "GET", invitation)
    send("change_invitation", "PATCH", invitation, {"role": "admin"})
    send("withdraw_invitation", "DELETE", invitation)

    event = send("list_audit_events", "GET", "/v2/audit-events?event=api_key.created&limit=1")["results"][0]["id"]
    send("get_audit_event", "GET", f"/v2/audit-events/{event}")
    factories.make_usage(reader.api_key, date(2026, 12, 1), succeeded=240, client_errors=3, throttled=1)
    send("list_usage", "GET", "/v2/usage")
    send("report_leaked_keys", "POST", "/v2/leaked-keys", {"credentials": [new_key("unknown")]})
    return recorder.recorded


def refusals(cast: Cast, program: Program, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Every type of problem, in both formats."""
    found: dict[str, dict[str, Any]] = {}
    for problem in CATALOGUE:
        found[problem.name] = {"status": problem.status}
        for accept in ("application/json", "application/problem+json"):
            monkeypatch.setitem(WANTED, "Accept", accept)
            monkeypatch.setitem(WANTED, "X-Request-ID", REQUEST_ID)
            limits.limiter.clear()
            with transaction.atomic():  # as if it had not happened
                found[problem.name][accept] = orjson.loads(REFUSED[problem.name](cast, program).content)
                transaction.set_rollback(True)
    return found


def in_documents(recorded: Any) -> Any:
    """The value as it is in the file: without keys, and with the server's address that the documents use."""
    text = re.sub(tokens.SCANNER_PATTERN, KEY, orjson.dumps(recorded).decode())
    for scheme in ("http", "https"):
        text = text.replace(f"{scheme}://testserver", examples.SERVER)
    return orjson.loads(text)


def test_the_examples_are_what_the_api_answers(
    clock: Clock, cast: Cast, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    operations = record(cast, clock, monkeypatch)
    monkeypatch.setattr(tokens, "generate", lambda: new_key(ids.new_id("key")[4:]))
    program = Program(factories.make_key(cast.account, "Deploys").secret)
    found = in_documents({"operations": operations, "refusals": refusals(cast, program, monkeypatch)})
    if "WRITE_EXAMPLES" in os.environ:
        FILE.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    assert found == orjson.loads(FILE.read_bytes()), "Record the examples again with WRITE_EXAMPLES=1"


def test_every_operation_has_an_example_but_those_of_gateways_and_the_description_itself() -> None:
    without = {operation["operationId"] for _, _, operation in operations()} - set(examples.load()["operations"])
    assert {name for name in without if not name.startswith("authorize_by_")} == {"get_openapi"}


def test_no_example_has_a_key() -> None:
    assert not re.search(tokens.SCANNER_PATTERN, FILE.read_text())
