"""Every case of the table at every gateway, each a real program with its file from deploy/gateways/."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import table
from .cases import CASES, SECONDS, Case, Expected
from .client import ask_over_http_2
from .conftest import Gateway, Running
from .paths import FAMILIES, Family, Kind, kind_of
from .programs import PROGRAMS
from .trials import Trial

pytestmark = pytest.mark.xdist_group("gateways")

TRIED = {f"{group}: {case.title}": case for group, tried in table.groups().items() for case in tried}


@pytest.mark.parametrize("case", TRIED.values(), ids=TRIED)
def test_the_table(gateway: Gateway, gateways: Running, case: Case | Trial | Family) -> None:
    if isinstance(case, Case):
        _try(gateway, case.at(gateway.name))
    else:
        case.run(gateway, gateways)


def _try(gateway: Gateway, case: Case) -> None:
    headers = tuple((name, _with_keys(gateway, value)) for name, value in case.headers)
    for _ in range(case.repeat):
        reply = gateway.request(case.method, case.target, headers, case.body, key=case.key, source=case.source)
    received = gateway.received()
    details = f"{reply}\n{received}\n{gateway.log()}"
    assert reply.status == case.status, details
    if case.message is not None and case.method != "HEAD":
        assert reply.values("Content-Type") == ["application/json"], details
        assert reply.json["Message"] == case.message, details
    for name, expected in case.answer.items():
        assert _is(expected, reply.values(name)), f"{name}: {details}"
    if case.status != 200:
        assert received is None, details
        return
    assert received is not None, details
    assert (received.method, received.target) == (case.method, case.target), details
    assert gateway.relay.checked_target() == case.target, details
    if case.method != "HEAD":
        assert reply.values("X-Of-The-Service") == ["yes"], details
    for name, expected in case.got.items():
        assert _is(expected, received.values(name)), f"{name}: {details}"
    assert "forged" not in str(received.headers), details


def _with_keys(gateway: Gateway, value: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: gateway.key(found[1]), value)


def _is(expected: Expected, values: list[str]) -> bool:
    if expected is None:
        return not values
    if len(values) != 1:
        return False
    return values[0] == expected if isinstance(expected, str) else expected.fullmatch(values[0]) is not None


# Over HTTP/2 ------------------------------------------------------------------------------------


def test_over_http_2_the_guard_checks_the_path_that_the_service_gets(gateway: Gateway) -> None:
    targets = [target for family in FAMILIES for target in family.targets]
    for key in ("reports", "write"):
        headers = (("X-API-KEY", gateway.key(key)),)

        def ask(some: list[str], headers: tuple[tuple[str, str], ...] = headers) -> None:
            ask_over_http_2(gateway.port, gateway.guard.certificate, "GET", some, headers)

        gateway.reset()
        with ThreadPoolExecutor(16) as pool:  # Envoy takes a second to close a connection that it refuses
            list(pool.map(ask, [targets[n::16] for n in range(16)]))
        received = {request.target for request in gateway.upstream.received}
        assert received >= set(FAMILIES[0].targets)
        assert received <= set(gateway.relay.checked_targets())
        if key == "reports":
            assert {target for target in received if kind_of(target) is not Kind.ALLOWED} == set()


# Through deploy/nginx.conf -----------------------------------------------------------------------

ASKED = {f"{group}: {case.title}": case for group, cases in CASES.items() for case in cases}


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_gateway_can_ask_the_guard_through_our_nginx(gateways: Running, name: str, case: Case) -> None:
    _try(gateways.through_nginx(name), case.at(name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_a_server_behind_our_nginx_it_is_503(gateways: Running, name: str) -> None:
    gateway = gateways.through_nginx(name)
    with gateway.guard_away():
        reply = gateway.request("GET", "/reports/a", key="read")
        assert gateway.received() is None
    assert reply.status == 503
    assert SECONDS.fullmatch(reply.header("Retry-After") or "")
    assert reply.json["Message"]
    assert gateway.request("GET", "/reports/a", key="read").status == 200


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_our_nginx_passes_on_paths_in_the_request_line(gateways: Running, family: Family) -> None:
    """Envoy puts targets into the URL. nginx itself refuses some, such as those that lead above the guard's address."""
    gateway = gateways.through_nginx("envoy")
    for target in family.targets:
        for key in ("reports", "write"):
            reply = gateway.request("GET", target, key=key)
            received = gateway.received()
            details = f"{target!r} with the key {key}: {reply}"
            if received is None:
                assert 400 <= reply.status < 500, details
                assert family.kind is not Kind.ALLOWED or family.at("envoy", target) is None, details
            else:
                assert received.target == gateway.relay.checked_target() == family.at("envoy", target), details
                assert key == "write" or kind_of(received.target) is Kind.ALLOWED, details


# The page ---------------------------------------------------------------------------------------


def test_the_page_has_the_current_table() -> None:
    text = table.PAGE.read_text()
    renewed = table.renewed(text)
    if text != renewed:
        table.PAGE.write_text(renewed)
    assert text == renewed, "The table was out of date and has been rewritten: commit docs/gateways.md."


def test_each_exception_names_a_known_gateway_and_a_reason() -> None:
    for case in TRIED.values():
        for name, difference in case.differences.items():
            assert name in PROGRAMS
            assert difference.reason.endswith(".")
