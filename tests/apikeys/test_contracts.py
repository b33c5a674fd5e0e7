"""Reading authorization requests, tested with a model of each gateway and clients that forge headers."""

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import Invalid, NotPermitted
from apikeys import credentials
from apikeys.guard import contracts
from apikeys.guard.contracts import Contract, Misconfigured
from tests.authorization_requests import CLIENT, GATEWAYS, PROXY, caddy, cgi, forged, nginx

TRUSTED = [ip_network("10.0.0.0/24")]


def asked(
    gateway: Any,
    method: str = "GET",
    target: str = "/reports?a=b",
    headers: Iterable[tuple[str, str]] = (),
    scheme: str = "https",
    client: str = CLIENT,
) -> Any:
    """What is read from a request that passed the gateway."""
    pairs, own_method, own_target = gateway(method, target, list(headers), scheme, client)
    return contracts.read(GATEWAYS[gateway], cgi(pairs), TRUSTED, method=own_method, target=own_target)


@pytest.mark.parametrize("gateway", GATEWAYS)
@given(
    forged,
    st.sampled_from(["GET", "POST", "DELETE", "get"]),
    st.sampled_from(["/admin", "/reports/..;/admin?x=1", "*", "http://x/reports", "/a,b", "/?api_key=1,2"]),
    st.sampled_from(["http", "https"]),
    st.sampled_from([CLIENT, "2001:db8::1"]),
)
def test_no_header_that_a_client_adds_changes_what_is_read(
    gateway: Callable[..., Any], headers: list[tuple[str, str]], method: str, target: str, scheme: str, client: str
) -> None:
    facts = asked(gateway, method, target, headers, scheme, client)
    assert facts == asked(gateway, method, target, (), scheme, client)
    assert facts[:4] == (method, target, scheme == "https", client)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_key_is_read_from_either_header_and_from_the_query_of_the_original_target(
    gateway: Callable[..., Any],
) -> None:
    facts = asked(gateway, target="/reports?api_key=three", headers=[("x-api-key", "one"), ("authorization", "two")])
    assert credentials.in_headers(facts.meta) == ["one", "two"]
    assert credentials.in_query_string(facts.meta) == ["three"]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_two_keys_in_one_header_stay_two(gateway: Callable[..., Any]) -> None:
    facts = asked(gateway, headers=[("X-API-Key", "one"), ("x-api-key", "two")])
    assert credentials.in_headers(facts.meta) == ["one", "two"]


def headers_of(contract: Contract, **changes: str | None) -> dict[str, str]:
    method, target = contracts.NAMED_BY[contract]
    headers = {method: "GET", target: "/a", "X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}
    headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {name: value for name, value in {**headers, **changes}.items() if value is not None}


NAMES = ["HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URI", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_authorization_request_without_one_of_its_headers_is_refused_with_the_headers_name(
    name: str, value: str | None
) -> None:
    header = name.removeprefix("HTTP_").replace("_", "-")
    with pytest.raises(Misconfigured, match=f"(?i)has no {header}. The gateway has to set it to"):
        contracts.read(Contract.AUTH_REQUEST, headers_of(Contract.AUTH_REQUEST, **{name: value}), [])


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HTTP_X_ORIGINAL_METHOD", "GET, POST", "is not one method"),
        ("HTTP_X_ORIGINAL_METHOD", "GET,POST", "is not one method"),
        ("HTTP_X_ORIGINAL_METHOD", "GET\n", "not one method"),
        ("HTTP_X_ORIGINAL_METHOD", "$request_method{", "is not one method"),
        ("HTTP_X_ORIGINAL_URI", "/a, /b", "is not one undecoded target"),
        ("HTTP_X_ORIGINAL_URI", "/a b", "is not one undecoded target"),
        ("HTTP_X_ORIGINAL_URI", "/a\x00", "is not one undecoded target"),
        ("HTTP_X_ORIGINAL_URI", "/" + "a" * 8191, None),
        ("HTTP_X_FORWARDED_PROTO", "ftp", "is neither http nor https"),
        ("HTTP_X_FORWARDED_PROTO", "https,", "is neither http nor https"),
        ("HTTP_X_FORWARDED_FOR", "unknown", "does not end with an IP address"),
        ("HTTP_X_FORWARDED_FOR", f"{CLIENT}, ", "does not end with an IP address"),
        ("HTTP_X_FORWARDED_FOR", f"{CLIENT}:1234", "does not end with an IP address"),
        ("HTTP_X_FORWARDED_FOR", f"unknown, {CLIENT}", None),
    ],
)
def test_an_invalid_header_of_a_gateway_is_refused_with_a_message(name: str, value: str, sentence: str | None) -> None:
    headers = headers_of(Contract.AUTH_REQUEST, **{name: value})
    if sentence is None:
        contracts.read(Contract.AUTH_REQUEST, headers, [])
    else:
        with pytest.raises(Misconfigured, match=sentence) as refusal:
            contracts.read(Contract.AUTH_REQUEST, headers, [])
        assert refusal.value.status == 403
        assert refusal.value.message.isascii()


@pytest.mark.parametrize("contract", contracts.NAMED_BY)
def test_a_contract_reads_neither_other_contracts_headers_nor_the_authorization_requests_own_target(
    contract: Contract,
) -> None:
    (other,) = set(contracts.NAMED_BY) - {contract}
    facts = contracts.read(contract, headers_of(contract), [], method="POST", target="/b?api_key=x")
    assert (facts.method, facts.target, facts.meta["QUERY_STRING"]) == ("GET", "/a", "")
    with pytest.raises(Misconfigured):
        contracts.read(contract, headers_of(other), [], method="GET", target="/a")


def test_ext_authz_reads_the_authorization_requests_own_method_and_target() -> None:
    headers = {**headers_of(Contract.AUTH_REQUEST), **headers_of(Contract.FORWARD_AUTH)}
    facts = contracts.read(Contract.EXT_AUTHZ, headers, [], method="PUT", target="/b?api_key=x")
    assert facts[:2] == ("PUT", "/b?api_key=x")
    assert facts.meta["QUERY_STRING"] == "api_key=x"
    with pytest.raises(Misconfigured, match="path prefix"):
        contracts.read(Contract.EXT_AUTHZ, headers, [], method="PUT", target="")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (CLIENT, CLIENT),
        (f"1.2.3.4, {CLIENT}", CLIENT),
        (f"1.2.3.4, {CLIENT}, {PROXY}, 10.0.0.3", CLIENT),
        (f"{CLIENT},::ffff:10.0.0.3", CLIENT),
        (f"10.0.0.3, {PROXY}", "10.0.0.3"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_a_trusted_proxy(forwarded_for: str, client: str) -> None:
    headers = headers_of(Contract.FORWARD_AUTH, HTTP_X_FORWARDED_FOR=forwarded_for)
    assert contracts.read(Contract.FORWARD_AUTH, headers, TRUSTED).address == client


@pytest.mark.parametrize(
    ("proto", "secure"),
    [
        ("https", True),
        ("HTTPS", True),
        ("https, https", True),
        ("wss", True),
        ("http", False),
        ("https, http", False),
        ("http,https", False),
        ("ws", False),
    ],
)
def test_a_request_is_secure_if_every_hop_was(proto: str, secure: bool) -> None:
    headers = headers_of(Contract.FORWARD_AUTH, HTTP_X_FORWARDED_PROTO=proto)
    assert contracts.read(Contract.FORWARD_AUTH, headers, []).secure is secure


@pytest.mark.parametrize("gateway", [nginx, caddy])
def test_a_gateway_that_appends_where_it_should_replace_is_refused_with_the_reason(gateway: Callable[..., Any]) -> None:
    pairs, *_ = gateway("GET", "/admin", [], "https", CLIENT)
    for name in contracts.NAMED_BY[GATEWAYS[gateway]]:
        for value in ("/reports/a" if name.lower().endswith("uri") else "GET", ""):
            for sent in ([(name, value), *pairs], [*pairs, (name, value)]):
                with pytest.raises(Misconfigured, match="has to replace what a client sends"):
                    contracts.read(GATEWAYS[gateway], cgi(sent), [])


def test_a_method_has_32_characters_at_most() -> None:
    assert asked(nginx, method="A" * 32).method == "A" * 32
    with pytest.raises(NotPermitted, match="longer than 32 characters") as refusal:
        asked(nginx, method="A" * 33)
    assert not isinstance(refusal.value, Misconfigured)


def test_a_preflight_is_an_options_request_with_an_origin_that_asks_for_a_method() -> None:
    headers = {"HTTP_ORIGIN": "https://x", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}
    options = asked(nginx, method="OPTIONS")
    assert contracts.is_preflight(options, headers)
    assert not contracts.is_preflight(asked(nginx), headers)
    assert not contracts.is_preflight(options, {"HTTP_ORIGIN": "https://x"})


def test_a_check_is_read_from_json() -> None:
    assert contracts.read_check({"key": "k", "method": "GET", "path": "/a?b", "address": CLIENT, "dry_run": True}) == (
        "k",
        "GET",
        "/a?b",
        CLIENT,
        True,
    )
    assert contracts.read_check({"method": "GET", "path": "/a"}) == (None, "GET", "/a", None, False)
    nulls = {"key": None, "method": "GET", "path": "*", "address": None}
    assert contracts.read_check(nulls) == (None, "GET", "*", None, False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"key": 1}, "key"),
        ({"method": None}, "method"),
        ({"method": ""}, "method"),
        ({"method": "GET POST"}, "method"),
        ({"path": None}, "path"),
        ({"path": ""}, "path"),
        ({"path": ["/a"]}, "path"),
        ({"path": "/" + "a" * 8192}, "path"),
        ({"address": "unknown"}, "address"),
        ({"address": 1}, "address"),
        ({"dry_run": None}, "dry_run"),
        ({"dry_run": 1}, "dry_run"),
        ({"scheme": "https"}, "scheme"),
    ],
)
def test_an_invalid_check_is_refused_at_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        contracts.read_check({"method": "GET", "path": "/a", **changes})
    assert set(refusal.value.errors or {}) == {field}


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_a_check_that_is_not_an_object_is_refused(body: object) -> None:
    with pytest.raises(Invalid, match="JSON object"):
        contracts.read_check(body)
