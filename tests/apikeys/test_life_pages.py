"""A key's own page, and the pages that change, rotate, disable, end and import keys."""

import hashlib
import re
import time
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from accounts import ids, policy
from accounts.models import Account, AuditEvent
from apikeys import services, tokens
from apikeys.forms import EditKeyForm, RotateForm
from apikeys.models import APIKey, KeyUsage
from apikeys.services import Overlap
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.factories import PASSWORD

HTMX = {"HX-Request": "true"}


def page(cast: Cast, name: str, *more: str) -> str:
    return reverse(f"apikeys:{name}", args=[cast.account.slug, *more])


def words(html: str) -> str:
    """A page's text, on one line."""
    inline = re.sub(r"</?(?:a|b|code|span|time)\b[^>]*>", "", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", inline)))


def read(browser: Browser, url: str) -> str:
    return words(browser.get(url).content.decode())


def settings(**fields: str) -> dict[str, str]:
    """What the edit form sends when nothing was touched. None leaves a field out."""
    sent = {
        "name": "Deploys",
        "permission": "read",
        "description": "",
        "expiry": "keep",
        "allowed_networks": "",
        "rate_limit": "",
        "accepts_query": "on",
        "accepts_body": "on",
    }
    return {name: value for name, value in {**sent, **fields}.items() if value is not None}


def operator(cast: Cast) -> policy.Actor:
    return policy.system(cast.account.ref)


def use(api_key: APIKey, days_ago: int = 0, **counts: int) -> None:
    counts = {"requests": sum(counts.values()), **counts}
    KeyUsage.objects.create(api_key=api_key, day=timezone.now().date() - timedelta(days=days_ago), **counts)


@pytest.fixture
def owner(cast: Cast, browser: Browser) -> Browser:
    return browser.as_(cast.owner)


@pytest.fixture
def api_key(cast: Cast) -> APIKey:
    return factories.make_key(cast.account, "Deploys", policy.KeyPermission.READ).api_key


@pytest.fixture
def signed_in(cast: Cast, browser: Browser) -> Browser:
    """An Owner who signed in by the form, a good while ago."""
    cache.clear()
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] = time.time() - 31 * 60
    session.save()
    return browser


# A key's page -----------------------------------------------------------------------------------


def test_a_keys_page_tells_its_settings_its_use_and_its_history(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(
        cast.account,
        "Nightly",
        administrator=True,
        description="Ask Priya.",
        allowed_networks=["10.0.0.0/8"],
        rate_limit="100/hour",
        accepts_body=False,
    ).api_key
    APIKey.objects.filter(pk=key.pk).update(
        last_used_at=timezone.now(), last_used_from="10.1.2.3", last_used_agent="curl/8.5"
    )
    use(key, requests=9, succeeded=7, throttled=2, in_header=9)
    text = read(owner, page(cast, "key", key.id))

    for told in (
        *("Nightly", key.mask, "Ask Priya.", "Read & Write", "Administrator access Yes", "Expires Never"),
        *("10.0.0.0/8", "100/hour", "Header, query string", "10.1.2.3", "curl/8.5", "9 in 30 days"),
        *("Over the limit 2", "System created API key Nightly"),
    ):
        assert told in text
    assert "Header, query string, body" not in text


def test_a_keys_page_never_shows_more_than_the_mask(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    html = owner.get(page(cast, "key", api_key.id)).content.decode()

    assert not re.search(tokens.SCANNER_PATTERN, html)
    assert api_key.digest not in html


def test_the_list_leads_to_the_page(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    html = owner.get(page(cast, "keys")).content.decode()

    assert f'<a class="name" href="{page(cast, "key", api_key.id)}">Deploys</a>' in html


def test_the_chart_has_a_title_for_every_day_and_a_table_behind_it(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    use(api_key, succeeded=1200, client_errors=34)
    html = owner.get(page(cast, "key", api_key.id)).content.decode()
    plot = re.findall(r'<svg width="100%".*?</svg>\s*</div>', html, re.DOTALL)[0]

    assert plot.count("<title>") == 30
    assert "1,234 requests, 34 failed</title>" in plot
    assert "style=" not in html
    assert "<td>1,234</td><td>1,200</td><td>34</td><td>0</td><td>0</td>" in html


def test_a_secret_that_travels_in_addresses_is_pointed_out(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    before = read(owner, page(cast, "key", api_key.id))
    use(api_key, succeeded=3, in_query=3, requests=3)

    assert "travels in addresses" not in before
    assert "travels in addresses" in read(owner, page(cast, "key", api_key.id))


def test_a_key_that_expires_within_a_week_is_pointed_out(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=3, hours=1)).api_key

    assert "Expires in 3 days" in read(owner, page(cast, "key", key.id))


def test_a_key_seen_over_plain_http_is_pointed_out_with_what_to_do(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.expose(api_key=api_key, address="203.0.113.9")
    text = read(owner, page(cast, "key", api_key.id))

    assert "Sent over plain HTTP" in text
    assert "203.0.113.9" in text
    assert "What to do:" in text


@pytest.mark.parametrize(("days", "told"), [(89, False), (91, True)])
def test_a_key_that_nobody_used_for_90_days_is_pointed_out(
    days: int, told: bool, cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    APIKey.objects.filter(pk=api_key.pk).update(
        created_at=timezone.now() - timedelta(days=400), last_used_at=timezone.now() - timedelta(days=days)
    )

    assert ("Unused for 90 days" in read(owner, page(cast, "key", api_key.id))) == told


def test_a_revoked_keys_page_tells_when_by_whom_and_the_last_request(
    cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    used = timezone.now() - timedelta(days=2)
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=used, last_used_from="203.0.113.7")
    owner.post(page(cast, "revoke_key", api_key.id))
    text = read(owner, page(cast, "key", api_key.id))

    assert re.search(r"Revoked (now|\d+ seconds? ago) by owner@example.com", text)
    assert f"The last request that was accepted: {used.day} {used:%B %Y, %H:%M:%S} UTC from 203.0.113.7" in text
    for action in ("Edit", "Rotate", "Disable", "Enable"):
        assert f" {action} " not in text


def test_a_rotated_key_and_its_successor_name_each_other(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    successor = services.rotate(actor=operator(cast), api_key=api_key, overlap=Overlap.DAY).api_key
    old = owner.get(page(cast, "key", api_key.id)).content.decode()
    new = owner.get(page(cast, "key", successor.id)).content.decode()

    assert "Deprecated: rotated" in words(old)
    assert page(cast, "key", successor.id) in old
    assert "Successor of Deploys" in words(new)
    assert page(cast, "key", api_key.id) in new


@pytest.mark.parametrize(
    ("overlap", "rotated", "used", "told"),
    [
        (Overlap.WEEK, 0, None, "Too early to tell: nothing has used this key since it was rotated."),
        (Overlap.WEEK, 0, 1, "Too early to tell"),
        (Overlap.WEEK, 30, 31, "Safe to retire: nothing has used this key since it was rotated."),
        (Overlap.WEEK, 30, 29, "Safe to retire: the last request with this key was 1 day ago."),
        (Overlap.WEEK, 30, 23, "Not safe to retire yet: a program still uses this key, curl. Give it the successor"),
        (Overlap.DAY, 7, 8, "Safe to retire"),
        (Overlap.DAY, 7, 5, "Not safe to retire yet"),
        (Overlap.HOUR, 0.3, 5, "Safe to retire"),
        (Overlap.HOUR, 0.2, 5, "Too early to tell"),
    ],
)
def test_a_rotated_key_is_safe_to_retire_once_nothing_uses_it(
    overlap: Overlap, rotated: float, used: float | None, told: str, cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    """Hours ago. What counts is use since the rotation, and a quarter of the overlap has to go by without one."""
    services.rotate(actor=operator(cast), api_key=api_key, overlap=overlap)
    now = timezone.now()
    APIKey.objects.filter(pk=api_key.pk).update(
        rotated_at=now - timedelta(hours=rotated),
        expires_at=now - timedelta(hours=rotated) + overlap.length,
        last_used_at=used and now - timedelta(hours=used),
        last_used_from="203.0.113.7",
        last_used_agent="curl",
    )

    assert told in read(owner, page(cast, "key", api_key.id)).replace("\xa0", " ")


def test_a_rotated_key_whose_successor_is_gone_says_so(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    successor = services.rotate(actor=operator(cast), api_key=api_key, overlap=Overlap.WEEK).api_key
    services.revoke(actor=operator(cast), api_key=successor)
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=timezone.now())
    text = read(owner, page(cast, "key", api_key.id))

    assert "which is revoked" in text
    assert "Not safe to retire: a program still uses this key, and its successor is revoked. Make a new key" in text


def test_a_keys_page_tells_every_address_it_is_used_from(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.rotate(actor=operator(cast), api_key=api_key, overlap=Overlap.WEEK)
    now = timezone.now()
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=now, last_used_from="203.0.113.0")
    for number, hours in enumerate((0, 0, 48)):
        api_key.origins.create(
            origin=f"203.0.113.{number}",
            requests=1000,
            last_used_at=now - timedelta(hours=hours, microseconds=number),
            last_used_agent="curl",
        )
    told = read(owner, page(cast, "key", api_key.id))

    assert "Used since from 2 addresses" in told
    assert re.findall(r"203\.0\.113\.\d curl 1,000 requests", told) == [
        f"203.0.113.{number} curl 1,000 requests" for number in range(3)
    ]


def test_a_keys_page_costs_the_same_however_much_it_was_used(
    cast: Cast, owner: Browser, api_key: APIKey, django_assert_num_queries: Any
) -> None:
    owner.get(page(cast, "key", api_key.id))
    for days_ago in range(40):
        use(api_key, days_ago, succeeded=days_ago)
        services.change(actor=operator(cast), api_key=api_key, description=str(days_ago))

    # Session, person, membership; the key, its use, its events, its origins; the switcher.
    with django_assert_num_queries(8):
        owner.get(page(cast, "key", api_key.id))


# Editing ----------------------------------------------------------------------------------------


def test_the_edit_form_holds_what_is_set(cast: Cast, owner: Browser) -> None:
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


def test_sending_the_form_untouched_changes_nothing(cast: Cast, owner: Browser) -> None:
    soon = timezone.now() + timedelta(days=3)
    key = factories.make_key(
        cast.account, "Deploys", policy.KeyPermission.READ, description="Two\nlines", expires_at=soon
    ).api_key
    owner.post(page(cast, "edit_key", key.id), settings(description="Two\r\nlines"))

    assert APIKey.objects.get() == key
    assert APIKey.objects.get().expires_at == soon
    assert not AuditEvent.objects.filter(event__in=["api_key.changed", "api_key.widened"]).exists()


def test_settings_are_changed_and_hold_on_the_next_request(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys", policy.KeyPermission.READ_WRITE)
    response = owner.post(
        page(cast, "edit_key", issued.api_key.id),
        settings(name="Nightly", allowed_networks="10.0.0.0/8", rate_limit="5/day", accepts_body=None, expiry="30"),
        follow=True,
    )
    issued.api_key.refresh_from_db()

    assert "Nightly is saved." in words(response.content.decode())
    assert (issued.api_key.name, issued.api_key.permission, issued.api_key.rate_limit) == ("Nightly", "read", "5/day")
    assert (issued.api_key.accepts_query, issued.api_key.accepts_body) == (True, False)
    assert issued.api_key.expires_at is not None
    assert Program(issued.secret).get("/v2").status_code == 403
    assert Program(issued.secret).get("/v2", REMOTE_ADDR="10.1.2.3").status_code == 200


def test_an_expiry_can_be_taken_away(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=3)).api_key
    owner.post(page(cast, "edit_key", key.id), settings(permission="read_write", expiry="never"))

    assert APIKey.objects.get().expires_at is None


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", " ", "This field is required."),
        ("permission", "", "Choose what the key may do."),
        ("allowed_networks", "home", "is not a network"),
        ("rate_limit", "fast", "Write a rate as a number and a unit"),
        ("expires_at", "2001-01-01T00:00", "This is in the past."),
        ("expires_at", "9999-12-31T23:59-14:00", "This is more than a century ahead."),
    ],
)
def test_settings_that_are_refused_are_told_at_their_field(
    field: str, value: str, sentence: str, cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    sent = settings(expiry="at", **{"expires_at": "2099-01-01T00:00", field: value})
    response = owner.post(page(cast, "edit_key", api_key.id), sent)

    assert response.status_code == 422
    assert sentence in words(response.content.decode())
    assert f'id="id_{field}_error"' in response.content.decode()
    assert APIKey.objects.get().name == "Deploys"


def test_a_rotated_key_gets_no_more_power_and_the_form_says_so(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.rotate(actor=operator(cast), api_key=api_key, overlap=Overlap.DAY)
    response = owner.post(page(cast, "edit_key", api_key.id), settings(permission="read_write"))

    assert response.status_code == 422
    assert "give its successor more power instead" in words(response.content.decode())


def test_a_revoked_key_is_not_edited(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.revoke(actor=operator(cast), api_key=api_key)
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
def test_more_power_asks_for_the_password_and_brings_back_what_was_typed(
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


# The account's longest life ----------------------------------------------------------------------


@pytest.fixture
def strict(cast: Cast) -> Account:
    """An account whose keys live 45 days at most."""
    Account.objects.filter(pk=cast.account.pk).update(max_key_lifetime_days=45)
    return cast.account


def test_the_longest_life_is_prefilled_and_nothing_longer_offered(cast: Cast, owner: Browser, strict: Account) -> None:
    form = owner.get(page(cast, "new_key")).context["form"]

    assert form["expiry"].value() == "45"
    assert [value for value, _ in form.fields["expiry"].choices] == ["30", "45", "at"]
    assert form.has_options


@pytest.mark.parametrize(
    "sent", [{"expiry": ""}, {"expiry": "365"}, {"expiry": "at", "expires_at": "2099-01-01T00:00"}]
)
def test_a_new_key_does_not_outlive_it(sent: dict[str, str], cast: Cast, owner: Browser, strict: Account) -> None:
    response = owner.post(page(cast, "new_key"), {"name": "Deploys", "permission": "read", **sent})

    assert response.status_code == 422
    assert not APIKey.objects.exists()


def test_a_new_key_may_live_just_as_long(cast: Cast, owner: Browser, strict: Account) -> None:
    owner.post(page(cast, "new_key"), {"name": "Deploys", "permission": "read", "expiry": "45"})

    assert APIKey.objects.get().expires_at is not None


def test_a_changed_key_does_not_outlive_it_but_keeps_what_it_has(
    cast: Cast, owner: Browser, api_key: APIKey, strict: Account
) -> None:
    refused = owner.post(page(cast, "edit_key", api_key.id), settings(expiry="never"))
    owner.post(page(cast, "edit_key", api_key.id), settings(name="Kept"))

    assert refused.status_code == 422
    assert (APIKey.objects.get().name, APIKey.objects.get().expires_at) == ("Kept", None)


# Rotating ---------------------------------------------------------------------------------------


def rotation(**fields: str) -> dict[str, str]:
    return {"id": ids.new_key_id(), "overlap": "24h", **fields}


def secret_in(response: Any) -> str:
    found = re.search(tokens.SCANNER_PATTERN, response.content.decode())
    assert found
    return found.group()


def test_rotating_says_what_stops_working_and_when(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    text = read(owner, page(cast, "rotate_key", api_key.id))
    tomorrow = timezone.now() + timedelta(days=1)

    assert "every program that uses it gets 401 until it has the new key" in text
    assert f"get 401 from {tomorrow.day} {tomorrow:%B %Y}" in text


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


def test_no_overlap_is_promised_beyond_the_keys_own_end(api_key: APIKey) -> None:
    api_key.expires_at = timezone.now() + timedelta(hours=2)
    ends = RotateForm().ends(api_key)

    assert ends["1h"] is not None
    assert ends["1h"] < api_key.expires_at == ends["24h"] == ends["7d"]


def test_never_is_offered_only_where_keys_may_live_for_ever(cast: Cast, api_key: APIKey) -> None:
    api_key.expires_at = timezone.now() + timedelta(days=2)
    for longest, offered in ((None, True), (30, False)):
        cast.account.max_key_lifetime_days = longest
        choices = EditKeyForm(account=cast.account, api_key=api_key).fields["expiry"].choices  # type: ignore[attr-defined]

        assert ("never" in dict(choices)) == offered


def test_without_an_overlap_the_old_key_is_refused_at_once(cast: Cast, owner: Browser) -> None:
    old = factories.make_key(cast.account)
    response = owner.post(page(cast, "rotate_key", old.api_key.id), rotation(overlap="none"))

    assert "is refused from now on" in words(response.content.decode())
    assert Program(old.secret).get("/v2").status_code == 401
    assert Program(secret_in(response)).get("/v2").status_code == 200


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_rotating_twice_makes_one_successor_and_says_so(
    headers: dict[str, str], cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    sent = rotation()
    owner.post(page(cast, "rotate_key", api_key.id), sent, headers=headers)
    again = owner.post(page(cast, "rotate_key", api_key.id), sent, headers=headers)

    assert APIKey.objects.count() == 2
    assert "This key was made already" in again.content.decode()
    assert not re.search(tokens.SCANNER_PATTERN, again.content.decode())


@pytest.mark.parametrize("overlap", ["", "99d"])
def test_an_overlap_that_is_none_is_refused(overlap: str, cast: Cast, owner: Browser, api_key: APIKey) -> None:
    response = owner.post(page(cast, "rotate_key", api_key.id), rotation(overlap=overlap))

    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.content.decode()
    assert APIKey.objects.count() == 1


@pytest.mark.parametrize("fields", [{"disabled_at": timezone.now()}, {"revoked_at": timezone.now()}])
def test_a_key_that_is_not_active_offers_no_rotation(fields: dict[str, Any], cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account, **fields).api_key

    assert "only an active key is rotated" in read(owner, page(cast, "rotate_key", key.id))
    assert owner.post(page(cast, "rotate_key", key.id), rotation()).status_code == 400
    assert APIKey.objects.count() == 1


# Disabling, enabling, ending several -------------------------------------------------------------


def test_a_disabled_key_is_refused_until_it_is_enabled(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys")
    asked = read(owner, page(cast, "disable_key", issued.api_key.id))
    disabled = owner.post(page(cast, "disable_key", issued.api_key.id), follow=True)
    refused = Program(issued.secret).get("/v2").status_code
    enabled = owner.post(page(cast, "enable_key", issued.api_key.id), follow=True)

    assert "Disable Deploys?" in asked
    assert "Deploys is disabled" in words(disabled.content.decode())
    assert refused == 401
    assert "Deploys works again." in words(enabled.content.decode())
    assert Program(issued.secret).get("/v2").status_code == 200


def test_looking_disables_and_enables_nothing(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    owner.get(page(cast, "disable_key", api_key.id))
    owner.get(page(cast, "enable_key", api_key.id))

    assert not AuditEvent.objects.filter(event__in=["api_key.disabled", "api_key.enabled"]).exists()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_ticked_keys_are_named_with_their_last_use_before_they_end(
    headers: dict[str, str], cast: Cast, owner: Browser
) -> None:
    keys = [factories.make_key(cast.account, name).api_key for name in ("alpha", "beta", "gamma")]
    ticked = {"id": [key.id for key in keys[:2]]}
    text = words(owner.get(page(cast, "revoke_keys"), ticked, headers=headers).content.decode())

    assert "Revoke 2 keys?" in text
    assert re.search(rf"alpha {re.escape(keys[0].mask)} Never used beta", text)
    assert "gamma" not in text
    assert not APIKey.objects.exclude(revoked_at=None).exists()


def test_ticked_keys_end_together(cast: Cast, owner: Browser) -> None:
    issued = [factories.make_key(cast.account, name) for name in ("alpha", "beta", "gamma")]
    response = owner.post(page(cast, "revoke_keys"), {"id": [one.api_key.id for one in issued[:2]]}, follow=True)

    assert "2 keys are revoked." in words(response.content.decode())
    assert [Program(one.secret).get("/v2").status_code for one in issued] == [401, 401, 200]
    assert AuditEvent.objects.filter(event="api_key.revoked").count() == 2


def test_another_accounts_keys_and_revoked_ones_are_left_out(cast: Cast, owner: Browser) -> None:
    theirs = factories.make_key(cast.elsewhere).api_key
    gone = factories.make_key(cast.account, revoked_at=timezone.now() - timedelta(days=1)).api_key
    owner.post(page(cast, "revoke_keys"), {"id": [theirs.id, gone.id]})

    assert "No key is ticked" in read(owner, f"{page(cast, 'revoke_keys')}?id={theirs.id}&id={gone.id}")
    assert APIKey.objects.get(pk=theirs.pk).revoked_at is None
    assert not AuditEvent.objects.filter(event="api_key.revoked").exists()


def test_what_happened_to_a_key_named_like_another_is_no_history_of_that_one(
    cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    namesake = factories.make_key(cast.account, api_key.id).api_key
    services.revoke(actor=operator(cast), api_key=namesake)

    assert "api_key.revoked" not in [
        event.event for event in owner.get(page(cast, "key", api_key.id)).context["events"]
    ]


def test_what_can_be_no_id_names_no_key(cast: Cast, owner: Browser) -> None:
    """PostgreSQL raises an error for it."""
    assert owner.get(page(cast, "revoke_keys"), {"id": "a\0b"}).status_code == 200
    assert owner.post(page(cast, "revoke_keys"), {"id": "a\0b"}).status_code == 302


def test_after_the_password_the_same_keys_are_ticked(cast: Cast, signed_in: Browser, api_key: APIKey) -> None:
    asked = signed_in.get(page(cast, "revoke_keys"), {"id": api_key.id})

    assert asked.headers["Location"].endswith(f"revoke%2F%3Fid%3D{api_key.id}")


def test_every_weighty_page_asks_for_the_password_again(cast: Cast, signed_in: Browser, api_key: APIKey) -> None:
    for url in (page(cast, "rotate_key", api_key.id), page(cast, "revoke_keys"), page(cast, "import_keys")):
        for method in ("get", "post"):
            response = getattr(signed_in, method)(url)

            assert response.headers["Location"].startswith(reverse("account_reauthenticate"))


def test_however_much_was_typed_it_comes_back_after_the_password_once_and_in_no_address(
    cast: Cast, signed_in: Browser
) -> None:
    lines = "name,permission,digest\n" + f"Nächtlich,read,{'0' * 64}\n" * 500
    asked = signed_in.post(page(cast, "import_keys"), {"text": lines})
    back = page(cast, "import_keys")
    again = signed_in.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": back}, follow=True)

    assert len(asked.headers["Location"]) < 200
    assert again.context["form"]["text"].value() == lines
    assert signed_in.get(back).context["form"]["text"].value() is None


# Importing --------------------------------------------------------------------------------------

SECRET = "legacy-key-0123456789abcdef"
LINES = f"name,permission,digest,mask,expiry\nNightly,read,{hashlib.sha256(SECRET.encode()).hexdigest()},old_…cdef,\n"


@pytest.mark.parametrize("sent", [{"text": LINES}, {"file": SimpleUploadedFile("keys.csv", LINES.encode())}])
def test_an_imported_key_opens_the_api_as_it_did_before(sent: dict[str, Any], cast: Cast, owner: Browser) -> None:
    if "file" in sent:
        sent["file"].seek(0)
    response = owner.post(page(cast, "import_keys"), sent, follow=True)

    assert "1 key is imported." in words(response.content.decode())
    assert Program(SECRET).get("/v2").json()["api_key"]["name"] == "Nightly"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "Choose a file or paste its lines, one of both."),
        ({"text": LINES, "file": LINES.encode()}, "Choose a file or paste its lines, one of both."),
        ({"text": "a,b\n1,2\n"}, "The first line has to name the columns"),
        ({"text": LINES + "Other,admin,xyz,,\n"}, "Line 3: The permission is one of read, write, read_write."),
        ({"file": b"\xff\xfe"}, "The file is not UTF-8 text."),
    ],
)
def test_a_file_that_is_refused_is_told_by_line(
    sent: dict[str, Any], sentence: str, cast: Cast, owner: Browser
) -> None:
    if "file" in sent:
        sent = {**sent, "file": SimpleUploadedFile("keys.csv", sent["file"])}
    response = owner.post(page(cast, "import_keys"), sent)

    assert response.status_code == 422
    assert sentence in words(response.content.decode())
    assert not APIKey.objects.exists()


def test_a_digest_that_is_here_already_is_told_by_line(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "import_keys"), {"text": LINES})
    response = owner.post(page(cast, "import_keys"), {"text": LINES})

    assert response.status_code == 422
    assert "Line 2: This key is here already." in words(response.content.decode())


def test_only_so_many_wrong_lines_are_told(cast: Cast, owner: Browser) -> None:
    text = words(owner.post(page(cast, "import_keys"), {"text": LINES + "x,y,z,,\n" * 100}).content.decode())

    assert text.count("The digest is a SHA-256") == 20
    assert "And 80 lines more." in text


def test_importing_is_the_owners(cast: Cast, owner: Browser) -> None:
    admins = Browser().as_(cast.admin)

    assert "Import" in read(owner, page(cast, "keys"))
    assert "Import" not in read(admins, page(cast, "keys"))
    assert "This item is for the Owner only." in read(admins, page(cast, "import_keys"))
