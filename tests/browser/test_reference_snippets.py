"""Every snippet of the reference works as copied from the page, and gets the documented response."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase

from accounts.models import Account, Invitation, Membership
from accounts.policy import Role
from atatus_dash import middleware
from atatus_dash.api.reference import pages
from atatus_dash.api.reference.operations import Operation
from tests import factories
from tests.conftest import Browser, Cast

LANGUAGES = ("curl", "python", "javascript")
OPERATIONS = [(resource.slug, one) for resource in pages.reference().resources for one in resource.operations]


class Texts(HTMLParser):
    """The text of each `pre` of a page by its id, with `KEY` for a marked key."""

    KEY = "the reader's other key"

    def __init__(self, html: str) -> None:
        super().__init__()
        self.id: str | None = None
        self.is_marked = False
        self.found: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre":
            self.id = dict(attrs).get("id")
        self.is_marked = tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self.id = None
        self.is_marked = False

    def handle_data(self, data: str) -> None:
        if self.id:
            self.found[self.id] = self.found.get(self.id, "") + (self.KEY if self.is_marked else data)


def furnish(cast: Cast) -> str:
    """Create the newest item of each kind, which the page then names. Returns a key that is not one of them."""
    Account.objects.update(max_key_lifetime_days=None)
    other = factories.make_key(cast.account, "Client").secret
    factories.make_deployment(factories.make_project(cast.account, 'it\'s "new" & <b>'))
    key = factories.make_key(cast.account, "Nightly report").api_key
    service = factories.make_service(cast.account, "Reports API", gateways=["127.0.0.1"])
    factories.make_usage(key, key.created_at.date(), service.id, succeeded=12)
    Invitation.objects.all().delete()
    factories.make_invitation(cast.account, "guest@example.com")
    Membership.objects.filter(account=cast.account).exclude(user=cast.owner).delete()
    factories.make_member(cast.account, Role.USER)
    return other


def run(language: str, snippet: str, key: str) -> subprocess.CompletedProcess[str]:
    command = {
        "curl": ["sh", "-ec", snippet],
        "python": [sys.executable, "-c", snippet],
        "javascript": ["node", "-e", snippet],
    }
    environment = {"PATH": os.environ["PATH"], "KEY": key}
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
        other = furnish(cast)
        page = owner.get(f"/accounts/{cast.account.slug}/reference/{resource}/", plain_http=True).content.decode()
        snippet = Texts(page).found[f"{operation.slug}-{language}"]
        snippet = snippet.replace(Texts.KEY, other)
        del answers[:]

        done = run(language, snippet, key)

        assert done.returncode == 0, (snippet, done.stderr)
        [(method, response)] = answers
        assert (method, response.status_code) == (operation.method, operation.answer.status), (snippet, done.stdout)
        assert done.stdout.strip() != ""
