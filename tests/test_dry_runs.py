"""*Test a request* about something that was deleted, or belongs to another account."""

import pytest
from django.utils import timezone

from atatus_dash.dry_runs import DescribedRequest, DryRun, Result, dry_run

from . import factories
from .conftest import Cast

pytestmark = pytest.mark.django_db


def _tested(cast: Cast, service: str) -> DryRun | None:
    key = factories.make_key(cast.account).api_key
    return dry_run(
        key_id=key.id, described=DescribedRequest(service, "GET", "/reports", ""), api="https://testserver/v2"
    )


def test_a_service_that_was_deleted_meanwhile_has_no_result(cast: Cast) -> None:
    assert _tested(cast, "svc_0000000000000000") is None


def test_a_key_is_unknown_at_a_service_of_another_account(cast: Cast) -> None:
    found = _tested(cast, factories.make_service(cast.elsewhere).id)
    assert found
    assert (found.status, found.message) == ("401 Unauthorized", "API key is invalid!")
    assert [row.label for row in found.rows if row.result is Result.DECIDED] == ["Key"]
    assert not found.identity
    assert not found.passing


def test_a_path_of_the_api_that_needs_no_key_passes_with_a_key_that_no_longer_does(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    key.revoked_at = timezone.now()
    key.save()
    described = DescribedRequest("api", "POST", "/v2/leaked-keys", "")
    found = dry_run(key_id=key.id, described=described, api="https://testserver/v2")
    assert found
    assert (found.status, found.setting) == ("200 OK", "")
    assert {row.label: row.sentence for row in found.rows}["State"] == "This path needs no key."
