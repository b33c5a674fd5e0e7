"""The fields of keys: pages, the API, the command, admin and imports refuse the same values."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.urls import reverse
from django.utils import timezone

from accounts import cookies, policy, services, times
from accounts.errors import Invalid
from accounts.models import AuditEvent
from accounts.policy import KeyPermission
from apikeys import imports, tokens, validators
from apikeys import services as key_services
from apikeys.models import APIKey
from tests import factories
from tests.admin_pages import admin_url
from tests.conftest import Browser, Cast, Program

#: Well-formed, and the same in every process, because it is part of test ids.
SECRET = "atk_TESTtestTESTtestTESTtestTESTte0x4sVJ"
HOLDS_A_KEY = "This contains an API key. Remove it: other people can read this field."
MANY = [f"10.0.{number}.0/24" for number in range(51)]

WRONG: list[tuple[str, Any, str]] = [
    ("name", SECRET, HOLDS_A_KEY),
    ("name", f"key={SECRET}, keep it", HOLDS_A_KEY),
    ("description", f"Old one: {SECRET}", HOLDS_A_KEY),
    ("rate_limit", "fast", "Write a rate as a number and a unit, such as 100/minute (second, minute, hour or day)."),
    ("allowed_networks", ["x"], "“x” is not a network. Write it as 203.0.113.0/24 or 2001:db8::/32."),
]


@pytest.mark.parametrize(("field", "value", "sentence"), WRONG)
def test_the_page_and_the_api_refuse_the_same_values(
    cast: Cast, browser: Browser, administrator: Program, field: str, value: Any, sentence: str
) -> None:
    before = APIKey.objects.count()
    typed = {"name": "x", "permission": "read", field: "\n".join(value) if isinstance(value, list) else value}
    page = browser.as_(cast.owner).post(reverse("apikeys:new_key", args=["acme"]), typed)
    assert (page.status_code, page.context["form"].errors) == (422, {field: [sentence]})
    answer = administrator.send("post", "/v2/api-keys", {"name": "x", "permission": "read", field: value})
    assert (answer.status_code, answer.json()["Errors"]) == (400, {field: [sentence]})
    assert SECRET not in answer.content.decode()
    assert APIKey.objects.count() == before


@pytest.mark.parametrize(("field", "value", "sentence"), [*WRONG, ("allowed_networks", MANY, "at most 50 networks")])
def test_a_service_refuses_invalid_values_from_every_caller(cast: Cast, field: str, value: Any, sentence: str) -> None:
    actor, api_key = policy.system(cast.account.ref), factories.make_key(cast.account).api_key
    events = AuditEvent.objects.count()
    with pytest.raises(Invalid) as refused:
        key_services.change_api_key(actor=actor, api_key=api_key, **{field: value})
    assert sentence in (refused.value.errors or {})[field][0]
    with pytest.raises(Invalid):
        key_services.create_api_key(actor=actor, permission=KeyPermission.READ, **{"name": "x", field: value})
    assert AuditEvent.objects.count() == events


def test_an_unchanged_setting_is_not_validated_again(cast: Cast) -> None:
    api_key = factories.make_key(cast.account).api_key
    APIKey.objects.filter(pk=api_key.pk).update(name=SECRET)
    changed = key_services.change_api_key(actor=policy.system(cast.account.ref), api_key=api_key, description="Why")
    assert changed.description == "Why"


def test_a_text_that_only_resembles_a_key_is_a_valid_name(administrator: Program) -> None:
    name = SECRET[:-1] + ("0" if SECRET[-1] != "0" else "1")
    answer = administrator.send("post", "/v2/api-keys", {"name": name, "permission": "read"})
    assert answer.status_code == 201


def test_admin_refuses_a_key_in_a_name_too(cast: Cast, browser: Browser) -> None:
    operator = factories.make_operator()
    api_key = factories.make_key(cast.account).api_key
    address = admin_url(api_key, "change")
    page = browser.as_(operator).post(address, {"name": SECRET, "permission": "read", "allowed_networks": '{"a": 1}'})
    assert page.context["adminform"].form.errors == {
        "name": [HOLDS_A_KEY],
        "allowed_networks": ["Write a list of networks."],
    }


def test_an_import_refuses_a_key_in_a_name_even_the_imported_one(cast: Cast) -> None:
    foreign = "sk_live_0123456789"
    lines = [
        f"{SECRET},read,{'0' * 64},",
        f"{foreign},read,{tokens.digest(foreign)},",
        f"x,read,{tokens.digest(foreign).upper()},{foreign}",
    ]
    for line in lines:
        with pytest.raises(Invalid) as refused:
            imports.read(f"name,permission,digest,mask\n{line}")
        assert "key" in (refused.value.errors or {})["line 2"][0]


def test_the_command_reports_what_the_account_forbids(cast: Cast) -> None:
    services.change_account(actor=policy.system(cast.account.ref), max_key_lifetime_days=30)
    options = ["create_api_key", "--account", "acme", "--name", "x", "--permission", "read"]
    for more in ([], ["--expires", "31"]):
        with pytest.raises(CommandError, match=r"^--expires: Keys of this account expire on .* at the latest\.$"):
            call_command(*options, *more, stdout=io.StringIO())
    call_command(*options, "--expires", "30", stdout=io.StringIO())
    assert APIKey.objects.count() == 1


def test_an_expiry_that_some_time_zone_can_not_represent_is_refused(
    cast: Cast, browser: Browser, administrator: Program
) -> None:
    told = ["Enter a time within the next 100 years."]
    browser.cookies[cookies.name(times.COOKIE)] = "America/New_York"
    typed = {"name": "x", "permission": "read", "expiry": "at", "expires_at": "9999-12-31T23:59"}
    page = browser.as_(cast.owner).post(reverse("apikeys:new_key", args=["acme"]), typed)
    assert page.context["form"].errors == {"expires_at": told}
    sent = {"name": "x", "permission": "read", "expires_at": "9999-12-31T23:59:59Z"}
    assert administrator.send("post", "/v2/api-keys", sent).json()["Errors"] == {"expires_at": told}


def test_the_message_about_the_longest_lifetime_is_the_same_for_a_date_and_for_never(
    cast: Cast, browser: Browser
) -> None:
    services.change_account(actor=policy.system(cast.account.ref), max_key_lifetime_days=30)
    late = (timezone.now() + timedelta(days=31)).strftime("%Y-%m-%dT%H:%M")
    for field, typed in (("expires_at", {"expiry": "at", "expires_at": late}), ("expiry", {"expiry": ""})):
        page = browser.as_(cast.owner).post(
            reverse("apikeys:new_key", args=["acme"]), {"name": "x", "permission": "read", **typed}
        )
        assert "at the latest" in page.context["form"].errors[field][0]


def test_an_access_is_stored_in_its_one_form_alone() -> None:
    validators.stored_access('[{"service":"api"}]')
    with pytest.raises(ValidationError, match="not a stored access"):
        validators.stored_access('[{"service": "api"}]')
