"""Gateways that ask through deploy/nginx.conf: requests of listed ones are passed on unchanged, others are refused."""

from typing import Any

import pytest

from .conftest import WayIn
from .front import Front, in_front_of, needs_nginx

pytestmark = needs_nginx

CLIENT = "203.0.113.7"
REFUSED = (403, {"Message": "This gateway may not ask about this service."})


@pytest.fixture(scope="module")
def service(front: WayIn) -> str:
    return front.installation.run("create_service", "--account", "acme", "--name", "Reports").split()[-1]


@pytest.fixture(scope="module")
def bound(front: WayIn) -> str:
    """A key that works only from the client's own address."""
    return front.installation.key("Bound", "read", "--allow", f"{CLIENT}/32")


def ask(front: Front, path: str, key: str, *, plain_http: bool = False, **headers: Any) -> tuple[int, dict[str, str]]:
    answer = front.ask(
        path,
        plain_http=plain_http,
        **{
            "X_API_KEY": key,
            "X_Original_Method": "GET",
            "X_Original_URI": "/a",
            "X_Forwarded_For": CLIENT,
            "X_Forwarded_Proto": "https",
            **headers,
        },
    )
    return answer.status, answer.json if answer.body else answer.headers


def test_gateways_that_are_not_listed_are_refused(front: WayIn, service: str, bound: str) -> None:
    for path in (
        f"/v2/verify/{service}/auth-request",
        f"/v2/verify/{service}/forward-auth?x=1",
        f"/v2/verify/{service}/ext-authz/a",
        f"/v2/verify/{service}/ext-authz/../../../../auth/login/",
        f"/v2/verify/{service}/ext-authz/%2e%2e/%2e%2e/x",
        f"/v2/verify/{service}/ext-authz/..%2f../a",
        f"//v2/verify/{service}/auth-request",
    ):
        assert ask(front, path, bound) == REFUSED, path
        assert front.ask(path, plain_http=True).status in (301, 403), path


def test_a_client_cannot_choose_where_a_gateway_asks(front: WayIn, service: str, bound: str) -> None:
    """Gateways written in Go send their request to the target `a:https://localhost/healthz`, not to the guard."""
    directory = front.directory / "misled"
    (directory / "gateways").mkdir(parents=True)
    (directory / "gateways" / "lan.conf").write_text("allow 127.0.0.1;\n")
    with in_front_of(directory, front.server.port) as nginx:
        for path in ("/healthz", "/auth/login/", f"/v2/verify/{service}/ext-authz/a"):
            line = f"GET https://localhost{path} HTTP/1.1\r\nHost: api.customer.example\r\nX-API-KEY: {bound}\r\n"
            line += f"X-Forwarded-For: {CLIENT}\r\nX-Forwarded-Proto: https\r\n"
            assert nginx.raw(f"{line}\r\n".encode()).status == 200, path
            answer = nginx.raw(f"{line}X-Forwarded-Uri: {path}\r\n\r\n".encode())
            assert (answer.status, answer.json) == REFUSED, path


def test_requests_of_a_listed_gateway_are_passed_on_unchanged(front: WayIn, service: str, bound: str) -> None:
    directory = front.directory / "listed"
    (directory / "gateways").mkdir(parents=True)
    (directory / "gateways" / "lan.conf").write_text("allow 127.0.0.1;\n")
    with in_front_of(directory, front.server.port) as nginx:
        status, headers = ask(nginx, f"/v2/verify/{service}/auth-request", bound, Host="api.customer.example")
        assert (status, headers["x-account"]) == (200, "acme")
        refused = ask(nginx, f"/v2/verify/{service}/auth-request", bound, X_Forwarded_For="198.51.100.1")
        assert refused == (403, {"Message": "This API key may not be used from this address."})
        plain = ask(nginx, f"/v2/verify/{service}/auth-request", bound, X_Forwarded_Proto="http")
        assert plain == (403, {"Message": "HTTPS is required."})
        raw = ask(nginx, f"/v2/verify/{service}/ext-authz/a%2Fb//c;d", bound)
        assert raw[0] == 200
