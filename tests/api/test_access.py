"""A key's access over HTTP: its effect under /v2, how it is set, and that no key exceeds its own."""

import json
from typing import Any

import pytest

from accounts import policy
from accounts.models import AuditEvent
from apikeys import limits, services, tokens
from apikeys.models import APIKey, Service
from apikeys.rates import Rate
from tests import factories
from tests.conftest import Cast, Program

from .test_matrix import api_routes

pytestmark = pytest.mark.django_db

KEPT_OUT = {"Message": "This API key has no access to this API."}
API = '[{"service":"api"}]'


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account)


def stored(*entries: dict[str, Any]) -> str:
    return json.dumps(entries, separators=(",", ":"))


# Using /v2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("access", [None, "[]", API, '[{"service":"svc_1","paths":["/a"]}]'])
def test_every_key_can_call_v2_with_any_access(cast: Cast, access: str | None, method: str) -> None:
    issued = factories.make_key(cast.account)
    APIKey.objects.update(access=access)
    assert Program(issued.secret).send(method, "/v2").status_code == 200


ROUTES = [
    (method, route, view)
    for route, view in api_routes()
    for method in view.permissions
    if route != "v2" and view.needs_key()
]


@pytest.mark.parametrize(("method", "route", "view"), ROUTES, ids=str)
def test_everything_else_is_refused_to_a_key_without_access_to_the_api(
    cast: Cast, service: Service, method: str, route: str, view: object
) -> None:
    access = stored({"service": service.id})
    program = Program(factories.make_key(cast.account, administrator=True, access=access).secret)
    parts = [part if part[0] != "<" else "x" for part in route.split("/")]
    answer = program.send(method, "/" + "/".join(parts))
    assert (answer.status_code, answer.json()) == (403, KEPT_OUT)
    assert "RateLimit" not in answer


def test_a_key_with_access_to_the_api_only_can_use_all_of_it(cast: Cast) -> None:
    program = Program(factories.make_key(cast.account, access=API).secret)
    assert program.send("POST", "/v2/projects", {"name": "web"}).status_code == 201
    assert program.get("/v2/services").status_code == 200


def test_access_is_checked_after_network_and_before_limit_method_and_permission(cast: Cast) -> None:
    limited = factories.make_key(cast.account, access="[]", rate_limit="1/minute", allowed_networks=["10.0.0.0/8"])
    program = Program(limited.secret)
    assert "not be used from this address" in program.get("/v2/projects").json()["Message"]
    for _ in range(3):
        assert program.get("/v2/projects", REMOTE_ADDR="10.0.0.1").json() == KEPT_OUT
    assert program.put("/v2/projects", REMOTE_ADDR="10.0.0.1").json() == KEPT_OUT
    assert program.get("/v2/members", REMOTE_ADDR="10.0.0.1").json() == KEPT_OUT
    peeked = limits.limiter.peek(limited.api_key.id, Rate(1, 60))
    assert peeked is not None
    assert peeked.allowed
    assert program.get("/v2/nothing", REMOTE_ADDR="10.0.0.1").status_code == 404


def test_less_access_takes_effect_on_the_next_request(administrator: Program, cast: Cast) -> None:
    issued = factories.make_key(cast.account)
    program = Program(issued.secret)
    assert program.get("/v2/projects").status_code == 200
    administrator.send("PATCH", f"/v2/api-keys/{issued.api_key.id}", {"access": []})
    assert program.get("/v2/projects").json() == KEPT_OUT
    administrator.send("PATCH", f"/v2/api-keys/{issued.api_key.id}", {"access": None})
    assert program.get("/v2/projects").status_code == 200


# Setting it ---------------------------------------------------------------------------------------


def make(program: Program, access: object, **fields: Any) -> Any:
    return program.send("POST", "/v2/api-keys", {"name": "x", "permission": "read", "access": access, **fields})


def test_an_access_is_set_returned_and_changed(administrator: Program, service: Service) -> None:
    wanted = [{"service": service.id, "paths": ["/reports/*", "/a b"]}, {"service": "api"}]
    made = make(administrator, wanted)
    path = f"/v2/api-keys/{made.json()['id']}"
    assert (made.status_code, made.json()["access"]) == (201, wanted)
    assert administrator.get(path).json()["access"] == wanted
    for access in ([], [{"service": service.id}], None):
        assert administrator.send("PATCH", path, {"access": access}).json()["access"] == access
    assert administrator.send("PATCH", path, {"name": "y"}).json()["access"] is None


@pytest.mark.parametrize(
    ("access", "sentence"),
    [
        ("", "Write a list such as"),
        ("api", "Write a list such as"),
        ({"service": "api"}, "Write a list such as"),
        (["api"], "Write each entry as"),
        ([{"service": "api", "paths": ["/a"]}], "api takes no paths"),
        ([{"service": "reports"}], "is not a service"),
        ([{"service": "svc_1"}], "Unknown service: svc_1."),
        ([{"service": "api"}, {"service": "api"}], "List api once"),
        ([{"service": "svc_1", "paths": []}], "list a path"),
        ([{"service": "svc_1", "paths": ["/a/../b"]}], "is ambiguous"),
        ([{"service": "svc_1", "paths": ["/a\u202eb"]}], "a character that can't be seen"),
        ([{"service": "api", "methods": ["GET"]}], "and no “methods”"),
        ([[[[[[]]]]]], "Write each entry as"),
    ],
    ids=str,
)
def test_an_invalid_access_is_an_error_at_its_field(
    administrator: Program, cast: Cast, access: object, sentence: str
) -> None:
    key = factories.make_key(cast.account, access=API).api_key
    for answer in (
        make(administrator, access),
        administrator.send("PATCH", f"/v2/api-keys/{key.id}", {"access": access}),
    ):
        assert answer.status_code == 400
        [told] = answer.json()["Errors"]["access"]
        assert sentence in told
    key.refresh_from_db()
    assert key.access == API


def test_a_deeply_nested_access_is_refused(administrator: Program) -> None:
    for depth in (50, 200, 400, 800, 990):
        body = '{"name": "x", "permission": "read", "access": ' + "[" * depth + "]" * depth + "}"
        answer = administrator.post("/v2/api-keys", body, content_type="application/json")
        assert answer.status_code == 400


def test_a_key_in_an_access_is_refused_and_not_repeated(administrator: Program) -> None:
    secret = tokens.generate()
    for access in ([{"service": secret}], [{"service": "svc_1", "paths": [f"/{secret}"]}], [{secret: 1}], secret):
        answer = make(administrator, access)
        assert answer.status_code == 400
        assert secret[:30] not in answer.content.decode()


def test_a_form_sends_an_access_as_json_text(administrator: Program, service: Service) -> None:
    sent = {"name": "x", "permission": "read"}
    for access in (None, [], [{"service": service.id, "paths": ["/a"]}]):
        answer = administrator.post("/v2/api-keys", {**sent, "access": json.dumps(access)})
        assert answer.json()["access"] == access
    for text, sentence in (
        ("", "Send this as JSON, such as null or []."),
        ("api", "Send this as JSON, such as null or []."),
        ("[" * 5000, "The JSON is nested too deeply."),
        ('[{"service": "api", "service": "svc_1"}]', "A JSON object has the same name twice."),
    ):
        answer = administrator.post("/v2/api-keys", {**sent, "access": text})
        assert (answer.status_code, answer.json()["Errors"]) == (400, {"access": [sentence]})


def test_services_of_other_accounts_are_unknown_unless_they_are_shared(administrator: Program, cast: Cast) -> None:
    own, shared = factories.make_service(cast.elsewhere), factories.make_service(cast.elsewhere, shared=True)
    assert make(administrator, [{"service": shared.id}]).status_code == 201
    refused = make(administrator, [{"service": shared.id}, {"service": own.id}])
    assert refused.json()["Errors"] == {"access": [f"Unknown service: {own.id}."]}


def test_the_entry_of_a_deleted_service_stays_until_it_is_removed_and_is_copied_to_no_other_key(
    administrator: Program, cast: Cast, service: Service
) -> None:
    gone = {"service": service.id, "paths": ["/a"]}
    path = f"/v2/api-keys/{make(administrator, [gone]).json()['id']}"
    administrator.delete(f"/v2/services/{service.id}")
    answers = [
        administrator.send("PATCH", path, {"access": access})
        for access in ([gone, {"service": "api"}], [{"service": service.id}], [{"service": "api"}], [gone])
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 200, 400]
    assert make(administrator, [gone]).status_code == 400


# Widening -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, [], "api_key.changed"),
        ([], None, "api_key.widened"),
        ([{"service": "api"}], [], "api_key.changed"),
        ([], [{"service": "api"}], "api_key.widened"),
        ([{"service": "svc", "paths": ["/a"]}], [{"service": "svc", "paths": ["/a/*"]}], "api_key.widened"),
        ([{"service": "svc", "paths": ["/a/*"]}], [{"service": "svc", "paths": ["/a/b"]}], "api_key.changed"),
        ([{"service": "svc", "paths": ["/a"]}], [{"service": "svc"}], "api_key.widened"),
        ([{"service": "svc"}, {"service": "api"}], [{"service": "api"}, {"service": "svc"}], "api_key.changed"),
    ],
    ids=str,
)
def test_more_access_is_widening(
    administrator: Program, service: Service, before: list[Any] | None, after: list[Any] | None, event: str
) -> None:
    def real(access: Any) -> Any:
        return json.loads(json.dumps(access).replace("svc", service.id)) if access else access

    path = f"/v2/api-keys/{make(administrator, real(before)).json()['id']}"
    administrator.send("PATCH", path, {"access": real(after)})
    [recorded] = AuditEvent.objects.filter(event__in=["api_key.changed", "api_key.widened"])
    assert recorded.event == event
    assert list(recorded.changes) == ["access"]


def test_the_audit_log_has_an_access_in_the_short_form_of_the_commands(
    administrator: Program, service: Service
) -> None:
    path = f"/v2/api-keys/{make(administrator, [{'service': 'api'}]).json()['id']}"
    administrator.send("PATCH", path, {"access": [{"service": service.id, "paths": ["/a", "/b/*"]}]})
    administrator.send("PATCH", path, {"access": None})
    administrator.send("PATCH", path, {"access": []})
    changes = [event.changes["access"] for event in AuditEvent.objects.filter(changes__has_key="access")]
    assert changes[::-1] == [
        [None, ["api"]],
        [["api"], [f"{service.id}:/a,/b/*"]],
        [[f"{service.id}:/a,/b/*"], ["everything"]],
        [["everything"], ["none"]],
    ]


def test_an_equal_access_is_not_a_change(administrator: Program, service: Service) -> None:
    path = f"/v2/api-keys/{make(administrator, [{'service': service.id, 'paths': ['/a']}]).json()['id']}"
    administrator.send("PATCH", path, {"access": [{"paths": ["/a", "/a"], "service": service.id}]})
    assert not AuditEvent.objects.filter(event__in=["api_key.changed", "api_key.widened"]).exists()


# Never more than its own --------------------------------------------------------------------------------------

BEYOND = {"Message": "A key can't create a key with more access than its own."}


@pytest.fixture
def access(service: Service) -> list[dict[str, Any]]:
    return [{"service": "api"}, {"service": service.id, "paths": ["/reports/*"]}]


@pytest.fixture
def limited(cast: Cast, access: list[dict[str, Any]]) -> Program:
    """An administrator key with access to the API and to some paths of a service."""
    return Program(factories.make_key(cast.account, "Limited", administrator=True, access=stored(*access)).secret)


def test_a_key_with_limited_access_cannot_create_a_key_with_more_access(
    limited: Program, service: Service, access: list[dict[str, Any]]
) -> None:
    more = [
        None,
        [{"service": service.id}],
        [{"service": service.id, "paths": ["/*"]}],
        [{"service": service.id, "paths": ["/reports/a", "/other"]}],
    ]
    assert [make(limited, wanted).status_code for wanted in more] == [403] * 4
    assert make(limited, None).json() == BEYOND
    unasked = limited.send("POST", "/v2/api-keys", {"name": "x", "permission": "read"})
    assert (unasked.status_code, unasked.json()) == (403, BEYOND)
    fewer = [access, access[::-1], [], access[:1], [{"service": service.id, "paths": ["/reports/a"]}]]
    assert [make(limited, wanted).status_code for wanted in fewer] == [201] * 5


def test_a_key_with_limited_access_cannot_give_more_access_to_any_key_or_itself(
    limited: Program, cast: Cast, service: Service
) -> None:
    own = APIKey.objects.get()
    other = factories.make_key(cast.account, access="[]").api_key
    for key in (own, other):
        answer = limited.send("PATCH", f"/v2/api-keys/{key.id}", {"access": None})
        assert (answer.status_code, answer.json()) == (403, BEYOND)
    assert limited.send("PATCH", f"/v2/api-keys/{other.id}", {"access": [{"service": "api"}]}).status_code == 200


def test_a_key_with_limited_access_cannot_rotate_or_enable_a_key_with_more_access(limited: Program, cast: Cast) -> None:
    free = factories.make_key(cast.account).api_key
    answer = limited.send("POST", f"/v2/api-keys/{free.id}/rotate", {})
    assert (answer.status_code, answer.json()) == (403, BEYOND)
    services.disable_api_key(actor=policy.system(cast.account.ref), api_key=free)
    assert limited.send("PATCH", f"/v2/api-keys/{free.id}", {"disabled": False}).json() == BEYOND


def test_a_successor_has_the_access_of_its_key_including_deleted_services(
    limited: Program, cast: Cast, service: Service, access: list[dict[str, Any]]
) -> None:
    services.delete_service(actor=policy.system(cast.account.ref), service=service)
    key = APIKey.objects.get()
    successor = limited.send("POST", f"/v2/api-keys/{key.id}/rotate", {"overlap": "1h"})
    assert (successor.status_code, successor.json()["access"]) == (201, access)


def test_a_rotated_key_cannot_get_more_access(administrator: Program, cast: Cast) -> None:
    key = factories.make_key(cast.account, access="[]").api_key
    administrator.send("POST", f"/v2/api-keys/{key.id}/rotate", {"overlap": "1h"})
    assert administrator.send("PATCH", f"/v2/api-keys/{key.id}", {"access": None}).status_code == 400
