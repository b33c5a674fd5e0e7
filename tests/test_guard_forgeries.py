"""Whatever a client or a gateway sends, the guard's verdict is about the client's own request."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apikeys import tokens
from apikeys.models import APIKey, Service
from tests import factories
from tests.authorization_requests import CLIENT, GATEWAYS, PROXY, ask, forged, send
from tests.conftest import Cast

from .test_guard import IDENTITY, change, key, service

__all__ = ["key", "service"]

in_a_transaction = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@pytest.fixture
def secret(cast: Cast, service: Service) -> str:
    """A key that only reads, at one path and from one address."""
    secret = "a-key-that-was-imported"
    bound = factories.make_key(cast.account, allowed_networks=[CLIENT], rate_limit="1000000/hour").api_key
    access = json.dumps([{"service": service.id, "paths": ["/reports/*"]}])
    APIKey.objects.filter(pk=bound.pk).update(access=access, permission="read", digest=tokens.digest(secret))
    return secret


@pytest.mark.parametrize("gateway", GATEWAYS)
@given(
    forged, st.sampled_from(["GET", "POST", "get"]), st.sampled_from(["/admin", "/reports/a", "/reports/..%2f", "*"])
)
@in_a_transaction
def test_no_header_that_a_client_adds_changes_a_verdict(
    service: Service, secret: str, gateway: Callable[..., Any], headers: Any, method: str, target: str
) -> None:
    plain = ask(service, method, target, secret, gateway=gateway)
    forged_ = ask(service, method, target, secret, headers, gateway=gateway)
    assert (forged_.status, forged_.headers.get("x-guard-message")) == (
        plain.status,
        plain.headers.get("x-guard-message"),
    )
    if plain.status == 200:
        assert [forged_.headers[name] for name in IDENTITY[:4]] == [plain.headers[name] for name in IDENTITY[:4]]


names = st.sampled_from(
    [
        *("HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URI", "HTTP_X_FORWARDED_METHOD", "HTTP_X_FORWARDED_URI"),
        *("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_API_KEY", "HTTP_AUTHORIZATION", "HTTP_ACCEPT"),
        *("CONTENT_TYPE", "HTTP_X_REQUEST_ID", "HTTP_USER_AGENT", "HTTP_ORIGIN", "HTTP_TRANSFER_ENCODING"),
    ]
)
latin = st.text(st.characters(max_codepoint=255), max_size=60)
values = latin | st.sampled_from(
    ["GET", "/a", "/?" + "&" * 3000 + "api_key=x", CLIENT, "https", "http", "a-key-that-was-imported", "x,y", "/a?%"]
)


@given(
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "TRACE", "x"]),
    st.sampled_from(["auth-request", "forward-auth", "ext-authz", "ext-authz/", "auth-request/"]),
    latin,
    st.dictionaries(names, values),
    st.sampled_from([PROXY, "192.0.2.1", "", "nonsense"]),
    st.booleans(),
)
@in_a_transaction
def test_every_authorization_request_gets_one_of_five_statuses(
    service: Service, method: str, contract: str, tail: str, headers: Any, peer: str, is_known: bool
) -> None:
    change(service, query_keys=True, reading_paths=["/a"])
    tail = tail if contract == "ext-authz/" else tail and f"?{tail}"
    path = f"/v2/verify/{service.id if is_known else 'svc_nothing'}/{contract}{tail}"
    answer = send(method, path, headers, peer=peer)
    assert answer.status in (200, 401, 403, 429, 503)
    assert answer.status != 503, answer.message
    if answer.status == 200:
        assert not answer.body
        assert all(answer.headers[name] for name in IDENTITY)
    else:
        assert json.loads(f'"{answer.headers["x-guard-message"]}"')
