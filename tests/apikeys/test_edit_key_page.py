"""The page that changes a key's settings."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts import policy
from accounts.models import Account, AuditEvent
from apikeys import services
from apikeys.models import APIKey
from apikeys.services import Overlap
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.factories import PASSWORD

from .pages import operator, page, settings, words

# Editing ----------------------------------------------------------------------------------------


def test_the_edit_form_shows_the_current_settings(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(
        cast.account,
        "Nightly",
        policy.KeyPermission.WRITE,
        allowed_networks=["10.0.0.0/8", "192.0.2.0/24"],
        rate_limit="5/day",
        accepts_query=False,
    ).api_key
    form = owner.get(page(cast, "edit_key", key.id)).context["form"]

    assert [form[name].value() for name in ("name", "permission", "allowed_networks", "rate_limit")] == [
        *("Nightly", "write", "10.0.0.0/8\n192.0.2.0/24", "5/day")
    ]
    assert [form[name].value() for name in ("accepts_query", "accepts_body", "administrator", "expiry")] == [
        *(False, True, False, "keep")
    ]


def test_submitting_the_form_unchanged_changes_nothing(cast: Cast, owner: Browser) -> None:
    soon = timezone.now() + timedelta(days=3)
    key = factories.make_key(
        cast.account, "Deploys", policy.KeyPermission.READ, description="Two\nlines", expires_at=soon
    ).api_key
    owner.post(page(cast, "edit_key", key.id), settings(description="Two\r\nlines"))

    assert APIKey.objects.get() == key
    assert APIKey.objects.get().expires_at == soon
    assert not AuditEvent.objects.filter(event__in=["api_key.changed", "api_key.widened"]).exists()


def test_settings_are_changed_and_apply_to_the_next_request(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys", policy.KeyPermission.READ_WRITE)
    response = owner.post(
        page(cast, "edit_key", issued.api_key.id),
        settings(name="Nightly", allowed_networks="10.0.0.0/8", rate_limit="5/day", accepts_body=None, expiry="30"),
        follow=True,
    )
    issued.api_key.refresh_from_db()

    assert "Changes saved. They take effect on the next request." in words(response.content.decode())
    assert (issued.api_key.name, issued.api_key.permission, issued.api_key.rate_limit) == ("Nightly", "read", "5/day")
    assert (issued.api_key.accepts_query, issued.api_key.accepts_body) == (True, False)
    assert issued.api_key.expires_at is not None
    assert Program(issued.secret).get("/v2").status_code == 403
    assert Program(issued.secret).get("/v2", REMOTE_ADDR="10.1.2.3").status_code == 200


def test_an_expiry_can_be_removed(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=3)).api_key
    owner.post(page(cast, "edit_key", key.id), settings(permission="read_write", expiry="never"))

    assert APIKey.objects.get().expires_at is None


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", " ", "This field is required."),
        ("permission", "", "Select a permission."),
        ("allowed_networks", "home", "is not a network"),
        ("rate_limit", "fast", "Write a rate as a number and a unit"),
        ("expires_at", "2001-01-01T00:00", "Enter a time in the future."),
        ("expires_at", "9999-12-31T23:59-14:00", "Enter a time within the next 100 years."),
    ],
)
def test_invalid_settings_are_shown_at_their_field(
    field: str, value: str, sentence: str, cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    sent = settings(expiry="at", **{"expires_at": "2099-01-01T00:00", field: value})
    response = owner.post(page(cast, "edit_key", api_key.id), sent)

    assert response.status_code == 422
    assert sentence in words(response.content.decode())
    assert f'id="id_{field}_error"' in response.content.decode()
    assert APIKey.objects.get().name == "Deploys"


def test_a_rotated_key_can_not_be_granted_more_and_the_form_says_so(
    cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    services.rotate_api_key(actor=operator(cast), api_key=api_key, overlap=Overlap.DAY)
    response = owner.post(page(cast, "edit_key", api_key.id), settings(permission="read_write"))

    assert response.status_code == 422
    assert "Change its successor instead" in words(response.content.decode())


def test_a_revoked_key_can_not_be_edited(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.revoke_api_key(actor=operator(cast), api_key=api_key)
    responses = [
        owner.get(page(cast, "edit_key", api_key.id)),
        owner.post(page(cast, "edit_key", api_key.id), settings()),
    ]

    assert [response.status_code for response in responses] == [400, 400]
    assert responses[0].templates[0].name == "400.html"
    assert "A revoked key can't be changed." in words(responses[0].content.decode())


@pytest.mark.parametrize("change", [{"name": "Nightly"}, {"rate_limit": "5/day"}, {"expiry": "30"}])
def test_a_plain_change_asks_for_no_password(
    change: dict[str, str], cast: Cast, signed_in: Browser, api_key: APIKey
) -> None:
    response = signed_in.post(page(cast, "edit_key", api_key.id), settings(**change))

    assert response.headers["Location"] == page(cast, "key", api_key.id)


@pytest.mark.parametrize(
    "change", [{"permission": "read_write"}, {"administrator": "on"}, {"rate_limit": "9999/second"}]
)
def test_more_power_asks_for_the_password_and_keeps_the_input(
    change: dict[str, str], cast: Cast, signed_in: Browser, api_key: APIKey
) -> None:
    sent = settings(name="Nightly & more", accepts_query=None, **change)
    asked = signed_in.post(page(cast, "edit_key", api_key.id), sent)
    question = signed_in.get(asked.headers["Location"]).content.decode()
    back = re.findall(r'name="next" value="([^"]+)"', question)[0].replace("&amp;", "&")
    again = signed_in.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": back}, follow=True)
    form = again.context["form"]
    unchanged = APIKey.objects.get()
    signed_in.post(page(cast, "edit_key", api_key.id), sent)

    assert unchanged.permission == "read"
    assert (form["name"].value(), form["accepts_query"].value(), form["accepts_body"].value()) == (
        *("Nightly & more", False, True),
    )
    assert form["permission"].value() == sent["permission"]
    assert form["administrator"].value() == ("administrator" in change)
    assert AuditEvent.objects.filter(event="api_key.widened").count() == 1


# The account's maximum lifetime ------------------------------------------------------------------


@pytest.fixture
def strict(cast: Cast) -> Account:
    """An account whose keys live at most 45 days."""
    Account.objects.filter(pk=cast.account.pk).update(max_key_lifetime_days=45)
    return cast.account


def test_the_maximum_lifetime_is_preselected_and_nothing_longer_is_offered(
    cast: Cast, owner: Browser, strict: Account
) -> None:
    form = owner.get(page(cast, "new_key")).context["form"]

    assert form["expiry"].value() == "45"
    assert [value for value, _ in form.fields["expiry"].choices] == ["30", "45", "at"]
    assert form.has_options


@pytest.mark.parametrize(
    "sent", [{"expiry": ""}, {"expiry": "365"}, {"expiry": "at", "expires_at": "2099-01-01T00:00"}]
)
def test_a_new_key_does_not_live_longer(sent: dict[str, str], cast: Cast, owner: Browser, strict: Account) -> None:
    response = owner.post(page(cast, "new_key"), {"name": "Deploys", "permission": "read", **sent})

    assert response.status_code == 422
    assert not APIKey.objects.exists()


def test_a_new_key_may_live_just_as_long(cast: Cast, owner: Browser, strict: Account) -> None:
    owner.post(page(cast, "new_key"), {"name": "Deploys", "permission": "read", "expiry": "45"})

    assert APIKey.objects.get().expires_at is not None


def test_a_changed_key_does_not_live_longer_but_keeps_its_expiry(
    cast: Cast, owner: Browser, api_key: APIKey, strict: Account
) -> None:
    refused = owner.post(page(cast, "edit_key", api_key.id), settings(expiry="never"))
    owner.post(page(cast, "edit_key", api_key.id), settings(name="Kept"))

    assert refused.status_code == 422
    assert (APIKey.objects.get().name, APIKey.objects.get().expires_at) == ("Kept", None)
