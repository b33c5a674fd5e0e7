"""Calls every operation once with the client that openapi-python-client generated, and prints their names as JSON.

It needs the directory of the package `atatus_client` on its path. The arguments are the server's URL and the seed.
"""

import importlib
import json
import pkgutil
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

client_module: Any = importlib.import_module("atatus_client")
models: Any = importlib.import_module("atatus_client.models")

#: Operations by their ids, which are the names of their modules.
OPERATIONS = {
    found.name.rpartition(".")[2]: found.name
    for found in pkgutil.walk_packages(importlib.import_module("atatus_client.api").__path__, "atatus_client.api.")
    if not found.ispkg
}


class Caller:
    """Calls operations by their ids, and returns the parsed responses."""

    def __init__(self, url: str, key: str) -> None:
        self.client = client_module.AuthenticatedClient(
            base_url=url, token=key, prefix="", auth_header_name="X-API-KEY", raise_on_unexpected_status=True
        )
        self.called: list[str] = []

    def response(self, operation: str, *ids: str, **fields: Any) -> Any:
        self.called.append(operation)
        return importlib.import_module(OPERATIONS[operation]).sync_detailed(*ids, client=self.client, **fields)

    def __call__(self, operation: str, *ids: str, **fields: Any) -> Any:
        response = self.response(operation, *ids, **fields)
        assert 200 <= response.status_code < 300, (operation, response)
        return response.parsed


def main(url: str, seeded: dict[str, str]) -> list[str]:
    call = Caller(url, seeded["key"])
    _check_keys(call, seeded)
    _projects(call)
    _api_keys(call, seeded)
    _services(call, seeded)
    _people(call, seeded)
    _records(call, seeded)
    _authorization_requests(call, seeded)
    return call.called


def _check_keys(call: Caller, seeded: dict[str, str]) -> None:
    for operation in ("check_api_key", "check_api_key_in_body"):
        checked = call(operation)
        assert isinstance(checked, models.WhoAmI)
        assert checked.account.slug == "acme"
        assert checked.api_key.id == seeded["key_id"]
        assert checked.api_key.permission is models.KeyPermission.READ_WRITE
        assert checked.api_key.expires_at is None
        assert isinstance(checked.rate_limit.remaining, int)
    account = call("get_account")
    assert isinstance(account.created_at, datetime)
    changed = call("change_account", body=models.AccountChanges(name="Acme Inc", revoke_exposed_keys=True))
    assert (changed.name, changed.revoke_exposed_keys) == ("Acme Inc", True)
    assert changed.max_key_lifetime_days is None


def _projects(call: Caller) -> None:
    project = call("create_project", body=models.NewProjectRequest(name="Shop"), idempotency_key="shop-1")
    assert isinstance(project, models.Project)
    page = call("list_projects", q="Shop", limit=1)
    assert [found.id for found in page.results] == [project.id]
    assert page.next_ is None
    found = call.response("get_project", project.id)
    assert found.parsed == project
    etag = found.headers["ETag"]
    unchanged = call.response("get_project", project.id, if_none_match=etag)
    assert unchanged.status_code == 304
    changed = call("change_project", project.id, body=models.ProjectChanges(name="Web shop"), if_match=etag)
    assert changed.name == "Web shop"
    refused = call.response("change_project", project.id, body=models.ProjectChanges(name="Late"), if_match=etag)
    assert refused.status_code == 412
    assert isinstance(refused.parsed, models.Error)
    assert call("replace_project", project.id, body=models.ProjectRequest(name="Shop")).name == "Shop"

    deployment = call("create_deployment", project.id, body=models.DeploymentRequest(revision="4f2a91c"))
    assert deployment.release_stage == "production"
    page = call("list_deployments", project.id, since=datetime.now(UTC) - timedelta(hours=1))
    assert page.results == [deployment]
    assert call("get_deployment", project.id, deployment.id) == deployment
    assert call("delete_deployment", project.id, deployment.id) is None
    assert call("delete_project", project.id) is None
    missing = call.response("get_project", project.id)
    assert missing.status_code == 404
    assert missing.parsed.message


def _api_keys(call: Caller, seeded: dict[str, str]) -> None:
    expiry = datetime(datetime.now(UTC).year + 1, 5, 17, 12, tzinfo=UTC)
    request = models.APIKeyRequest(
        name="Nightly report",
        permission=models.APIKeyRequestPermission.READ,
        expires_at=expiry,
        allowed_networks=["203.0.113.0/24"],
        rate_limit="100/minute",
        access=[models.AccessItem(service=seeded["service"], paths=["/reports/*"])],
    )
    issued = call("create_api_key", body=request)
    assert isinstance(issued, models.IssuedAPIKey)
    assert issued.key.startswith("atk_")
    assert issued.expires_at == expiry
    assert issued.access[0].paths == ["/reports/*"]
    page = call("list_api_keys", state=models.ListApiKeysState.ACTIVE, administrator=False, q="Nightly")
    assert [found.id for found in page.results] == [issued.id]
    changed = call("change_api_key", issued.id, body=models.APIKeyChanges(disabled=True))
    assert changed.disabled
    assert call("get_api_key", issued.id) == changed
    call("change_api_key", issued.id, body=models.APIKeyChanges(disabled=False))
    successor = call(
        "rotate_api_key", issued.id, body=models.RotateRequest(overlap=models.RotateRequestOverlap("none"))
    )
    assert successor.rotated_from == issued.id
    imported = call("import_api_keys", body=models.ImportRequest(api_keys=[_digest_of("Old"), {"digest": "none"}]))
    assert [result.status.value for result in imported.results] == ["imported", "refused"]
    assert imported.results[1].errors["digest"]
    revoked = call("revoke_api_keys", body=models.RevokeRequest(ids=[successor.id, imported.results[0].id]))
    assert [result.status.value for result in revoked.results] == ["revoked", "revoked"]
    assert call("revoke_api_key", issued.id) is None


def _digest_of(name: str) -> Any:
    return models.ImportedAPIKeyRequest(
        name=name, permission=models.ImportedAPIKeyRequestPermission.READ, digest="9f" * 32, mask="old_…f3a9"
    )


def _services(call: Caller, seeded: dict[str, str]) -> None:
    service = call("create_service", body=models.ServiceRequest(name="Reports", gateways=["10.0.0.7"]))
    assert service.gateways == ["10.0.0.7/32"]
    page = call("list_services", shared=False)
    assert [found.id for found in page.results] == [service.id, seeded["service"]]
    changed = call("change_service", service.id, body=models.ServiceChanges(upstream="http://10.0.0.9:3000"))
    assert call("get_service", service.id) == changed
    assert call("delete_service", service.id) is None


def _people(call: Caller, seeded: dict[str, str]) -> None:
    page = call("list_members", role=models.ListMembersRole.USER)
    assert [(found.id, found.email) for found in page.results] == [(seeded["member"], "colleague@example.com")]
    changed = call("change_member", seeded["member"], body=models.MemberChanges(role=models.MemberChangesRole.ADMIN))
    assert call("get_member", seeded["member"]) == changed
    assert call("remove_member", seeded["member"]) is None
    body = models.InvitationRequest(email="new@example.com", role=models.InvitationRequestRole.USER)
    invitation = call("send_invitation", body=body)
    assert call("list_invitations").results == [invitation]
    assert call("get_invitation", invitation.id) == invitation
    body = models.InvitationRoleChanges(role=models.InvitationRoleChangesRole.ADMIN)
    assert call("change_invitation", invitation.id, body=body).role.value == "admin"
    assert call("withdraw_invitation", invitation.id) is None


def _records(call: Caller, seeded: dict[str, str]) -> None:
    page = call("list_audit_events", event=models.ListAuditEventsEvent.PROJECT_CREATED)
    [event] = page.results
    assert event.actor.id == seeded["key_id"]
    assert call("get_audit_event", event.id) == event
    page = call("list_usage", service="api", until=date(9999, 12, 31))
    assert 3 in [row.requests for row in page.results]
    assert all(isinstance(row.day, date) for row in page.results)
    described = call("get_openapi")
    assert described.openapi == "3.1.0"
    reported = call("report_leaked_keys", body=models.LeakedKeysRequest(credentials=[seeded["leaked_key"]]))
    assert reported.message


def _authorization_requests(call: Caller, seeded: dict[str, str]) -> None:
    check = models.CheckRequest(method="GET", path="/reports", key=seeded["other_key"])
    allowed = call("check_request", seeded["service"], body=check)
    assert isinstance(allowed, models.Check)
    assert allowed.allowed
    assert allowed.api_key.name == "Other"
    dry_run = models.APICheckRequest(method="GET", path="/v2/projects", key=seeded["other_key"], dry_run=True)
    shown = call("check_api_request", body=dry_run)
    assert (shown.allowed, shown.status) == (True, 200)
    forwarded = {"x_forwarded_for": "203.0.113.7", "x_forwarded_proto": "https"}
    for operation in OPERATIONS:
        if operation.startswith("authorize_by_auth_request"):
            original = {"x_original_method": "GET", "x_original_uri": "/reports"}
            response = call.response(operation, seeded["service"], **forwarded, **original)
        elif operation.startswith("authorize_by_forward_auth"):
            original = {"x_forwarded_method": "GET", "x_forwarded_uri": "/reports"}
            response = call.response(operation, seeded["service"], **forwarded, **original)
        elif operation.startswith("authorize_by_ext_authz"):
            response = call.response(operation, seeded["service"], "reports", **forwarded)
        else:
            continue
        assert response.status_code == 200, (operation, response)
        assert response.headers["X-Api-Key-Id"] == seeded["key_id"]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201
