"""Every field of every serializer, generated from the URLconf, is accepted by its view's service, and documented."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from tests.conftest import Program

from .test_matrix import api_routes, fill, things

__all__ = ["things"]

pytestmark = pytest.mark.django_db

API = (Path(__file__).resolve().parents[2] / "docs" / "api" / "resources.md").read_text()

#: A value that is accepted for each field. A new field fails until it is listed.
VALUES: dict[str, Any] = {
    "accepts_body": False,
    "accepts_query": False,
    "access": [{"service": "api"}],
    "administrator": False,
    "allowed_networks": ["127.0.0.0/8"],
    "api_keys": [{"name": "Reports", "permission": "read", "digest": "0" * 64}],
    "changes": "Faster",
    "credentials": ["atk_1"],
    "description": "Nightly",
    "disabled": True,
    "email": "other@example.com",
    "expires_at": "2100-01-01T00:00:00Z",
    "gateways": ["10.0.0.5/32"],
    "id": "0123456789abcdef01234567",
    "ids": ["key_0000000000000000"],
    "max_key_lifetime_days": 3650,
    "name": "Reports",
    "overlap": "1h",
    "permission": "read",
    "preflight": True,
    "query_keys": True,
    "rate_limit": "100/minute",
    "reading_methods": ["GET"],
    "reading_paths": ["/graphql"],
    "release_stage": "staging",
    "revision": "1a2b3c4",
    "revoke_exposed_keys": False,
    "role": "admin",
    "upstream": "http://10.0.0.8:3000",
    "user": "someone",
}
#: No response shows them.
NOT_SHOWN = {"api_keys", "credentials", "ids", "overlap"}


#: The fields that each method of a path reads.
WRITTEN_FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    (route, method): {name: field for name, field in serializer().fields.items() if not field.read_only}
    for route, view in api_routes()
    for method, serializer in view.request_serializers.items()
}


@pytest.mark.parametrize(("route", "method"), WRITTEN_FIELDS)
def test_a_field_that_a_client_may_set_is_taken_by_what_the_view_calls(
    administrator: Program, things: dict[str, str], route: str, method: str
) -> None:
    fields = WRITTEN_FIELDS[route, method]
    required = [] if method == "PATCH" else [name for name, field in fields.items() if field.required]
    for name in fields:
        body = {field: VALUES[field] for field in (*required, name)}
        with transaction.atomic():
            answer = administrator.send(method, fill(route, things), body)
            assert answer.status_code in (200, 201, 202), (name, answer.content)
            assert name in NOT_SHOWN or answer.json()[name] == body[name], name
            transaction.set_rollback(True)


@pytest.mark.parametrize("route", [route for route, view in api_routes() if "PATCH" in view.request_serializers])
def test_patch_leaves_the_fields_that_are_not_sent(administrator: Program, things: dict[str, str], route: str) -> None:
    sent = {name: VALUES[name] for name in WRITTEN_FIELDS[route, "PATCH"]}
    path = fill(route, things)
    before = administrator.send("patch", path, sent).json()
    for name, value in sent.items():
        assert administrator.send("patch", path, {name: value}).json() == before


def test_the_api_page_documents_every_field() -> None:
    serializers = {
        serializer
        for _, view in api_routes()
        for serializer in (*view.request_serializers.values(), *view.response_serializers.values())
    }
    names = set[str]().union(*(serializer().fields.keys() for serializer in serializers))
    assert len(names) > len(VALUES)
    missing = [name for name in sorted(names) if not re.search(rf'[`"]{name}[`"]', API)]
    assert not missing, f"docs/api/resources.md: add {missing}"
