"""Each transition of a key over HTTP, with its status codes."""

from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEvent
from accounts.policy import KeyPermission
from apikeys import exposure, services
from apikeys.models import APIKey, Notice
from apikeys.services import SETTINGS, Issued
from apikeys.usage import counts
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db


@pytest.fixture
def issued(cast: Cast) -> Issued:
    return factories.make_key(cast.account, name="Status page", permission=KeyPermission.READ)


@pytest.fixture
def path(issued: Issued) -> str:
    return f"/v2/api-keys/{issued.api_key.id}"


def last_event() -> AuditEvent:
    return AuditEvent.objects.filter(target_kind="api_key").latest("at")


def in_days(days: float) -> str:
    return (timezone.now() + timedelta(days=days)).replace(microsecond=0).isoformat().replace("+00:00", "Z")


# Changing ---------------------------------------------------------------------------------------


def test_a_change_takes_effect_on_the_next_request(administrator: Program, issued: Issued, path: str) -> None:
    program = Program(issued.secret)
    assert program.send("post", "/v2/projects", {"name": "web"}).status_code == 403
    assert administrator.send("patch", path, {"permission": "read_write"}).json()["permission"] == "read_write"
    assert program.send("post", "/v2/projects", {"name": "web"}).status_code == 201
    administrator.send("patch", path, {"allowed_networks": ["10.0.0.0/8"]})
    assert program.get("/v2").status_code == 403
    administrator.send("patch", path, {"allowed_networks": [], "rate_limit": "3/minute"})
    assert program.get("/v2")["RateLimit-Policy"] == '"default";q=3;w=60'


def test_a_key_is_disabled_and_enabled_from_request_to_request(
    administrator: Program, issued: Issued, path: str
) -> None:
    program = Program(issued.secret)
    assert administrator.send("patch", path, {"disabled": True}).json()["state"] == "disabled"
    assert program.get("/v2").json() == {"Message": "API key is disabled!"}
    assert last_event().event == "api_key.disabled"
    assert administrator.send("patch", path, {"disabled": False}).json()["state"] == "active"
    assert program.get("/v2").status_code == 200
    assert last_event().event == "api_key.enabled"


def test_a_key_can_be_created_disabled(administrator: Program) -> None:
    made = administrator.send("post", "/v2/api-keys", {"name": "x", "permission": "read", "disabled": True}).json()
    assert made["state"] == "disabled"
    assert Program(made["key"]).get("/v2").status_code == 401


@pytest.mark.parametrize(
    ("before", "wish", "event"),
    [
        ({}, {"name": "Other"}, "api_key.changed"),
        ({}, {"description": "Why it is there"}, "api_key.changed"),
        ({}, {"rate_limit": "5/minute"}, "api_key.changed"),
        ({}, {"rate_limit": "10/second"}, "api_key.changed"),
        ({}, {"rate_limit": "601/minute"}, "api_key.widened"),
        ({}, {"rate_limit": "599/second"}, "api_key.widened"),
        ({"rate_limit": "5/minute"}, {"rate_limit": None}, "api_key.widened"),
        ({"rate_limit": "900/minute"}, {"rate_limit": None}, "api_key.changed"),
        ({"rate_limit": "1/second"}, {"rate_limit": "60/minute"}, "api_key.widened"),
        ({"rate_limit": "60/minute"}, {"rate_limit": "1/second"}, "api_key.changed"),
        ({}, {"accepts_query": False, "accepts_body": False}, "api_key.changed"),
        ({"accepts_query": False}, {"accepts_query": True}, "api_key.widened"),
        ({"accepts_body": False}, {"accepts_body": True}, "api_key.widened"),
        ({}, {"expires_at": in_days(3)}, "api_key.changed"),
        ({}, {"allowed_networks": ["10.0.0.0/8"]}, "api_key.changed"),
        ({}, {"permission": "read_write"}, "api_key.widened"),
        ({}, {"permission": "write"}, "api_key.widened"),
        ({}, {"administrator": True}, "api_key.widened"),
        ({"permission": KeyPermission.READ_WRITE}, {"permission": "read"}, "api_key.changed"),
        ({"administrator": True}, {"administrator": False}, "api_key.changed"),
        ({"expires_at": timezone.now() + timedelta(days=2)}, {"expires_at": in_days(3)}, "api_key.widened"),
        ({"expires_at": timezone.now() + timedelta(days=2)}, {"expires_at": None}, "api_key.widened"),
        ({"expires_at": timezone.now() + timedelta(days=2)}, {"expires_at": in_days(1)}, "api_key.changed"),
        ({"allowed_networks": ["10.0.0.0/8"]}, {"allowed_networks": ["10.1.0.0/16"]}, "api_key.changed"),
        ({"allowed_networks": ["10.0.0.0/8"]}, {"allowed_networks": []}, "api_key.widened"),
        ({"allowed_networks": ["10.0.0.0/8"]}, {"allowed_networks": ["10.0.0.0/7"]}, "api_key.widened"),
    ],
)
def test_widening_is_a_separate_event_with_the_values_before_and_after(
    administrator: Program, cast: Cast, before: dict[str, Any], wish: dict[str, Any], event: str
) -> None:
    key = factories.make_key(cast.account, **{"permission": KeyPermission.READ, **before}).api_key
    assert administrator.send("patch", f"/v2/api-keys/{key.id}", wish).status_code == 200
    assert last_event().event == event
    assert set(last_event().changes) == set(wish)


def test_a_change_without_effect_writes_no_event(administrator: Program, path: str) -> None:
    administrator.send("patch", path, {"name": "Status page", "disabled": False})
    assert last_event().event == "api_key.created"


@pytest.mark.parametrize(
    "field",
    ["id", "key", "digest", "mask", "state", "created_at", "created_by", "last_used_at", "revoked_at", "rotated_from"],
)
def test_read_only_fields_are_refused(administrator: Program, path: str, field: str) -> None:
    response = administrator.send("patch", path, {field: "x"})
    assert (response.status_code, list(response.json()["Errors"])) == (400, [field])


def test_a_revoked_key_cannot_be_used_again(administrator: Program, issued: Issued, path: str) -> None:
    assert administrator.delete(path).status_code == 204
    for wish in ({"disabled": False}, {"name": "x"}, {"expires_at": in_days(3)}):
        response = administrator.send("patch", path, wish)
        assert (response.status_code, response.json()) == (400, {"Message": "A revoked key can't be changed."})
    response = administrator.send("post", f"{path}/rotate", {"overlap": "24h"})
    assert (response.status_code, response.json()) == (400, {"Message": "A revoked key can't be rotated."})
    assert Program(issued.secret).get("/v2").json() == {"Message": "API key has been revoked!"}


def test_a_write_only_administrator_key_cannot_get_a_key_that_reads(cast: Cast, issued: Issued, path: str) -> None:
    writer = Program(factories.make_key(cast.account, permission=KeyPermission.WRITE, administrator=True).secret)
    assert writer.send("post", "/v2/api-keys", {"name": "x", "permission": "read"}).status_code == 403
    assert writer.send("post", f"{path}/rotate", {"overlap": "none"}).status_code == 403
    own = factories.make_key(cast.account, permission=KeyPermission.WRITE).api_key
    assert writer.send("patch", f"/v2/api-keys/{own.id}", {"permission": "read_write"}).status_code == 403
    assert writer.send("patch", path, {"disabled": True}).status_code == 200
    assert writer.send("patch", path, {"disabled": False}).status_code == 403


def test_a_key_cannot_extend_its_own_expiry(cast: Cast) -> None:
    issued = factories.make_key(cast.account, administrator=True, expires_at=timezone.now() + timedelta(days=2))
    response = Program(issued.secret).send("patch", f"/v2/api-keys/{issued.api_key.id}", {"expires_at": in_days(3)})
    assert response.status_code == 403


# The account's policy ---------------------------------------------------------------------------


def test_the_accounts_maximum_lifetime_is_enforced(administrator: Program, path: str) -> None:
    assert administrator.send("patch", "/v2/account", {"max_key_lifetime_days": 30}).status_code == 200
    key = {"name": "x", "permission": "read"}
    for wish in ({}, {"expires_at": None}, {"expires_at": in_days(31)}):
        response = administrator.send("post", "/v2/api-keys", {**key, **wish})
        assert (response.status_code, list(response.json()["Errors"])) == (400, ["expires_at"])
    assert administrator.send("post", "/v2/api-keys", {**key, "expires_at": in_days(29)}).status_code == 201
    assert administrator.send("patch", path, {"expires_at": in_days(31)}).status_code == 400
    assert administrator.send("patch", path, {"name": "Other"}).status_code == 200


@pytest.mark.parametrize("days", [0, -1, 3651, "soon"])
def test_a_maximum_lifetime_is_a_number_of_days(administrator: Program, days: int | str) -> None:
    response = administrator.send("patch", "/v2/account", {"max_key_lifetime_days": days})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["max_key_lifetime_days"])


@pytest.mark.parametrize("where", ["/v2/account", None])
def test_query_and_body_can_be_switched_off_for_the_account_or_for_a_key(
    administrator: Program, cast: Cast, where: str | None
) -> None:
    issued = factories.make_key(cast.account)
    where = where or f"/v2/api-keys/{issued.api_key.id}"
    assert administrator.send("patch", where, {"accepts_query": False, "accepts_body": False}).status_code == 200
    query = Program().get("/v2", {"api_key": issued.secret})
    body = Program().post("/v2/projects", {"api_key": issued.secret, "name": "web"})
    assert (query.status_code, query.json()["Message"]) == (403, "This API key may not be sent in the query string.")
    assert (body.status_code, body.json()["Message"]) == (403, "This API key may not be sent in the body.")
    assert Program(issued.secret).get("/v2").status_code == 200


# Rotating ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlap", "hours"), [("1h", 1), ("24h", 24), ("7d", 168)])
def test_a_rotated_key_keeps_working_for_the_overlap(
    administrator: Program, issued: Issued, path: str, overlap: str, hours: int
) -> None:
    response = administrator.send("post", f"{path}/rotate", {"overlap": overlap})
    assert response.status_code == 201
    successor = response.json()
    assert successor["rotated_from"] == issued.api_key.id
    assert response["Location"].endswith(f"/v2/api-keys/{successor['id']}")
    assert Program(successor["key"]).get("/v2").status_code == 200
    assert Program(issued.secret).get("/v2").status_code == 200
    issued.api_key.refresh_from_db()
    assert issued.api_key.expires_at is not None
    left = issued.api_key.expires_at - timezone.now()
    assert timedelta(hours=hours) - timedelta(minutes=1) < left <= timedelta(hours=hours)


def test_without_an_overlap_the_old_key_stops_working_at_once(
    administrator: Program, issued: Issued, path: str
) -> None:
    assert administrator.send("post", f"{path}/rotate", {"overlap": "none"}).status_code == 201
    assert Program(issued.secret).get("/v2").json() == {"Message": "API key has been revoked!"}


def test_the_successor_keeps_the_settings_and_never_outlives_the_original(administrator: Program, cast: Cast) -> None:
    ends = timezone.now() + timedelta(hours=2)
    old = factories.make_key(
        cast.account,
        permission=KeyPermission.READ,
        description="Why it is there",
        administrator=True,
        expires_at=ends,
        allowed_networks=["127.0.0.0/8"],
        rate_limit="7/minute",
        accepts_query=False,
        accepts_body=False,
    )
    successor = administrator.send("post", f"/v2/api-keys/{old.api_key.id}/rotate", {"overlap": "7d"}).json()
    new = APIKey.objects.get(pk=successor["id"])
    for field in SETTINGS:
        assert getattr(new, field) == getattr(old.api_key, field)
    old.api_key.refresh_from_db()
    assert new.expires_at == old.api_key.expires_at == ends


@pytest.mark.parametrize(("old_ends", "new_ends"), [(None, 30), (90, 30), (7, 7)])
def test_the_successor_respects_the_accounts_maximum_lifetime(
    administrator: Program, cast: Cast, old_ends: int | None, new_ends: int
) -> None:
    key = factories.make_key(cast.account, expires_at=old_ends and timezone.now() + timedelta(days=old_ends)).api_key
    administrator.send("patch", "/v2/account", {"max_key_lifetime_days": 30})
    successor = administrator.send("post", f"/v2/api-keys/{key.id}/rotate", {"overlap": "none"}).json()
    left = datetime.fromisoformat(successor["expires_at"]) - timezone.now()
    assert timedelta(days=new_ends) - timedelta(minutes=1) < left <= timedelta(days=new_ends)


def test_a_key_is_rotated_once_and_only_while_it_is_active(administrator: Program, cast: Cast, path: str) -> None:
    administrator.send("post", f"{path}/rotate", {"overlap": "24h"})
    again = administrator.send("post", f"{path}/rotate", {"overlap": "24h"})
    assert (again.status_code, again.json()) == (400, {"Message": "This key was already rotated."})
    states: list[dict[str, Any]] = [
        {"disabled_at": timezone.now()},
        {"expires_at": timezone.now() - timedelta(days=1)},
    ]
    for state in states:
        key = factories.make_key(cast.account, **state).api_key
        assert administrator.send("post", f"/v2/api-keys/{key.id}/rotate", {"overlap": "24h"}).status_code == 400


def test_a_rotated_key_cannot_be_extended(administrator: Program, path: str) -> None:
    administrator.send("post", f"{path}/rotate", {"overlap": "1h"})
    assert administrator.send("patch", path, {"expires_at": in_days(3)}).status_code == 400
    assert administrator.send("patch", path, {"name": "Old"}).status_code == 200


@pytest.mark.parametrize("overlap", ["", "2h", None, 24])
def test_an_unknown_overlap_is_refused(administrator: Program, path: str, overlap: str | int | None) -> None:
    response = administrator.send("post", f"{path}/rotate", {"overlap": overlap})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["overlap"])


def test_a_key_can_rotate_itself(cast: Cast) -> None:
    issued = factories.make_key(cast.account, administrator=True)
    program = Program(issued.secret)
    successor = program.send("post", f"/v2/api-keys/{issued.api_key.id}/rotate", {"overlap": "none"}).json()
    assert program.get("/v2").status_code == 401
    assert Program(successor["key"]).get("/v2").status_code == 200


def test_every_response_to_a_key_that_expires_soon_or_was_rotated_says_so(
    administrator: Program, issued: Issued, path: str, cast: Cast
) -> None:
    assert "Sunset" not in Program(issued.secret).get("/v2")
    administrator.send("post", f"{path}/rotate", {"overlap": "7d"})
    rotated = Program(issued.secret).get("/v2")
    issued.api_key.refresh_from_db()
    assert issued.api_key.expires_at is not None
    assert issued.api_key.rotated_at is not None
    assert parsedate_to_datetime(rotated["Sunset"]) == issued.api_key.expires_at.replace(microsecond=0)
    since = datetime.fromtimestamp(int(rotated["Deprecation"].removeprefix("@")), UTC)
    assert since == issued.api_key.rotated_at.replace(microsecond=0)
    soon = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=6)).secret
    later = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=8)).secret
    assert "Sunset" in Program(soon).get("/v2")
    assert "Sunset" not in Program(later).get("/v2")


# Plain HTTP ---------------------------------------------------------------------------------------


def test_a_valid_key_over_plain_http_is_flagged_after_the_request(
    issued: Issued, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        Program(issued.secret).get("/v2", plain_http=True, REMOTE_ADDR="203.0.113.7")
        Program().get("/v2", {"api_key": issued.secret}, plain_http=True)
        Program("nonsense").get("/v2", plain_http=True)
    exposure.examine()
    issued.api_key.refresh_from_db()
    assert issued.api_key.exposed_at is not None
    event = AuditEvent.objects.get(event="api_key.exposed")
    assert (event.actor_label, event.address) == ("Plain HTTP", "203.0.113.7")
    assert Program(issued.secret).get("/v2").status_code == 200


def test_a_key_over_plain_http_is_revoked_if_the_key_policy_says_so(administrator: Program, issued: Issued) -> None:
    administrator.send("patch", "/v2/account", {"revoke_exposed_keys": True})
    Program(issued.secret).get("/v2", plain_http=True)
    exposure.examine()
    assert Program(issued.secret).get("/v2").json() == {"Message": "API key has been revoked!"}


@pytest.mark.parametrize(
    ("fields", "is_reported"),
    [
        ({"disabled_at": timezone.now()}, True),
        ({"expires_at": timezone.now() - timedelta(days=1)}, False),
        ({"revoked_at": timezone.now()}, False),
    ],
)
def test_a_disabled_key_over_plain_http_is_reported_and_a_revoked_one_is_not(
    cast: Cast, fields: dict[str, Any], is_reported: bool
) -> None:
    issued = factories.make_key(cast.account, **fields)
    Program(issued.secret).get("/v2", plain_http=True)
    exposure.examine()
    issued.api_key.refresh_from_db()
    assert (issued.api_key.exposed_at is not None) == is_reported


def test_a_key_that_is_seen_again_is_reported_again_after_a_day(cast: Cast) -> None:
    key, start = factories.make_key(cast.account).api_key, timezone.now()
    for hours, times in ((0, 1), (23, 1), (24, 2)):
        with mock.patch.object(timezone, "now", return_value=start + timedelta(hours=hours)):
            services.flag_exposed_key(api_key=key, address="203.0.113.7")
        assert AuditEvent.objects.filter(event="api_key.exposed").count() == times
        assert key.notices.filter(kind=Notice.Kind.EXPOSED).count() == times


def test_keys_seen_over_plain_http_are_kept_until_the_database_is_back(issued: Issued) -> None:
    Program(issued.secret).get("/v2", plain_http=True)
    with (
        mock.patch("apikeys.services.flag_exposed_key", side_effect=OperationalError("gone")),
        pytest.raises(OperationalError),
    ):
        exposure.examine()
    exposure.examine()
    issued.api_key.refresh_from_db()
    assert issued.api_key.exposed_at is not None
    assert exposure.discard() == 0


def test_many_plain_requests_do_not_fill_the_memory(db: None) -> None:
    for number in range(1000):
        exposure.record({"HTTP_X_API_KEY": str(number)})
    assert len(exposure._seen) <= 256
    exposure.examine()
    assert not exposure._seen


# Use and audit ----------------------------------------------------------------------------------


def test_usage_is_returned_per_day_and_key(cast: Cast, administrator: Program) -> None:
    one, other = factories.make_key(cast.account, name="one"), factories.make_key(cast.account, name="other")
    for issued, times in ((one, 3), (other, 1)):
        for _ in range(times):
            Program(issued.secret).get("/v2")
    Program(other.secret).put("/v2")
    counts.flush()
    rows = {row["api_key"]["name"]: row for row in administrator.get("/v2/usage").json()["results"]}
    today = timezone.now().date().isoformat()
    assert rows["other"] == {
        "day": today,
        "api_key": {"id": other.api_key.id, "name": "other"},
        "service": "api",
        "requests": 2,
        "succeeded": 1,
        "client_errors": 1,
        "throttled": 0,
        "server_errors": 0,
    }
    assert rows["one"]["requests"] == 3
    only = administrator.get("/v2/usage", {"key": one.api_key.id, "since": today, "until": today}).json()["results"]
    assert [row["api_key"]["name"] for row in only] == ["one"]
    assert administrator.get("/v2/usage", {"until": "2020-01-01"}).json()["results"] == []
    assert administrator.get("/v2/usage", {"since": "yesterday"}).status_code == 400


def test_usage_is_returned_by_service_even_if_it_was_deleted(cast: Cast, administrator: Program) -> None:
    key, other = (factories.make_key(cast.account).api_key for _ in range(2))
    for day in (date(2026, 11, 23), date(2026, 11, 24)):
        factories.make_usage(key, day, succeeded=1)
        factories.make_usage(key, day, service="svc_gone", succeeded=2, throttled=1)
        factories.make_usage(other, day, service="svc_gone", server_errors=4)

    def told(**filters: str) -> set[tuple[str, str, int]]:
        rows = administrator.get("/v2/usage", {"until": "2026-11-24", **filters}).json()["results"]
        return {(row["day"], row["service"], row["requests"]) for row in rows}

    assert told(key=key.id) == {
        ("2026-11-23", "api", 1),
        ("2026-11-23", "svc_gone", 3),
        ("2026-11-24", "api", 1),
        ("2026-11-24", "svc_gone", 3),
    }
    assert told(service="svc_gone", since="2026-11-24") == {
        ("2026-11-24", "svc_gone", 3),
        ("2026-11-24", "svc_gone", 4),
    }
    assert told(service="svc_other") == set()


def test_audit_events_are_filtered(administrator: Program, issued: Issued, path: str) -> None:
    administrator.send("patch", path, {"name": "Other"}, headers={"X-Request-ID": "req-1"})
    rows = administrator.get("/v2/audit-events", {"target": issued.api_key.id, "event": "api_key.changed"}).json()
    row = rows["results"][0]
    assert row == {
        "id": row["id"],
        "at": row["at"],
        "event": "api_key.changed",
        "actor": {"kind": "key", "id": row["actor"]["id"], "label": "Root"},
        "target": {"kind": "api_key", "id": issued.api_key.id, "label": "Other"},
        "address": "127.0.0.1",
        "request_id": "req-1",
        "changes": {"name": ["Status page", "Other"]},
    }

    def count(**filters: str) -> int:
        return len(administrator.get("/v2/audit-events", filters).json()["results"])

    assert count(actor="Root") == count(actor=row["actor"]["id"]) == 1
    assert count(event="api_key") > count(event="api_key.changed") == 1
    assert count(since=in_days(1)) == count(until="2020-01-01T00:00:00Z") == 0
    assert administrator.get("/v2/audit-events", {"since": "x"}).status_code == 400
    assert list(administrator.get("/v2/audit-events", {"event": "nonsense"}).json()["Errors"]) == ["event"]
