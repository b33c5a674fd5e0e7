"""The summary beside the form: what the key can do."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast

from .pages import page, read, words

EVERYTHING_ELSE = "reach members, API keys, the audit log and account settings"


def told(cast: Cast, owner: Browser, **sent: Any) -> str:
    response = owner.post(page(cast, "key_summary"), sent)
    assert response.status_code == 200
    return words(response.content.decode())


def test_without_a_permission_the_summary_asks_for_one(cast: Cast, owner: Browser) -> None:
    for sent in ({}, {"permission": "nonsense"}):
        assert "Select a permission to see what the key can do." in told(cast, owner, **sent)


@pytest.mark.parametrize(
    ("permission", "can", "cannot"),
    [
        ("read", "read every service, including services created later", "This key can't write anywhere"),
        ("write", "write to every service, including services created later", "This key can't read anywhere"),
        (
            "read_write",
            "read and write to every service, including services created later",
            f"This key can't {EVERYTHING_ELSE}",
        ),
    ],
)
def test_a_key_with_access_to_everything(permission: str, can: str, cannot: str, cast: Cast, owner: Browser) -> None:
    text = told(cast, owner, permission=permission, access="everything")
    assert can in text
    assert "this API (/v2): projects, deployments and usage" in text
    assert cannot in text
    assert "From any address, 600/minute, until it is revoked." in text


def test_a_key_with_access_to_selected_services(cast: Cast, owner: Browser) -> None:
    reports, search = (factories.make_service(cast.account, name) for name in ("Reports API", "Search API"))
    factories.make_service(cast.account, "Exports API")
    sent = {
        "permission": "read",
        "access": "chosen",
        "service": [reports.id, search.id],
        f"paths-{reports.id}": "/reports/*\n\n /daily ",
    }
    text = told(cast, owner, **sent)
    assert "read /reports/*, /daily at Reports API" in text
    assert "read Search API, all paths" in text
    assert "reach Exports API, or a service created later" in text
    assert "use the rest of this API (/v2)" in text
    with_api = told(cast, owner, **{**sent, "service": ["api"]})
    assert "this API (/v2): projects" in with_api
    assert "otherwise" not in with_api
    assert "reach Exports API, Reports API, Search API, or a service created later" in with_api
    factories.make_service(cast.account, "Weather API")
    assert "Search API, 1 other service, or" in told(cast, owner, **{**sent, "service": ["api"]})


def test_administrator_access_needs_the_api(cast: Cast, owner: Browser) -> None:
    sent = {"permission": "read_write", "administrator": "on"}
    administration = "members, API keys, services, the audit log and the account"
    assert administration in told(cast, owner, **sent)
    assert administration not in told(cast, owner, access="chosen", **sent)


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        ({"allowed_networks": "10.0.0.0/24", "rate_limit": "9/hour"}, "From 10.0.0.0/24 only, 9/hour, until"),
        ({"allowed_networks": "10.0.0.0/24\n10.1.0.0/24"}, "From 2 networks only"),
        ({"expiry": "30"}, "600/minute, for 30 days."),
        ({"expiry": "at"}, "600/minute, until the date below."),
        ({"expiry": "keep"}, "From any address, 600/minute."),
        ({"expiry": "never"}, "until it is revoked."),
    ],
)
def test_the_summary_shows_networks_rate_and_lifetime(
    sent: dict[str, str], limits: str, cast: Cast, owner: Browser
) -> None:
    assert limits in told(cast, owner, permission="read", **sent)


def test_invalid_values_are_summarized_as_entered(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account)
    sent = {"permission": "read", "access": "chosen", "service": [service.id], f"paths-{service.id}": "reports<b>"}
    assert "read reports<b> at Reports API" in told(cast, owner, **sent)
    assert not APIKey.objects.exists()


def test_both_forms_open_with_the_summary_of_their_values(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account)
    assert "Select a permission" in read(owner, page(cast, "new_key"))
    access = f'[{{"service":"{service.id}","paths":["/a"]}}]'
    key = factories.make_key(cast.account, access=access, rate_limit="5/second").api_key
    text = read(owner, page(cast, "edit_key", key.id))
    assert "read and write /a at Reports API" in text
    assert "From any address, 5/second." in text
    refused = owner.post(page(cast, "new_key"), {"name": "", "permission": "read"})
    assert "read every service" in words(refused.content.decode())


def test_the_summary_takes_one_query_for_all_services(cast: Cast, owner: Browser) -> None:
    made = [factories.make_service(cast.account).id for _ in range(5)]
    sent = {"permission": "read", "access": "chosen"}
    told(cast, owner, **sent)
    counts = []
    for services in ([made[0]], made):
        with CaptureQueriesContext(connection) as queries:
            told(cast, owner, service=services, **sent)
        counts.append(len(queries))
    # The session, the person, the membership with its account, the services, and the memberships of the switcher.
    assert counts == [5, 5]
