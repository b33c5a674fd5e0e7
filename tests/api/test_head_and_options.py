"""HEAD is GET without a body, and OPTIONS names the methods that work (RFC 9110, §9.3.2 and §9.3.7)."""

import http.client
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.policy import KeyPermission
from tests import factories
from tests.answers import Answer
from tests.conftest import KEY, Cast, Program
from tests.servers import install, serving

from .test_matrix import METHODS, ROUTES, fill, things, with_power

__all__ = ["things"]

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("route", ROUTES)
def test_options_names_the_methods_of_a_path_for_any_permission(cast: Cast, things: dict[str, str], route: str) -> None:
    key = KEY.get(cast)
    for permission in KeyPermission:
        response = with_power(key, permission).options(fill(route, things))
        allowed = response["Allow"].split(", ")
        assert (response.status_code, response.content) == (204, b"")
        assert set(allowed) == {*ROUTES[route], "OPTIONS"} | ({"HEAD"} if "GET" in ROUTES[route] else set())
        assert "Content-Length" not in response
        assert not any(name.lower().startswith("access-control-") for name in response.headers)


@pytest.mark.parametrize("route", ROUTES)
def test_a_405_names_the_same_methods_as_options(administrator: Program, things: dict[str, str], route: str) -> None:
    path = fill(route, things)
    allowed = administrator.options(path)["Allow"]
    for method in ("HEAD", "TRACE", "PROPFIND", *METHODS):
        response = administrator.generic(method, path, "{}", content_type="application/json")
        assert (response.status_code == 405) == (method not in allowed.split(", ")), method
        if response.status_code == 405:
            assert response["Allow"] == allowed


def test_options_looks_up_no_item(program: Program) -> None:
    assert program.options("/v2/projects/prj_0000000000000000").status_code == 204


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"revoked_at": timezone.now()}, 401),
        ({"allowed_networks": ["10.0.0.0/8"]}, 403),
        ({"access": "[]"}, 403),
        ({"rate_limit": "1/minute"}, 429),
    ],
)
def test_options_passes_the_other_gates(cast: Cast, state: dict[str, Any], status: int) -> None:
    program = Program(factories.make_key(cast.account, **state).secret)
    program.get("/v2")
    response = program.options("/v2/projects")
    assert response.status_code == status
    assert "Allow" not in response


def test_options_of_an_unknown_path_is_404_and_without_a_key_401(program: Program) -> None:
    assert program.options("/v2/nowhere").status_code == 404
    preflight = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    response = Program().options("/v2/projects", headers=preflight)
    assert response.status_code == 401
    assert not any(name.lower().startswith("access-control-") for name in response.headers)


def test_options_needs_no_key_where_the_path_needs_none() -> None:
    response = Program().options("/v2/leaked-keys")
    assert (response.status_code, response["Allow"]) == (204, "POST, OPTIONS")


#: Headers that may differ between two answers.
OF_EACH = {"x-request-id", "ratelimit", "date", "connection", "keep-alive"}


def test_a_served_head_has_the_headers_of_get_and_no_body(tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1")
    key = installation.key("Deploys", "read_write", "--administrator")
    paths = [f"/{route}" for route in ROUTES if "<" not in route]
    paths += ["/v2/audit-events?limit=1", "/v2/projects?limit=0", "/v2/nowhere", "/v2/projects/prj_0", "/v2/projects/"]
    statuses = set()
    with serving(installation) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:

        def ask(method: str, path: str, sent: str) -> Answer:
            connection.request(method, path, headers={"Host": "localhost", "X-API-Key": sent})
            return Answer.read(connection.getresponse())  # a body of HEAD would be taken for the next answer

        for path, sent in [(path, key) for path in paths] + [("/v2/projects", "nonsense"), ("/v2", "")]:
            status, headers, body = ask("GET", path, sent)
            statuses.add(status)
            assert ("link" in headers) == path.startswith("/v2/audit-events?limit=1")
            head = ask("HEAD", path, sent)
            shared = {name: value for name, value in headers.items() if name not in OF_EACH}
            assert head.status == status, path
            assert {name: value for name, value in head.headers.items() if name not in OF_EACH} == shared, path
            assert head.body == b""
            assert int(headers["content-length"]) == len(body) > 0
        assert statuses == {200, 400, 401, 404, 405}
        status, headers, body = ask("OPTIONS", "/v2/projects", key)
        assert (status, headers["allow"], body) == (204, "GET, POST, HEAD, OPTIONS", b"")
        assert "content-length" not in headers


def test_an_options_request_counts_as_a_use_of_the_key(cast: Cast) -> None:
    issued = factories.make_key(cast.account, rate_limit="5/minute")
    assert Program(issued.secret).options("/v2/projects")["RateLimit"].startswith('"default";r=4;')
