"""Every case of the table at every gateway, each run for real with its file from deploy/gateways/."""

import re

import pytest

from . import table
from .cases import Case, Expected
from .conftest import Gateway, Running
from .programs import PROGRAMS
from .trials import Trial

pytestmark = pytest.mark.xdist_group("gateways")

TRIED = {f"{group}: {case.title}": case for group, tried in table.groups().items() for case in tried}


@pytest.mark.parametrize("case", TRIED.values(), ids=TRIED)
def test_the_table(gateway: Gateway, gateways: Running, case: Case | Trial) -> None:
    if isinstance(case, Trial):
        case.run(gateway, gateways)
    else:
        _try(gateway, case.at(gateway.name))


def _try(gateway: Gateway, case: Case) -> None:
    headers = tuple((name, _with_keys(gateway, value)) for name, value in case.headers)
    for _ in range(case.repeat):
        reply = gateway.ask(case.method, case.target, headers, case.body, key=case.key, source=case.source)
    received = gateway.received()
    told = f"{reply}\n{received}\n{gateway.log()}"
    assert reply.status == case.status, told
    if case.message is not None and case.method != "HEAD":
        assert reply.values("Content-Type") == ["application/json"], told
        assert reply.json["Message"] == case.message, told
    for name, expected in case.answer.items():
        assert _is(expected, reply.values(name)), f"{name}: {told}"
    if case.status != 200:
        assert received is None, told
        return
    assert received is not None, told
    assert (received.method, received.target) == (case.method, case.target), told
    assert gateway.relay.judged_target() == case.target, told
    if case.method != "HEAD":
        assert reply.values("X-Of-The-Service") == ["yes"], told
    for name, expected in case.got.items():
        assert _is(expected, received.values(name)), f"{name}: {told}"
    assert "forged" not in str(received.headers), told


def _with_keys(gateway: Gateway, value: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: gateway.key(found[1]), value)


def _is(expected: Expected, values: list[str]) -> bool:
    if expected is None:
        return not values
    if len(values) != 1:
        return False
    return values[0] == expected if isinstance(expected, str) else expected.fullmatch(values[0]) is not None


def test_the_page_has_the_table_as_it_is() -> None:
    text = table.PAGE.read_text()
    renewed = table.renewed(text)
    if text != renewed:
        table.PAGE.write_text(renewed)
    assert text == renewed, "The table was stale, and is written anew: commit docs/gateways.md."


def test_each_exception_is_at_a_gateway_that_there_is_and_tells_why() -> None:
    for case in TRIED.values():
        for name, but in case.but.items():
            assert name in PROGRAMS
            assert but.reason.endswith(".")
