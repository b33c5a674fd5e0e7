"""Every field of every serializer, generated from the URLconf, is accepted by its view's service, and documented."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


def written_fields() -> Iterator[tuple[str, str, str]]:
    for route, view in api_routes():
        for method, serializer in view.request_serializers.items():
            for name, field in serializer().fields.items():
                if not field.read_only:
                    yield route, method, name


@pytest.mark.parametrize(("route", "method", "name"), sorted(written_fields()))
def test_a_field_that_a_client_may_set_is_taken_by_what_the_view_calls(
    administrator: Program, things: dict[str, str], route: str, method: str, name: str
) -> None:
    view = dict(api_routes())[route]
    fields = view.request_serializers[method]().fields
    required = [] if method == "PATCH" else [other for other, field in fields.items() if field.required]
    body = {field: VALUES[field] for field in (*required, name)}
    answer = administrator.send(method, fill(route, things), body)
    assert answer.status_code in (200, 201, 202), answer.content
    shown = answer.json()
    assert name in NOT_SHOWN or shown[name] == body[name]


@pytest.mark.parametrize("route", [route for route, view in api_routes() if "PATCH" in view.request_serializers])
def test_patch_leaves_the_fields_that_are_not_sent(administrator: Program, things: dict[str, str], route: str) -> None:
    fields = dict(api_routes())[route].request_serializers["PATCH"]().fields
    sent = {name: VALUES[name] for name, field in fields.items() if not field.read_only}
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
