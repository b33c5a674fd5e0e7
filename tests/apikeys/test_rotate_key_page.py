"""The page that rotates a key and shows its successor once."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import ids
from accounts.models import AuditEvent
from apikeys import tokens
from apikeys.forms import EditKeyForm, RotateForm
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast, Program

from .pages import HTMX, page, read, words


def rotation(**fields: str) -> dict[str, str]:
    return {"id": ids.new_key_id(), "overlap": "24h", **fields}


def secret_in(response: Any) -> str:
    found = re.search(tokens.SCANNER_PATTERN, response.content.decode())
    assert found
    return found.group()


def test_rotating_says_what_stops_working_and_when(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    text = read(owner, page(cast, "rotate_key", api_key.id))
    tomorrow = timezone.now() + timedelta(days=1)

    assert "Programs get 401 until they use the new key." in text
    assert f"Stops working {tomorrow.day} {tomorrow:%B %Y}" in text


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_the_successor_is_shown_once_and_both_keys_work_for_the_overlap(
    headers: dict[str, str], cast: Cast, owner: Browser
) -> None:
    old = factories.make_key(cast.account, "Deploys", rate_limit="100/hour")
    response = owner.post(page(cast, "rotate_key", old.api_key.id), rotation(), headers=headers)
    secret = secret_in(response)
    later = owner.get(page(cast, "key", old.api_key.id)).content.decode()

    assert response.headers["Cache-Control"] == "private, no-store"
    assert old.api_key.mask in response.content.decode()
    assert [Program(key).get("/v2").status_code for key in (old.secret, secret)] == [200, 200]
    assert APIKey.objects.get(rotated_from=old.api_key).rate_limit == "100/hour"
    assert secret not in later
    assert not any(secret in str(event.__dict__) for event in AuditEvent.objects.all())


def test_no_overlap_is_offered_beyond_the_keys_own_expiry(api_key: APIKey) -> None:
    api_key.expires_at = timezone.now() + timedelta(hours=2)
    ends = RotateForm().ends(api_key)

    assert ends["1h"] is not None
    assert ends["1h"] < api_key.expires_at == ends["24h"] == ends["7d"]


def test_never_is_offered_only_if_keys_need_not_expire(cast: Cast, api_key: APIKey) -> None:
    api_key.expires_at = timezone.now() + timedelta(days=2)
    for longest, offered in ((None, True), (30, False)):
        cast.account.max_key_lifetime_days = longest
        expiry: Any = EditKeyForm(account=cast.account, api_key=api_key).fields["expiry"]

        assert ("never" in dict(expiry.choices)) == offered


def test_without_an_overlap_the_old_key_is_refused_immediately(cast: Cast, owner: Browser) -> None:
    old = factories.make_key(cast.account)
    response = owner.post(page(cast, "rotate_key", old.api_key.id), rotation(overlap="none"))

    assert "no longer works." in words(response.content.decode())
    assert Program(old.secret).get("/v2").status_code == 401
    assert Program(secret_in(response)).get("/v2").status_code == 200


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_rotating_twice_creates_one_successor_and_says_so(
    headers: dict[str, str], cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    sent = rotation()
    owner.post(page(cast, "rotate_key", api_key.id), sent, headers=headers)
    again = owner.post(page(cast, "rotate_key", api_key.id), sent, headers=headers)

    assert APIKey.objects.count() == 2
    assert "This key was already created." in again.content.decode()
    assert not re.search(tokens.SCANNER_PATTERN, again.content.decode())


@pytest.mark.parametrize("overlap", ["", "99d"])
def test_an_invalid_overlap_is_refused(overlap: str, cast: Cast, owner: Browser, api_key: APIKey) -> None:
    response = owner.post(page(cast, "rotate_key", api_key.id), rotation(overlap=overlap))

    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.content.decode()
    assert APIKey.objects.count() == 1


@pytest.mark.parametrize("fields", [{"disabled_at": timezone.now()}, {"revoked_at": timezone.now()}])
def test_a_key_that_is_not_active_can_not_be_rotated(fields: dict[str, Any], cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account, **fields).api_key

    assert "Only an active key can be rotated." in read(owner, page(cast, "rotate_key", key.id))
    assert owner.post(page(cast, "rotate_key", key.id), rotation()).status_code == 400
    assert APIKey.objects.count() == 1
