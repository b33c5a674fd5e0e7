"""The account, projects, deployments and keys, for programs."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import AuditEvent, Deployment, Project
from accounts.policy import KeyPermission
from apikeys import tokens
from apikeys.models import APIKey, KeyUsage
from atatus_dash.api.resources.whoami import WhoAmISerializer
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db


def events(name: str) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(event=name)


# GET /v2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expires_at", [None, timezone.now() + timedelta(days=30)])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_response_about_a_key_matches_its_serializer(cast: Cast, method: str, expires_at: datetime | None) -> None:
    key = factories.make_key(cast.account, expires_at=expires_at)
    answer = Program(key.secret).send(method, "/v2").json()
    assert answer["api_key"]["id"] == key.api_key.id
    assert answer == WhoAmISerializer(answer).data


# Account ----------------------------------------------------------------------------------------


def test_the_account_is_read_by_any_reading_key(program: Program, cast: Cast) -> None:
    assert program.get("/v2/account").json() == {
        "slug": "acme",
        "name": "Acme",
        "max_key_lifetime_days": None,
        "accepts_query": True,
        "accepts_body": True,
        "revoke_exposed_keys": False,
        "requires_two_factor": False,
        "created_at": cast.account.created_at.isoformat().replace("+00:00", "Z"),
    }


def test_an_administrator_key_renames_the_account_and_its_slug_stays(administrator: Program, cast: Cast) -> None:
    response = administrator.send("patch", "/v2/account", {"name": "Acme Corp"})
    assert (response.status_code, response.json()["name"], response.json()["slug"]) == (200, "Acme Corp", "acme")
    assert events("account.changed").get().changes == {"name": ["Acme", "Acme Corp"]}


@pytest.mark.parametrize("field", ["slug", "created_at", "owner"])
def test_the_accounts_other_fields_are_read_only(administrator: Program, field: str) -> None:
    assert list(administrator.send("patch", "/v2/account", {field: "x"}).json()["Errors"]) == [field]


# Projects ---------------------------------------------------------------------------------------


def test_a_project_is_created_changed_and_deleted(program: Program) -> None:
    made = program.send("post", "/v2/projects", {"name": "web"}).json()
    path = f"/v2/projects/{made['id']}"
    assert program.get(path).json() == made
    assert program.send("put", path, {"name": "site"}).json() == {**made, "name": "site"}
    assert program.send("patch", path, {"name": "shop"}).json() == {**made, "name": "shop"}
    assert program.send("patch", path, {}).json() == {**made, "name": "shop"}
    assert program.delete(path).status_code == 204
    assert program.get(path).status_code == 404
    assert list(AuditEvent.objects.filter(target_kind="project").order_by("at").values_list("event", flat=True)) == [
        "project.created",
        "project.changed",
        "project.changed",
        "project.deleted",
    ]


def test_put_needs_all_fields_of_the_project(program: Program) -> None:
    path = program.send("post", "/v2/projects", {"name": "web"})["Location"]
    assert list(program.send("put", path, {}).json()["Errors"]) == ["name"]


def test_two_projects_may_have_one_name(program: Program) -> None:
    assert [program.send("post", "/v2/projects", {"name": "web"}).status_code for _ in range(2)] == [201, 201]


def test_the_audit_log_names_the_key_its_address_and_the_request(program: Program) -> None:
    program.send("post", "/v2/projects", {"name": "web"}, headers={"X-Request-ID": "req-1"}, REMOTE_ADDR="203.0.113.7")
    event = events("project.created").get()
    assert (event.actor_kind, event.actor_label, event.address, event.request_id) == (
        "key",
        "Deploys",
        "203.0.113.7",
        "req-1",
    )


def test_a_list_comes_in_pages_newest_first_until_next_is_null(program: Program, cast: Cast) -> None:
    names = [f"project {number}" for number in range(7)]
    for name in names:
        factories.make_project(cast.account, name)
    seen, path = [], "/v2/projects?limit=3"
    while path:
        response = program.get(path)
        seen += [row["name"] for row in response.json()["results"]]
        path = response.json()["next"]
        assert response.headers.get("Link") == (f'<{path}>; rel="next"' if path else None)
    assert seen == names[::-1]


def test_rows_with_the_same_time_are_neither_lost_nor_repeated_between_pages(program: Program, cast: Cast) -> None:
    now = timezone.now()
    Project.objects.bulk_create([Project(account=cast.account, name=str(n), created_at=now) for n in range(10)])
    seen, path = [], "/v2/projects?limit=3"
    while path:
        page = program.get(path).json()
        seen += [row["name"] for row in page["results"]]
        path = page["next"]
    assert sorted(seen) == sorted(str(n) for n in range(10))


def test_the_key_is_never_in_a_link(cast: Cast) -> None:
    secret = factories.make_key(cast.account).secret
    for number in range(3):
        factories.make_project(cast.account, str(number))
    response = Program().get("/v2/projects", {"api_key": secret, "limit": "1"})
    assert secret not in response.content.decode() + response["Link"]
    assert "limit=1" in response.json()["next"]


# Deployments ------------------------------------------------------------------------------------


def test_a_deployment_is_created_and_deleted(program: Program, cast: Cast) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    made = program.send("post", path, {"revision": "4f2a91c"})
    assert made.status_code == 201
    assert {name: made.json()[name] for name in ("revision", "release_stage", "changes", "user")} == {
        "revision": "4f2a91c",
        "release_stage": "production",
        "changes": "",
        "user": "",
    }
    assert program.get(path).json()["results"] == [made.json()]
    assert program.get(made["Location"]).json() == made.json()
    assert program.delete(made["Location"]).status_code == 204
    assert program.get(path).json()["results"] == []
    assert events("deployment.created").count() == events("deployment.deleted").count() == 1


def test_the_github_action_of_atatus_records_a_deployment_unchanged(cast: Cast) -> None:
    """The request of the action: axios, JSON, the key in the body, `changes` empty if it was not given."""
    project = factories.make_project(cast.account)
    body = {
        "api_key": factories.make_key(cast.account, permission=KeyPermission.WRITE).secret,
        "revision": "v2.18.0",
        "release_stage": "production",
        "changes": "",
        "user": "octocat",
    }
    response = Program().post(
        f"/v2/projects/{project.id}/deployments",
        json.dumps(body),
        content_type="application/json",
        headers={"Accept": "application/json, text/plain, */*", "User-Agent": "axios/1.7.9"},
    )
    assert response.status_code == 201
    deployment = Deployment.objects.get()
    assert (deployment.revision, deployment.release_stage, deployment.user) == ("v2.18.0", "production", "octocat")


def test_the_source_pages_curl_with_form_fields_records_a_deployment(cast: Cast) -> None:
    project = factories.make_project(cast.account)
    secret = factories.make_key(cast.account).secret
    fields = {"api_key": secret, "revision": "v1", "release_stage": "staging", "changes": "- fixed\n- added"}
    assert Program().post(f"/v2/projects/{project.id}/deployments", fields).status_code == 201
    assert Deployment.objects.get().changes == "- fixed\n- added"


def test_only_deployments_ignore_unknown_fields(program: Program, cast: Cast) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    assert program.send("post", path, {"revision": "v1", "colour": "red", "id": "mine"}).status_code == 201


def test_a_deployment_needs_a_revision(program: Program, cast: Cast) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    assert list(program.send("post", path, {"user": "octocat"}).json()["Errors"]) == ["revision"]


@pytest.mark.parametrize("empty", [None, ""])
def test_null_or_empty_means_not_given(program: Program, cast: Cast, empty: str | None) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    sent = {"revision": 42, "release_stage": empty, "changes": empty, "user": empty}
    made = program.send("post", path, sent).json()
    assert {name: made[name] for name in sent} == {
        "revision": "42",
        "release_stage": "production",
        "changes": "",
        "user": "",
    }
    assert list(program.send("post", path, {"revision": empty}).json()["Errors"]) == ["revision"]


KEPT = {"changes": 65_536, "user": 200, "release_stage": 100}


@pytest.mark.parametrize("character", ["x", "é", "東", "🎉"])
@pytest.mark.parametrize("way", ["json", "multipart"])
@pytest.mark.parametrize("field", KEPT)
def test_long_texts_of_a_deployment_are_cut_and_returned(
    program: Program, cast: Cast, field: str, way: str, character: str
) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    sent = {"revision": "1", field: character * (KEPT[field] + 1)}
    made = program.send("post", path, sent) if way == "json" else program.post(path, sent)
    assert made.status_code == 201
    assert made.json()[field] == character * KEPT[field]
    assert program.get(made["Location"]).json() == made.json()
    assert getattr(Deployment.objects.get(), field) == made.json()[field]
    exact = program.send("post", path, {**sent, field: character * KEPT[field]})
    assert exact.json()[field] == made.json()[field]


def test_a_revision_that_is_too_long_is_refused(program: Program, cast: Cast) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    assert list(program.send("post", path, {"revision": "x" * 201}).json()["Errors"]) == ["revision"]


@pytest.mark.parametrize("field", KEPT)
@pytest.mark.parametrize("before", [10, 25, 39])
def test_a_deployment_that_is_cut_keeps_no_part_of_a_key(program: Program, cast: Cast, field: str, before: int) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    secret = tokens.generate()
    made = program.send("post", path, {"revision": "1", field: "x" * (KEPT[field] - before) + secret})
    assert made.status_code == (201 if field == "changes" else 400)
    assert secret[4:15] not in made.content.decode()
    assert not any(secret[4:15] in getattr(row, field) for row in Deployment.objects.all())


@pytest.mark.parametrize("blank", ["  ", "\n"])
def test_blank_means_not_given(program: Program, cast: Cast, blank: str) -> None:
    path = f"/v2/projects/{factories.make_project(cast.account).id}/deployments"
    made = program.send("post", path, {"revision": "1", "release_stage": blank, "changes": blank, "user": blank}).json()
    assert (made["release_stage"], made["changes"], made["user"]) == ("production", "", "")


def test_a_deployment_is_found_under_its_own_project_only(program: Program, cast: Cast) -> None:
    one, other = factories.make_project(cast.account), factories.make_project(cast.account)
    deployment = factories.make_deployment(one)
    assert program.get(f"/v2/projects/{other.id}/deployments/{deployment.id}").status_code == 404


# Keys -------------------------------------------------------------------------------------------


def test_an_administrator_key_creates_reads_and_revokes_a_key(administrator: Program, cast: Cast) -> None:
    made = administrator.send("post", "/v2/api-keys", {"name": "Status page", "permission": "read"})
    assert made.status_code == 201
    body = made.json()
    secret = body.pop("key")
    assert tokens.is_well_formed(secret)
    assert body == {
        "id": body["id"],
        "name": "Status page",
        "description": "",
        "permission": "read",
        "administrator": False,
        "mask": tokens.mask(secret),
        "state": "active",
        "disabled": False,
        "expires_at": None,
        "allowed_networks": [],
        "rate_limit": None,
        "accepts_query": True,
        "accepts_body": True,
        "access": None,
        "created_at": body["created_at"],
        "created_by": "Root",
        "last_used_at": None,
        "last_used_from": None,
        "rotated_from": None,
    }
    assert administrator.get(made["Location"]).json() == body
    assert body in administrator.get("/v2/api-keys").json()["results"]
    assert Program(secret).get("/v2").status_code == 200
    assert administrator.delete(made["Location"]).status_code == 204
    assert Program(secret).get("/v2").json() == {"Message": "API key has been revoked!"}
    assert administrator.get(made["Location"]).json()["state"] == "revoked"
    assert administrator.delete(made["Location"]).status_code == 204
    assert events("api_key.revoked").count() == 1


def test_a_key_is_created_with_all_its_settings(administrator: Program) -> None:
    expires = (timezone.now() + timedelta(days=30)).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    settings = {
        "name": "Deploys",
        "permission": "write",
        "description": "From the build server.",
        "administrator": True,
        "expires_at": expires,
        "allowed_networks": ["10.1.2.3/8", "2001:db8::/32"],
        "rate_limit": "100/minute",
    }
    made = administrator.send("post", "/v2/api-keys", settings).json()
    assert {name: made[name] for name in settings} == {**settings, "allowed_networks": ["10.0.0.0/8", "2001:db8::/32"]}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"permission": "admin"}, "permission"),
        ({"permission": None}, "permission"),
        ({"name": " "}, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"allowed_networks": ["10.0.0.0/33"]}, "allowed_networks"),
        ({"allowed_networks": "10.0.0.0/8"}, "allowed_networks"),
        ({"rate_limit": "fast"}, "rate_limit"),
        ({"administrator": "maybe"}, "administrator"),
        ({"digest": "0" * 64}, "digest"),
        ({"key": "mine"}, "key"),
        ({"mask": "x"}, "mask"),
        ({"created_by": "me"}, "created_by"),
        ({"account": 2}, "account"),
    ],
)
def test_invalid_settings_and_read_only_fields_are_refused_by_name(
    administrator: Program, fields: dict[str, Any], named: str
) -> None:
    response = administrator.send("post", "/v2/api-keys", {"name": "x", "permission": "read", **fields})
    assert (response.status_code, list(response.json()["Errors"])) == (400, [named])


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({"permission": KeyPermission.WRITE}, {"permission": "read"}),
        ({"permission": KeyPermission.WRITE}, {"permission": "read_write"}),
        ({"expires_at": timezone.now() + timedelta(days=1)}, {}),
        (
            {"expires_at": timezone.now() + timedelta(days=1)},
            {"expires_at": (timezone.now() + timedelta(days=2)).isoformat()},
        ),
        ({"allowed_networks": ["127.0.0.0/8"]}, {}),
        ({"allowed_networks": ["127.0.0.0/8"]}, {"allowed_networks": ["10.0.0.0/8"]}),
    ],
)
def test_a_key_cannot_create_a_key_beyond_its_own_power(
    cast: Cast, own: dict[str, Any], wanted: dict[str, Any]
) -> None:
    maker = Program(factories.make_key(cast.account, administrator=True, **own).secret)
    response = maker.send("post", "/v2/api-keys", {"name": "x", "permission": "write", **wanted})
    assert response.status_code == 403
    assert APIKey.objects.count() == 1


def test_a_key_can_create_a_key_within_its_own_power(cast: Cast) -> None:
    maker = Program(
        factories.make_key(
            cast.account, administrator=True, permission=KeyPermission.WRITE, allowed_networks=["127.0.0.0/8"]
        ).secret
    )
    wanted = {"name": "x", "permission": "write", "administrator": True, "allowed_networks": ["127.0.0.1"]}
    assert maker.send("post", "/v2/api-keys", wanted).status_code == 201


def test_the_secret_is_only_in_the_response_that_creates_it(
    administrator: Program, caplog: pytest.LogCaptureFixture
) -> None:
    secret = administrator.send("post", "/v2/api-keys", {"name": "x", "permission": "read"}).json()["key"]
    rows = [str(row) for model in (APIKey, AuditEvent) for row in model.objects.values()]
    assert secret not in "".join(rows) + caplog.text
    assert secret not in administrator.get("/v2/api-keys").content.decode()


def test_more_usage_rows_of_one_day_than_a_page_holds_are_all_listed(cast: Cast, program: Program) -> None:
    """Before, a cursor could not pass more than a thousand rows of one day."""
    keys = APIKey.objects.bulk_create(
        APIKey(account=cast.account, name=f"k{number}", permission="read", digest=f"{number:064x}", mask="m")
        for number in range(550)
    )
    KeyUsage.objects.bulk_create(
        KeyUsage(api_key=key, day="2026-11-24", service=service, requests=1)
        for service in ("api", "svc_1")
        for key in keys
    )

    listed, path = [], "/v2/usage?limit=100"
    for _ in range(20):
        page = program.get(path).json()
        listed += [(row["api_key"]["id"], row["service"]) for row in page["results"]]
        if page["next"] is None:
            break
        path = page["next"].removeprefix("https://testserver")
    assert len(listed) == 1100
    assert set(listed) == {(key.pk, service) for key in keys for service in ("api", "svc_1")}
