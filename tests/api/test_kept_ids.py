"""A project can keep the id that it has at Atatus, so that existing programs work unchanged."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse

from accounts.models import AuditEvent, Deployment, Project
from accounts.policy import KeyPermission
from tests import factories
from tests.conftest import Browser, Cast, Program

pytestmark = pytest.mark.django_db

ID = "5f43a1b2c3d4e5f60718293a"
TAKEN = {"id": ["Another project of this account has this id."]}


@pytest.fixture
def kept(program: Program) -> Any:
    response = program.send("post", "/v2/projects", {"id": ID, "name": "web"})
    assert response.status_code == 201
    return response


@pytest.mark.parametrize("id", [ID, ID.upper(), "0" * 24, "ABCDEFabcdef0123456789aA"])
def test_a_project_keeps_its_id_everywhere(program: Program, id: str) -> None:
    made = program.send("post", "/v2/projects", {"id": id, "name": "web"})
    assert (made.status_code, made.json()["id"], made["Location"]) == (201, id, f"https://testserver/v2/projects/{id}")
    assert program.get(f"/v2/projects/{id}").json() == made.json()
    assert program.get("/v2/projects").json()["results"] == [made.json()]
    assert program.send("patch", f"/v2/projects/{id}", {"name": "shop"}).json() == {**made.json(), "name": "shop"}
    assert program.send("put", f"/v2/projects/{id}", {"name": "site"}).json() == {**made.json(), "name": "site"}
    assert program.delete(f"/v2/projects/{id}").status_code == 204
    assert program.get(f"/v2/projects/{id}").status_code == 404
    assert set(AuditEvent.objects.filter(event__startswith="project.").values_list("target_id", flat=True)) == {id}


def test_a_project_with_a_kept_id_has_no_other_id(program: Program, kept: Any) -> None:
    assert program.get(f"/v2/projects/{Project.objects.get().pk}").status_code == 404


@pytest.mark.parametrize(
    "id", ["5f43", ID + "0", ID[:-1] + "g", ID[:-1] + "é", f"{ID[:-1]}\n", "٣" * 24, "prj_1", 5, [], {}, True]
)
def test_an_id_in_another_format_is_refused(program: Program, id: object) -> None:
    response = program.send("post", "/v2/projects", {"id": id, "name": "web"})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["id"])


@pytest.mark.parametrize("fields", [{}, {"id": None}, {"id": ""}])
def test_without_an_id_a_project_gets_a_generated_id(program: Program, fields: dict[str, Any]) -> None:
    assert program.send("post", "/v2/projects", {**fields, "name": "web"}).json()["id"].startswith("prj_")


def test_an_id_that_is_taken_is_refused_at_its_field_until_its_project_is_deleted(program: Program, kept: Any) -> None:
    again = program.send("post", "/v2/projects", {"id": ID, "name": "other"})
    assert again.status_code == 400
    assert again.json() == {"Message": "These fields are invalid: id.", "Errors": TAKEN}
    assert Project.objects.get().name == "web"
    assert AuditEvent.objects.filter(event="project.created").count() == 1
    program.delete(f"/v2/projects/{ID}")
    assert program.send("post", "/v2/projects", {"id": ID, "name": "other"}).status_code == 201


def test_a_projects_id_is_never_changed(program: Program, kept: Any) -> None:
    for method in ("put", "patch"):
        response = program.send(method, f"/v2/projects/{ID}", {"id": "0" * 24, "name": "web"})
        assert (response.status_code, list(response.json()["Errors"])) == (400, ["id"])


def test_two_accounts_may_keep_the_same_id_and_stay_separate(cast: Cast, program: Program, kept: Any) -> None:
    other = Program(factories.make_key(cast.elsewhere).secret)
    assert other.get(f"/v2/projects/{ID}").status_code == 404
    assert other.send("post", "/v2/projects", {"id": ID, "name": "theirs"}).status_code == 201
    other.send("post", f"/v2/projects/{ID}/deployments", {"revision": "theirs"})
    program.send("post", f"/v2/projects/{ID}/deployments", {"revision": "ours"})
    for client, revision in ((other, "theirs"), (program, "ours")):
        listed = client.get(f"/v2/projects/{ID}/deployments").json()["results"]
        assert [deployment["revision"] for deployment in listed] == [revision]
    assert other.delete(f"/v2/projects/{ID}").status_code == 204
    assert program.get(f"/v2/projects/{ID}").json()["name"] == "web"
    assert Deployment.objects.get().revision == "ours"


def test_a_deployment_is_found_under_its_own_project_only(program: Program, kept: Any) -> None:
    program.send("post", "/v2/projects", {"id": "0" * 24, "name": "other"})
    location = program.send("post", f"/v2/projects/{ID}/deployments", {"revision": "1"})["Location"]
    assert location.startswith(f"https://testserver/v2/projects/{ID}/deployments/dep_")
    assert program.get(location).status_code == 200
    assert program.get(location.replace(ID, "0" * 24)).status_code == 404
    assert program.delete(location).status_code == 204


@pytest.mark.parametrize("way", ["multipart", "urlencoded"])
def test_a_form_keeps_an_id_too(program: Program, way: str) -> None:
    if way == "multipart":
        made = program.post("/v2/projects", {"id": ID, "name": "web"})
    else:
        made = program.post("/v2/projects", f"id={ID}&name=web", content_type="application/x-www-form-urlencoded")
    assert made.json()["id"] == ID


@pytest.mark.django_db(transaction=True)
def test_of_many_simultaneous_requests_for_one_id_one_succeeds(cast: Cast) -> None:
    secrets = [factories.make_key(cast.account).secret for _ in range(6)]

    def ask(secret: str) -> int:
        try:
            status: int = Program(secret).send("post", "/v2/projects", {"id": ID, "name": "web"}).status_code
            return status
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(ask, secrets)) == [201] + [400] * 5


def test_pages_and_admin_show_the_kept_id(cast: Cast, browser: Browser, program: Program, kept: Any) -> None:
    program.send("post", f"/v2/projects/{ID}/deployments", {"revision": "4f2a91c"})
    browser.as_(cast.owner)
    page = reverse("accounts:project", args=["acme", ID])
    for listing in (reverse("accounts:projects", args=["acme"]), reverse("overview", args=["acme"])):
        assert f'href="{page}"' in browser.get(listing).content.decode()
    assert f"/v2/projects/{ID}/deployments" in browser.get(page).content.decode()
    assert browser.post(reverse("accounts:edit_project", args=["acme", ID]), {"name": "shop"})["Location"] == page
    made = browser.post(reverse("accounts:new_deployment", args=["acme", ID]), {"revision": "2", "release_stage": "p"})
    assert made["Location"] == page
    assert browser.post(reverse("accounts:delete_project", args=["acme", ID])).status_code == 302
    assert not Project.objects.exists()


def test_an_operator_finds_a_project_by_its_kept_id(browser: Browser, kept: Any) -> None:
    listed = browser.as_(factories.make_operator()).get("/admin/accounts/project/", {"q": ID}).content.decode()
    assert ID in listed
    assert "web" in listed


def test_events_of_a_project_are_found_by_its_kept_id(administrator: Program, kept: Any) -> None:
    found = administrator.get("/v2/audit-events", {"target": ID}).json()["results"]
    assert [(event["event"], event["target"]["id"]) for event in found] == [("project.created", ID)]


def test_the_github_action_of_atatus_records_deployments_under_the_kept_id(
    cast: Cast, program: Program, kept: Any
) -> None:
    """Exactly as its current version sends it: axios' JSON, without extra headers, and `user` from the workflow."""
    body = {
        "api_key": factories.make_key(cast.account, permission=KeyPermission.WRITE).secret,
        "revision": "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "release_stage": "production",
        "changes": "- fix the login form\n- update 日本語 texts 🎉\n",
        "user": "octocat",
    }
    response = Program().post(
        f"/v2/projects/{ID}/deployments",
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        content_type="application/json",
        headers={
            "Accept": "application/json, text/plain, */*",
            "User-Agent": "axios/1.7.9",
            "Accept-Encoding": "gzip, compress, deflate, br",
        },
    )
    assert response.status_code == 201
    del body["api_key"]
    body["changes"] = body["changes"].strip()
    assert {name: response.json()[name] for name in body} == body
    assert program.get(f"/v2/projects/{ID}/deployments").json()["results"] == [response.json()]
