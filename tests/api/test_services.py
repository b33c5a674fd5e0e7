"""Services, for programs."""

from typing import Any

import pytest

from accounts.models import AuditEvent
from accounts.policy import KeyPermission
from apikeys.models import Service
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db

FIELDS = [
    *("id", "name", "reading_methods", "reading_paths", "preflight", "query_keys", "gateways", "upstream", "shared"),
    *("created_at", "last_question_at"),
]


def test_a_service_is_created_read_changed_and_deleted(administrator: Program) -> None:
    created = administrator.send("post", "/v2/services", {"name": "Reports API"})
    item = created.json()

    assert created.status_code == 201
    assert created.headers["Location"].endswith(f"/v2/services/{item['id']}")
    assert list(item) == FIELDS
    assert item["id"].startswith("svc_")
    assert item | {"id": "", "created_at": ""} == {
        "id": "",
        "name": "Reports API",
        "reading_methods": ["GET", "HEAD", "OPTIONS"],
        "reading_paths": [],
        "preflight": False,
        "query_keys": False,
        "gateways": [],
        "upstream": "",
        "shared": False,
        "created_at": "",
        "last_question_at": None,
    }

    changes = {"gateways": ["10.0.0.5"], "reading_methods": ["get"], "upstream": "http://10.0.0.8:3000"}
    changed = administrator.send("patch", f"/v2/services/{item['id']}", changes)
    assert changed.status_code == 200
    assert changed.json() == item | changes | {"gateways": ["10.0.0.5/32"], "reading_methods": ["GET"]}
    assert administrator.get(f"/v2/services/{item['id']}").json() == changed.json()
    assert administrator.get("/v2/services").json() == {"results": [changed.json()], "next": None}

    assert administrator.send("delete", f"/v2/services/{item['id']}").status_code == 204
    assert administrator.get(f"/v2/services/{item['id']}").status_code == 404
    events = AuditEvent.objects.filter(event__startswith="service.").order_by("at")
    assert [event.event for event in events] == ["service.created", "service.widened", "service.deleted"]
    assert {(event.actor_label, event.target_id) for event in events} == {("Root", item["id"])}


@pytest.mark.parametrize("changes", [{"reading_methods": []}, {"reading_paths": []}], ids=str)
def test_a_key_with_only_write_cannot_change_what_counts_as_reading(cast: Cast, changes: dict[str, object]) -> None:
    service = factories.make_service(cast.account, reading_paths=["/search"])
    key = factories.make_key(cast.account, permission=KeyPermission.WRITE, administrator=True).secret
    writer = Program(key)

    refused = writer.send("patch", f"/v2/services/{service.id}", changes)
    assert (refused.status_code, refused.json()["Message"]) == (
        403,
        "This API key does not have the Read permission.",
    )
    assert writer.send("patch", f"/v2/services/{service.id}", {"name": "Search API"}).status_code == 200
    assert Service.objects.get().reading_paths == ["/search"]


def test_a_form_means_the_same_as_json(administrator: Program) -> None:
    sent = {
        "name": "Reports API",
        "gateways": ["10.0.0.5", "10.0.0.6"],
        "reading_paths": ["/graphql"],
        "preflight": "true",
    }
    item = administrator.post("/v2/services", sent).json()

    assert (item["gateways"], item["reading_paths"]) == (["10.0.0.5/32", "10.0.0.6/32"], ["/graphql"])
    assert item["preflight"] is True
    emptied = administrator.send("patch", f"/v2/services/{item['id']}", {"gateways": [], "reading_methods": []}).json()
    assert (emptied["gateways"], emptied["reading_methods"], emptied["preflight"]) == ([], [], True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", None),
        ("gateways", ["home"]),
        ("gateways", "10.0.0.5"),
        ("gateways", ["10.0.0.5"] * 51),
        ("reading_methods", ["GET POST"]),
        ("reading_methods", [["GET"]]),
        ("reading_methods", ["GET"] * 21),
        ("reading_paths", ["graphql"]),
        ("reading_paths", ["/a/../b"]),
        ("reading_paths", [{"/a": 1}]),
        ("preflight", "perhaps"),
        ("upstream", "10.0.0.8"),
        ("upstream", "http://user:word@10.0.0.8"),
        ("shared", True),
        ("shared", False),
        ("id", "svc_0000000000000000"),
        ("created_at", "2026-11-24T00:00:00Z"),
        ("last_question_at", None),
        ("nonsense", 1),
    ],
)
def test_invalid_fields_are_named(cast: Cast, administrator: Program, field: str, value: Any) -> None:
    service = factories.make_service(cast.account)
    for method, path in (("post", "/v2/services"), ("patch", f"/v2/services/{service.id}")):
        refused = administrator.send(method, path, {"name": "x", field: value})
        assert (refused.status_code, list(refused.json()["Errors"])) == (400, [field])
    assert list(Service.objects.values_list("name", flat=True)) == ["Reports API"]


def test_only_id_and_name_of_another_accounts_shared_service_are_returned(cast: Cast, program: Program) -> None:
    shared = factories.make_service(cast.elsewhere, "Weather API", shared=True, gateways=["10.9.0.1"])
    factories.make_service(cast.elsewhere, "Private API")
    told = dict.fromkeys(FIELDS) | {"id": shared.id, "name": "Weather API", "shared": True}

    assert program.get(f"/v2/services/{shared.id}").json() == told
    assert program.get("/v2/services").json()["results"] == [told]


def test_a_shared_services_own_account_sees_all_of_it(cast: Cast, program: Program) -> None:
    shared = factories.make_service(cast.account, shared=True, gateways=["10.9.0.1"])

    item = program.get(f"/v2/services/{shared.id}").json()
    assert (item["gateways"], item["shared"], item["preflight"]) == (["10.9.0.1/32"], True, False)


@pytest.mark.parametrize(
    ("method", "body"), [("patch", {"name": "Mine"}), ("patch", {"nonsense": 1}), ("delete", None)]
)
def test_no_key_can_change_another_accounts_shared_service(
    cast: Cast, administrator: Program, method: str, body: dict[str, Any] | None
) -> None:
    shared = factories.make_service(cast.elsewhere, shared=True)
    refused = administrator.send(method, f"/v2/services/{shared.id}", body)

    assert refused.status_code == 403
    assert refused.json() == {"Message": "This service belongs to another account. Only that account can change it."}
    assert Service.objects.get().name == "Reports API"


def test_an_administrator_key_changes_and_deletes_its_own_accounts_shared_service(
    cast: Cast, administrator: Program
) -> None:
    path = f"/v2/services/{factories.make_service(cast.account, shared=True).id}"
    item = administrator.send("patch", path, {"gateways": ["10.9.0.1"]}).json()

    assert (item["gateways"], item["shared"]) == (["10.9.0.1/32"], True)
    assert AuditEvent.objects.filter(target_id=item["id"], event="service.widened").exists()
    assert administrator.send("delete", path).status_code == 204
    assert not Service.objects.exists()


def test_every_reading_key_sees_services_but_only_administrator_keys_change_them(cast: Cast) -> None:
    service = factories.make_service(cast.account)
    for permission, seen in ((KeyPermission.READ, 200), (KeyPermission.READ_WRITE, 200), (KeyPermission.WRITE, 403)):
        program = Program(factories.make_key(cast.account, permission=permission).secret)
        assert program.get("/v2/services").status_code == seen
        assert program.send("patch", f"/v2/services/{service.id}", {"name": "Mine"}).json() == {
            "Message": "This item is for administrators only."
        }


def test_the_list_has_pages_by_cursor(cast: Cast, program: Program) -> None:
    for number in range(3):
        factories.make_service(cast.account, f"Service {number}")
    first = program.get("/v2/services?limit=2")
    second = program.get(first.json()["next"])

    assert [item["name"] for item in first.json()["results"]] == ["Service 2", "Service 1"]
    assert [item["name"] for item in second.json()["results"]] == ["Service 0"]
    assert 'rel="next"' in first.headers["Link"]
