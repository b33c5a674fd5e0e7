"""The types of errors for clients that list `application/problem+json` (RFC 9457)."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone
from pytest_django import Settings

from accounts import services
from accounts.errors import Conflict, DomainError, Invalid, TooManyRequests, Unavailable
from accounts.models import Project
from accounts.policy import KeyPermission
from apikeys.gate import CHALLENGE, Maintenance, Refused, Rule, Verdict
from apikeys.rates import Rate
from atatus_dash import maintenance
from atatus_dash.api.errors import type_of, type_of_verdict
from atatus_dash.api.problems import CATALOGUE, PAGE
from tests import factories
from tests.authorization_requests import ask
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db

WANTED = {"Accept": "application/problem+json"}

Send = Callable[[Cast, Program], Any]


def _key(cast: Cast, **fields: Any) -> Program:
    return Program(factories.make_key(cast.account, **fields).secret)


def _in_state(cast: Cast, **state: Any) -> Any:
    return _key(cast, **state).get("/v2", headers=WANTED)


def _post(program: Program, path: str, body: Any, **extra: Any) -> Any:
    return program.post(path, body, content_type="application/json", headers=WANTED, **extra)


def _of_account(cast: Cast, **state: Any) -> Any:
    type(cast.account).objects.filter(pk=cast.account.pk).update(**state)
    return _key(cast).get("/v2", headers=WANTED)


def _twice(client: Program) -> Any:
    client.get("/v2", headers=WANTED)
    return client.get("/v2", headers=WANTED)


def _crash(program: Program, error: Exception) -> Any:
    with mock.patch.object(Project.objects, "for_account", side_effect=error):
        return program.get("/v2/projects", headers=WANTED)


def _during_maintenance(program: Program) -> Any:
    with mock.patch.object(maintenance, "current", return_value=Maintenance("Back at noon.", 120)):
        return program.get("/v2", headers=WANTED)


def _invite_twice(cast: Cast) -> Any:
    administrator = _key(cast, administrator=True)
    return [_post(administrator, "/v2/invitations", {"email": "a@example.com", "role": "user"}) for _ in range(2)][-1]


def _rotate_revoked(cast: Cast) -> Any:
    revoked = factories.make_key(cast.account, revoked_at=timezone.now()).api_key
    return _post(_key(cast, administrator=True), f"/v2/api-keys/{revoked.id}/rotate", {})


def _while_it_runs(program: Program) -> Any:
    answers: list[Any] = []

    def send(**fields: Any) -> Any:
        answers.append(_post(program, "/v2/projects", {"name": "web"}, HTTP_IDEMPOTENCY_KEY="1"))
        raise Invalid("The first request ends without an effect.")

    with mock.patch.object(services, "create_project", send):
        first = _post(program, "/v2/projects", {"name": "web"}, HTTP_IDEMPOTENCY_KEY="1")
    assert first.status_code == 400
    return answers[0]


def _with_other_fields(program: Program) -> Any:
    return [_post(program, "/v2/projects", {"name": name}, HTTP_IDEMPOTENCY_KEY="1") for name in ("a", "b")][-1]


def _beyond_own_power(cast: Cast) -> Any:
    maker = _key(cast, administrator=True, permission=KeyPermission.WRITE)
    return _post(maker, "/v2/api-keys", {"name": "x", "permission": "read"})


def _unsigned() -> Any:
    with override_settings(GITHUB_SECRET_SCANNING_KEYS={"a": mock.Mock()}):
        return _post(Program(), "/v2/leaked-keys", [{"token": "x"}])


#: For each type, a request that is refused with it.
REFUSED: dict[str, Send] = {
    "invalid-request": lambda cast, program: _post(program, "/v2/projects", "{"),
    "invalid-fields": lambda cast, program: _post(program, "/v2/projects", {}),
    "ambiguous-key": lambda cast, program: program.get("/v2?api_key=another-key-of-mine", headers=WANTED),
    "invalid-state": lambda cast, program: _rotate_revoked(cast),
    "already-exists": lambda cast, program: _invite_twice(cast),
    "key-required": lambda cast, program: Program().get("/v2", headers=WANTED),
    "key-invalid": lambda cast, program: Program("nonsense").get("/v2", headers=WANTED),
    "key-revoked": lambda cast, program: _in_state(cast, revoked_at=timezone.now()),
    "key-expired": lambda cast, program: _in_state(cast, expires_at=timezone.now() - timedelta(days=1)),
    "key-disabled": lambda cast, program: _in_state(cast, disabled_at=timezone.now()),
    "signature-invalid": lambda cast, program: _unsigned(),
    "https-required": lambda cast, program: program.get("/v2", headers=WANTED, plain_http=True),
    "account-closed": lambda cast, program: _of_account(cast, closed_at=timezone.now()),
    "account-suspended": lambda cast, program: _of_account(cast, suspended_at=timezone.now()),
    "place-not-allowed": lambda cast, program: Program().get(
        "/v2", {"api_key": factories.make_key(cast.account, accepts_query=False).secret}, headers=WANTED
    ),
    "address-not-allowed": lambda cast, program: _in_state(cast, allowed_networks=["10.0.0.0/8"]),
    "no-access": lambda cast, program: _key(cast, access="[]").get("/v2/projects", headers=WANTED),
    "permission-missing": lambda cast, program: program.get("/v2/api-keys", headers=WANTED),
    "not-permitted": lambda cast, program: _beyond_own_power(cast),
    "not-found": lambda cast, program: program.get("/v2/nowhere", headers=WANTED),
    "method-not-allowed": lambda cast, program: program.put("/v2/projects", headers=WANTED),
    "request-running": lambda cast, program: _while_it_runs(program),
    "length-required": lambda cast, program: _post(program, "/v2/projects", {}, HTTP_TRANSFER_ENCODING="chunked"),
    "item-changed": lambda cast, program: program.delete(
        f"/v2/projects/{factories.make_project(cast.account).id}", headers={**WANTED, "If-Match": '"old"'}
    ),
    "body-too-large": lambda cast, program: _post(program, "/v2/projects", " " * (1024 * 1024 + 1)),
    "unsupported-media-type": lambda cast, program: program.post(
        "/v2/projects", "<name>", content_type="text/xml", headers=WANTED
    ),
    "idempotency-key-reused": lambda cast, program: _with_other_fields(program),
    "quota-exceeded": lambda cast, program: _twice(_key(cast, rate_limit="1/minute")),
    "too-many-attempts": lambda cast, program: _twice(Program("nonsense")),
    "server-error": lambda cast, program: _crash(program, ZeroDivisionError()),
    "maintenance": lambda cast, program: _during_maintenance(program),
    "unavailable": lambda cast, program: _crash(program, OperationalError("server closed the connection")),
}


def test_each_type_of_the_catalogue_has_a_request_that_gets_it_and_there_are_no_others() -> None:
    assert [problem.name for problem in CATALOGUE] == list(REFUSED)


@pytest.mark.parametrize("problem", CATALOGUE, ids=lambda problem: problem.name)
def test_a_refusal_has_its_type(cast: Cast, program: Program, settings: Settings, problem: Any) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    response = REFUSED[problem.name](cast, program)
    content = response.json()
    scheme = "http" if problem.name == "https-required" else "https"
    assert response["Content-Type"] == "application/problem+json"
    assert content["type"] == f"{scheme}://testserver{PAGE}#{problem.name}"
    assert (content["title"], content["status"]) == (problem.title, problem.status)
    assert content["status"] == response.status_code
    assert content["detail"]
    assert content["instance"] == f"urn:x-request-id:{response['X-Request-ID']}"
    assert set(content) - {"type", "title", "status", "detail", "instance", "errors"} == set(problem.members)


@pytest.mark.parametrize("problem", CATALOGUE, ids=lambda problem: problem.name)
def test_the_same_refusal_has_the_source_pages_format_for_all_others(
    cast: Cast, program: Program, settings: Settings, monkeypatch: pytest.MonkeyPatch, problem: Any
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    monkeypatch.setitem(WANTED, "Accept", "*/*")
    content = REFUSED[problem.name](cast, program).json()
    assert set(content) in ({"Message"}, {"Message", "Errors"})


def test_a_key_over_its_limit_is_told_the_policy_of_the_header(cast: Cast) -> None:
    response = _twice(_key(cast, rate_limit="1/minute"))
    (violated,) = response.json()["violated-policies"]
    assert response["RateLimit-Policy"].startswith(f'"{violated}";')
    assert int(response["Retry-After"]) >= 1


@pytest.mark.parametrize(
    "name", ["request-running", "quota-exceeded", "too-many-attempts", "maintenance", "unavailable"]
)
def test_a_refusal_that_passes_with_time_says_when(cast: Cast, program: Program, settings: Settings, name: str) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(1, 60)
    assert int(REFUSED[name](cast, program)["Retry-After"]) >= 1


def subclasses(of: type[DomainError]) -> Iterator[type[DomainError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from subclasses(kind)


@pytest.mark.parametrize("kind", sorted(subclasses(DomainError), key=str))
def test_every_error_of_a_service_has_a_type_with_its_status(kind: type[DomainError]) -> None:
    if kind is Refused:
        return  # has the type of its rule
    error = kind("No.", retry_after=1) if issubclass(kind, (Conflict, TooManyRequests, Unavailable)) else kind("No.")
    assert error.status in type_of(error).statuses


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_one_type_for_each_of_its_statuses(rule: Rule) -> None:
    usual = {Rule.MAINTENANCE: 503, Rule.PATH: 404, Rule.LIMIT: 429, Rule.METHOD: 405}
    of_key = (Rule.KEY, Rule.REVOKED, Rule.EXPIRED, Rule.DISABLED)
    statuses = [usual.get(rule, 401 if rule in of_key else 403)]
    statuses += [429, 503] if rule in of_key else [503] if rule == Rule.LIMIT else []
    found = [type_of_verdict(Verdict(rule, status, "No.", {}, None)) for status in statuses]
    assert [status in problem.statuses for status, problem in zip(statuses, found, strict=True)] == [True] * len(found)
    assert len({problem.name for problem in found}) == len(found)


def test_only_a_request_without_a_key_has_the_type_for_it() -> None:
    headers = ({"WWW-Authenticate": CHALLENGE}, {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'})
    found = [type_of_verdict(Verdict(Rule.KEY, 401, "No.", sent, None)).name for sent in headers]
    assert found == ["key-required", "key-invalid"]


# URIs -------------------------------------------------------------------------------------------


def test_types_are_the_same_for_all_clients_if_the_server_has_a_public_url(
    program: Program, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://keys.example.com"
    for extra in ({}, {"plain_http": True}, {"HTTP_HOST": "elsewhere.example"}):
        content = program.get("/v2/nowhere", headers=WANTED, **extra).json()
        assert content["type"].startswith("https://keys.example.com/v2/docs/errors#")


def test_an_unknown_host_is_not_in_the_type(program: Program) -> None:
    content = program.get("/v2", headers={**WANTED, "Host": "elsewhere.example"}).json()
    assert content["type"] == "/v2/docs/errors#invalid-request"


@pytest.mark.parametrize("sent", ["/a/b:c", "a+b=c", "abc-1"])
def test_the_instance_holds_any_id_of_a_request(program: Program, sent: str) -> None:
    instance = program.get("/v2/nowhere", headers={**WANTED, "X-Request-ID": sent}).json()["instance"]
    assert instance == f"urn:x-request-id:{sent}"


# The guard --------------------------------------------------------------------------------------


@pytest.mark.parametrize("public_url", ["", "https://keys.example.com"])
def test_the_guard_never_takes_the_address_of_a_type_from_a_request(
    cast: Cast, settings: Settings, public_url: str
) -> None:
    settings.PUBLIC_URL = public_url
    service = factories.make_service(cast.account, gateways=["10.0.0.0/24"])
    answer = ask(service, headers=[("Accept", "application/problem+json")])
    assert answer.json == {
        "type": f"{public_url}/v2/docs/errors#key-required",
        "title": "An API key is required",
        "status": 401,
        "detail": "API key is required!",
        "instance": f"urn:x-request-id:{answer.headers['x-request-id']}",
    }


def test_several_keys_in_an_authorization_request_have_the_type_of_several_keys(cast: Cast) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.0/24"])
    answer = ask(service, key="one-key,another-key", headers=[("Accept", "application/problem+json")])
    assert (answer.status, answer.json["type"]) == (403, "/v2/docs/errors#ambiguous-key")


def test_an_unlisted_gateway_has_a_type(cast: Cast) -> None:
    service = factories.make_service(cast.account)
    answer = ask(service, headers=[("Accept", "application/problem+json")])
    assert (answer.status, answer.json["type"]) == (403, "/v2/docs/errors#not-permitted")


# The catalogue ----------------------------------------------------------------------------------


def test_the_problems_of_nginx_are_those_of_the_catalogue() -> None:
    types = {problem.name: problem for problem in CATALOGUE}
    config = (Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf").read_text()
    answers = re.findall(r'"type":"([^"]+)","title":"([^"]+)","status":(\d+)', config)
    assert len(answers) == config.count("$atatus_shape = problem") > 10
    for uri, title, status in answers:
        if uri == "about:blank":  # types that only a server in front of the application sends
            assert status in ("501", "505")
        else:
            page, _, name = uri.partition("#")
            assert page == f"https://$server_name{PAGE}"
            assert (types[name].title, str(types[name].status)) == (title, status)


def test_names_are_unique_and_fit_into_a_uri() -> None:
    names = [problem.name for problem in CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", name) for name in names)


def test_each_type_says_what_it_means_and_what_to_do() -> None:
    for problem in CATALOGUE:
        for text in (problem.meaning, problem.remedy):
            assert re.match(r"[A-Z].*\.\Z", text), problem.name
        assert not problem.title.endswith(".")


def test_the_page_on_errors_lists_every_type() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "api" / "errors.md").read_text()
    for problem in CATALOGUE:
        statuses = ", ".join(map(str, problem.statuses))
        assert f"| {statuses} | `{problem.name}` | {problem.title} | {problem.remedy} |" in page
