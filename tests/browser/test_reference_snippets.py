"""Every snippet of the reference works as it is copied from the page, and answers as documented.

With WRITE_EXAMPLES=1 the responses become the examples of the OpenAPI description (`api/schema/examples.py`).
"""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase

from accounts import ids
from accounts.models import Invitation, Membership
from accounts.policy import Role
from apikeys import tokens
from atatus_dash import middleware
from atatus_dash.api.reference import pages
from atatus_dash.api.reference.operations import Operation
from atatus_dash.api.schema import examples
from tests import factories
from tests.conftest import Browser, Cast

LANGUAGES = ("curl", "python", "javascript")
OPERATIONS = [(resource.slug, one) for resource in pages.reference().resources for one in resource.operations]


class Texts(HTMLParser):
    """The text of each `pre` of a page, by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.id: str | None = None
        self.found: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre":
            self.id = dict(attrs).get("id")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self.id = None

    def handle_data(self, data: str) -> None:
        if self.id:
            self.found[self.id] = self.found.get(self.id, "") + data


def furnish(cast: Cast) -> None:
    """The newest item of each kind, which the page then names."""
    factories.make_deployment(factories.make_project(cast.account, 'it\'s "new" & <b>'))
    key = factories.make_key(cast.account, "Nightly report").api_key
    service = factories.make_service(cast.account, "Reports API", gateways=["127.0.0.1"])
    factories.make_usage(key, key.created_at.date(), service.id, succeeded=12)
    Invitation.objects.all().delete()
    factories.make_invitation(cast.account, "guest@example.com")
    Membership.objects.filter(account=cast.account).exclude(user=cast.owner).delete()
    factories.make_member(cast.account, Role.USER)


def run(language: str, snippet: str, key: str) -> subprocess.CompletedProcess[str]:
    command = {
        "curl": ["sh", "-ec", snippet],
        "python": [sys.executable, "-c", snippet],
        "javascript": ["node", "-e", snippet],
    }
    environment = {"PATH": os.environ["PATH"], "ATATUS_API_KEY": key}
    return subprocess.run(command[language], env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, HttpResponseBase]]:
    """What the server answers to requests under /v2, with their methods."""
    seen: list[tuple[str, HttpResponseBase]] = []
    answer = middleware.GuardMiddleware.__call__

    def record(self: Any, request: HttpRequest) -> HttpResponseBase:
        response = answer(self, request)
        if request.path_info.startswith("/v2"):
            seen.append((str(request.method), response))
        return response

    monkeypatch.setattr(middleware.GuardMiddleware, "__call__", record)
    return seen


@pytest.mark.parametrize(("resource", "operation"), OPERATIONS, ids=lambda one: getattr(one, "id", ""))
def test_every_snippet_works_as_pasted(
    resource: str, operation: Operation, cast: Cast, site: str, answers: list[tuple[str, HttpResponseBase]]
) -> None:
    key = factories.make_key(cast.account, "Reference", administrator=True).secret
    owner = Browser(HTTP_HOST=site.removeprefix("http://")).as_(cast.owner)
    for language in LANGUAGES:
        cache.clear()
        furnish(cast)
        page = owner.get(f"/accounts/{cast.account.slug}/reference/{resource}/", plain_http=True).content.decode()
        snippet = Texts(page).found[f"{operation.slug}-{language}"]
        del answers[:]

        done = run(language, snippet, key)

        assert done.returncode == 0, (snippet, done.stderr)
        [(method, response)] = answers
        assert (method, response.status_code) == (operation.method, operation.answer.status), (snippet, done.stdout)
        assert done.stdout.strip() != ""
        if operation.answer.example is not None:
            compare(operation, json.loads(response.getvalue()), is_first=language == LANGUAGES[0])


def compare(operation: Operation, answered: Any, *, is_first: bool) -> None:
    """The example has the fields of the answer. The first one is written."""
    recorded = stable(answered)
    if operation.id == "get_openapi":
        return
    if is_first and "WRITE_EXAMPLES" in os.environ:
        every = json.loads(examples.FILE.read_text())
        every.setdefault(operation.id, {})["response"] = recorded
        examples.FILE.write_text(json.dumps(every, indent=2, ensure_ascii=False) + "\n")
    if "WRITE_EXAMPLES" not in os.environ:
        assert shape(operation.answer.example) == shape(recorded)


def shape(value: Any) -> Any:
    """The names of fields, and of a list its first item."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(one) for one in value[:1]] if isinstance(value, list) else None


EXAMPLE_IDS = {
    "prj": "prj_7Kd2Qm0aXb9LsTyW",
    "dep": "dep_4xZ0pWcV7nQk2RtY",
    "key": "key_9aLm3TfUe6HjXs1B",
    "svc": "svc_7Qm2xV9tKc4LrBzW",
    "mbr": "mbr_2bNd8GyKv5PoWi0C",
    "inv": "inv_6mRs1ZqEt4UaXc9D",
    "evt": "evt_3vBn7MxLk0JhGf5S",
}


def stable(value: Any) -> Any:
    """An answer with the same ids, keys and times whenever it is recorded, and one item of a list of items."""
    if isinstance(value, dict):
        return {name: stable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [stable(one) for one in (value[:1] if value and isinstance(value[0], dict) else value)]
    if not isinstance(value, str):
        return value
    if ids.is_id(value):
        return EXAMPLE_IDS[value[:3]]
    for pattern, text in REPLACED:
        value = pattern.sub(text, value)
    return value


REPLACED: list[tuple[re.Pattern[str], str]] = [
    (re.compile(tokens.SCANNER_PATTERN), "atk_…"),
    (re.compile(r"atk_\w{4}…\w{4}"), "atk_9fKx…Q2aZ"),
    (re.compile(r"20[23]\d-\d\d-\d\dT[\d:.]+Z"), "2026-11-24T15:00:12Z"),
    (re.compile(r"^20[23]\d-\d\d-\d\d$"), "2026-11-24"),
    (re.compile(r"127\.0\.0\.1"), "203.0.113.7"),
    (re.compile(r"^[0-9a-f]{32}$"), "9f86d081884c7d659a2feaa0c55ad015"),
    (re.compile(r"http://\S+:\d+/v2"), "https://keys.example.com/v2"),
    (re.compile(r"it's \"new\" & <b>"), "Web shop"),
    (re.compile(r"person\d+@"), "colleague@"),
    (re.compile(r"^Acme$"), "Example"),
    (re.compile(r"^acme$"), "example"),
]
