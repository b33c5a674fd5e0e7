"""The database queries of every page and of every GET of the API, against query_counts.json.

The file has a line for each page: how many queries there are, and their tables in order. After an intended change,
rewrite it with `WRITE_QUERY_COUNTS=1 .venv/bin/python -m pytest tests/test_query_counts.py` and read the diff.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEvent, Membership
from accounts.policy import Role
from tests import factories
from tests.conftest import Browser, Cast, Program

from .api.test_matrix import ROUTES as API_ROUTES
from .api.test_matrix import fill
from .test_pages_access import GIVEN_BESIDE, PAGES_OF_A_PERSON, PAGES_OF_AN_ACCOUNT
from .test_pages_access import ROUTES as PAGE_ROUTES

pytestmark = pytest.mark.django_db

FILE = Path(__file__).with_name("query_counts.json")
#: MANY is more than a page of any list.
FEW, MANY = 1, 30
_number = count()


def furnish(cast: Cast, times: int) -> dict[str, str]:
    """Create this many more of each item that lists show. Returns the ids of the last of each."""
    today = timezone.now().date()
    for _ in range(times):
        number = next(_number)
        project = factories.make_project(cast.account, f"project {number}")
        deployment = factories.make_deployment(project)
        service = factories.make_service(cast.account, f"Service {number}", upstream="http://10.0.0.8:3000")
        key = factories.make_key(cast.account, f"Key {number}").api_key
        key.origins.create(origin=f"203.0.113.{number}", last_used_at=timezone.now())
        for at in ("api", service.id):
            factories.make_usage(key, today, at, succeeded=1)
        invitation = factories.make_invitation(cast.account, f"guest{number}@example.com").invitation
        person = factories.make_member(cast.account, Role.USER)
        elsewhere = factories.make_account(f"Account {number}")
        Membership.objects.create(account=elsewhere, user=cast.owner, role=Role.USER)
    return {
        "project": project.id,
        "deployment": deployment.id,
        "service": service.id,
        "key": key.id,
        "invitation": invitation.id,
        "event": AuditEvent.objects.for_account(cast.account).values_list("id", flat=True)[0],
        "member": Membership.objects.get(account=cast.account, user=person).id,
    }


def pages(cast: Cast, ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The name and URL of every page that an Owner can open."""
    of_folder = {"api-keys/": "key", **{f"{name}s/": name for name in ids}}
    for name, answers in PAGES_OF_AN_ACCOUNT.items():
        if answers["owner"] == 200:
            before, takes_id, _ = PAGE_ROUTES[name][0].partition("<id:id>")
            given = {"slug": cast.account.slug, **GIVEN_BESIDE.get(name, {})}
            if takes_id:
                given["id"] = next(ids[of_folder[end]] for end in of_folder if before.endswith(end))
            yield name, reverse(name, kwargs=given)
    yield from ((name, reverse(name)) for name in sorted(PAGES_OF_A_PERSON) if name != "home")


def lists_of_admin() -> Iterator[tuple[str, str]]:
    for model in sorted(admin.site._registry, key=lambda model: model._meta.label):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        yield name, reverse(name)


def queries_of(get: Callable[[str], Any], address: str) -> str:
    """The queries of the second GET, in one line. The first GET fills caches."""
    get(address)
    with CaptureQueriesContext(connection) as queries:
        response = get(address)
    assert response.status_code == 200, address
    tables = [[*re.findall(r'(?:FROM|UPDATE|INTO) "?(\w+)', row["sql"]), "no table"][0] for row in queries]
    return f"{len(queries)}: {', '.join(tables)}"


def measured(cast: Cast, times: int) -> dict[str, dict[str, str]]:
    ids = furnish(cast, times)
    owner, operator = Browser().as_(cast.owner), Browser().as_(factories.make_operator(f"operator{times}@example.com"))
    program = Program(factories.make_key(cast.account, administrator=True).secret)
    of_api = {
        route: fill(route, {f"<id:{name}_id>": id for name, id in ids.items()})
        for route, methods in API_ROUTES.items()
        if "GET" in methods
    }
    return {
        "pages": {name: queries_of(owner.get, address) for name, address in pages(cast, ids)},
        "admin": {name: queries_of(operator.get, address) for name, address in lists_of_admin()},
        "api": {f"GET /{route}": queries_of(program.get, address) for route, address in of_api.items()},
    }


@pytest.mark.long
def test_every_page_has_the_queries_of_the_file_however_long_its_lists_are(cast: Cast, settings: Settings) -> None:
    settings.SIGNUP_OPEN = True
    few = measured(cast, FEW)
    assert measured(cast, MANY) == few
    if "WRITE_QUERY_COUNTS" in os.environ:
        FILE.write_text(json.dumps(few, indent=2) + "\n")
    assert few == json.loads(FILE.read_text()), "Rewrite the file with WRITE_QUERY_COUNTS=1 and read the diff"
