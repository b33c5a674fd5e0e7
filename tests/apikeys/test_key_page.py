"""A key's page: its settings, its usage, and advice."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys import services, tokens
from apikeys.models import APIKey
from apikeys.services import Overlap
from tests import factories
from tests.conftest import Browser, Cast

from .pages import operator, page, read, use, words


def test_a_keys_page_shows_its_settings_usage_and_history(cast: Cast, owner: Browser) -> None:
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


def test_a_keys_usage_is_shown_in_total_and_by_service(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    service = factories.make_service(cast.account)
    use(api_key, requests=100, succeeded=90, client_errors=10, in_header=100)
    use(api_key, service=service.id, requests=200, succeeded=199, throttled=1, in_header=200)
    use(api_key, days_ago=29, service=service.id, requests=50, succeeded=50, in_header=50)
    use(api_key, days_ago=30, service=service.id, succeeded=5000)
    use(api_key, service="svc_gone", server_errors=3)
    html = owner.get(page(cast, "key", api_key.id)).content.decode()
    text = words(html)

    assert "Succeeded 339 Client errors 10 Over the limit 1 Server errors 3" in text
    assert "350 in 30 days" in text
    assert "Reports API 250 0.4% This API (/v2) 100 10.0% svc_gone deleted 3 100.0%" in text
    assert f'href="{page(cast, "service", service.id)}"' in html


def test_a_key_that_was_used_only_at_the_api_shows_no_services(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    use(api_key, succeeded=90)

    assert "By service" not in read(owner, page(cast, "key", api_key.id))


def test_the_name_of_a_service_that_is_no_longer_shared_is_hidden(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    use(api_key, service=factories.make_service(cast.elsewhere, "Weather API").id, succeeded=1)

    assert "Weather API" not in read(owner, page(cast, "key", api_key.id))


def test_a_keys_page_never_shows_more_than_the_mask(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    html = owner.get(page(cast, "key", api_key.id)).content.decode()

    assert not re.search(tokens.SCANNER_PATTERN, html)
    assert api_key.digest not in html


def test_the_list_links_to_the_page(cast: Cast, owner: Browser, api_key: APIKey) -> None:
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


def test_a_key_that_is_sent_in_urls_is_pointed_out(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    before = read(owner, page(cast, "key", api_key.id))
    use(api_key, succeeded=3, in_query=3, requests=3)

    assert "is sent in URLs" not in before
    assert "is sent in URLs" in read(owner, page(cast, "key", api_key.id))


def test_a_key_that_expires_within_a_week_is_pointed_out(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account, expires_at=timezone.now() + timedelta(days=3, hours=1)).api_key

    assert "Expires in 3 days" in read(owner, page(cast, "key", key.id))


def test_a_key_sent_over_plain_http_is_pointed_out_with_advice(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.flag_exposed_key(api_key=api_key, address="203.0.113.9")
    text = read(owner, page(cast, "key", api_key.id))

    assert "Sent over plain HTTP" in text
    assert "203.0.113.9" in text
    assert "What to do:" in text


@pytest.mark.parametrize(("days", "told"), [(89, False), (91, True)])
def test_a_key_that_was_unused_for_90_days_is_pointed_out(
    days: int, told: bool, cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    APIKey.objects.filter(pk=api_key.pk).update(
        created_at=timezone.now() - timedelta(days=400), last_used_at=timezone.now() - timedelta(days=days)
    )

    assert ("Not used for 90 days" in read(owner, page(cast, "key", api_key.id))) == told


def test_a_revoked_keys_page_shows_when_by_whom_and_the_last_request(
    cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    used = timezone.now() - timedelta(days=2)
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=used, last_used_from="203.0.113.7")
    owner.post(page(cast, "revoke_key", api_key.id))
    text = read(owner, page(cast, "key", api_key.id))

    assert re.search(r"Revoked (just now|\d+ seconds? ago) by owner@example.com", text)
    assert f"Last accepted request: {used.day} {used:%B %Y, %H:%M:%S} UTC from 203.0.113.7" in text
    for action in ("Edit", "Rotate", "Disable", "Enable"):
        assert f" {action} " not in text


def test_a_rotated_key_and_its_successor_link_to_each_other(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    successor = services.rotate_api_key(actor=operator(cast), api_key=api_key, overlap=Overlap.DAY).api_key
    old = owner.get(page(cast, "key", api_key.id)).content.decode()
    new = owner.get(page(cast, "key", successor.id)).content.decode()

    assert " Rotated " in words(old)
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
        (
            Overlap.WEEK,
            30,
            23,
            "Not safe to retire yet: a program still uses this key, curl. Switch it to the successor",
        ),
        (Overlap.DAY, 7, 8, "Safe to retire"),
        (Overlap.DAY, 7, 5, "Not safe to retire yet"),
        (Overlap.HOUR, 0.3, 5, "Safe to retire"),
        (Overlap.HOUR, 0.2, 5, "Too early to tell"),
    ],
)
def test_a_rotated_key_is_safe_to_retire_once_nothing_uses_it(
    overlap: Overlap, rotated: float, used: float | None, told: str, cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    """The arguments are hours before now. A quarter of the overlap must pass without a use after the rotation."""
    services.rotate_api_key(actor=operator(cast), api_key=api_key, overlap=overlap)
    now = timezone.now()
    APIKey.objects.filter(pk=api_key.pk).update(
        rotated_at=now - timedelta(hours=rotated),
        expires_at=now - timedelta(hours=rotated) + overlap.length,
        last_used_at=used and now - timedelta(hours=used),
        last_used_from="203.0.113.7",
        last_used_agent="curl",
    )

    assert told in read(owner, page(cast, "key", api_key.id)).replace("\xa0", " ")


def test_the_page_of_a_rotated_key_says_that_its_successor_was_deleted(
    cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    successor = services.rotate_api_key(actor=operator(cast), api_key=api_key, overlap=Overlap.WEEK).api_key
    services.revoke_api_key(actor=operator(cast), api_key=successor)
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=timezone.now())
    text = read(owner, page(cast, "key", api_key.id))

    assert "which is revoked" in text
    assert "Not safe to retire: a program still uses this key, and its successor is revoked. Create a new key" in text


def test_a_keys_page_shows_every_address_it_is_used_from(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    services.rotate_api_key(actor=operator(cast), api_key=api_key, overlap=Overlap.WEEK)
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

    assert "Used from since rotation 2 addresses" in told
    assert re.findall(r"203\.0\.113\.\d curl 1,000 requests", told) == [
        f"203.0.113.{number} curl 1,000 requests" for number in range(3)
    ]
