"""The list of keys: search, filters, order, and no secrets."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import policy
from apikeys import services, tokens
from apikeys.models import APIKey, KeyUsage
from apikeys.services import Overlap
from tests import factories
from tests.conftest import Browser, Cast

from .pages import HTMX, page


def test_the_page_of_an_account_without_keys_has_one_button_and_an_example_call(cast: Cast, owner: Browser) -> None:
    html = owner.get(page(cast)).content.decode()

    assert html.count("New API Key</button>") == 1
    assert "curl https://testserver/v2" in html


def test_the_list_shows_only_the_mask_of_a_key(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys")
    html = owner.get(page(cast)).content.decode()

    assert issued.api_key.mask in html
    assert "Never used" in html
    assert not re.search(tokens.SCANNER_PATTERN, html)
    assert issued.api_key.digest not in html


def test_the_list_shows_when_and_from_where_a_key_was_used(cast: Cast, owner: Browser) -> None:
    api_key = factories.make_key(cast.account).api_key
    APIKey.objects.filter(pk=api_key.pk).update(
        last_used_at=timezone.now() - timedelta(days=1, hours=2), last_used_from="203.0.113.9"
    )
    html = owner.get(page(cast)).content.decode()

    assert re.search(r'<time datetime="[^"]+" title="[^"]+ UTC">1\sday ago</time>', html)
    assert "203.0.113.9" in html


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["expiring", "disabled", "expired", "revoked", "active"]),
        ("state=active", ["expiring", "active"]),
        ("state=expiring", ["expiring"]),
        ("state=disabled", ["disabled"]),
        ("state=ended", ["expired", "revoked"]),
        ("state=nonsense", ["expiring", "disabled", "expired", "revoked", "active"]),
        ("q=EXPIR", ["expiring", "expired"]),
        ("q=expir&state=ended", ["expired"]),
        ("q=nothing", []),
    ],
)
def test_search_and_filter_are_in_the_url(query: str, names: list[str], cast: Cast, owner: Browser) -> None:
    now = timezone.now()
    states: dict[str, dict[str, Any]] = {
        "active": {},
        "revoked": {"revoked_at": now},
        "expired": {"expires_at": now - timedelta(hours=1)},
        "disabled": {"disabled_at": now},
        "expiring": {"expires_at": now + timedelta(days=3)},
    }
    for name, fields in states.items():
        factories.make_key(cast.account, name, **fields)

    assert [key.name for key in owner.get(f"{page(cast)}?{query}").context["page"]] == names


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["b", "c", "a"]),
        ("sort=name", ["a", "b", "c"]),
        ("sort=-name", ["c", "b", "a"]),
        ("sort=created", ["a", "c", "b"]),
        ("sort=used", ["c", "a", "b"]),
        ("sort=-used", ["a", "c", "b"]),
        ("sort=expires", ["b", "a", "c"]),
        ("sort=-expires", ["a", "b", "c"]),
        ("sort=digest", ["b", "c", "a"]),
    ],
)
def test_the_order_is_in_the_url(query: str, names: list[str], cast: Cast, owner: Browser) -> None:
    now = timezone.now()
    for name, used, expires in (("a", 1, 9), ("c", 2, None), ("b", None, 5)):
        key = factories.make_key(cast.account, name, expires_at=expires and now + timedelta(days=expires)).api_key
        APIKey.objects.filter(pk=key.pk).update(last_used_at=used and now - timedelta(days=used))

    assert [key.name for key in owner.get(f"{page(cast)}?{query}").context["page"]] == names


def test_a_heading_reverses_the_order_and_names_it(cast: Cast, owner: Browser) -> None:
    factories.make_key(cast.account)
    html = owner.get(page(cast), {"sort": "name", "q": "d"}).content.decode()

    assert re.search(r'<th scope="col" aria-sort="ascending"><a id="sort-key" href="\?sort=-name&amp;q=d"', html)
    assert html.count("aria-sort") == 1


def test_the_list_shows_problems_of_keys(cast: Cast, owner: Browser) -> None:
    now = timezone.now()
    factories.make_key(cast.account, "soon", expires_at=now + timedelta(days=3, hours=1))
    rotated = factories.make_key(cast.account, "rotated").api_key
    services.rotate_api_key(actor=policy.system(cast.account.ref), api_key=rotated, overlap=Overlap.DAY)
    services.flag_exposed_key(api_key=factories.make_key(cast.account, "exposed").api_key, address="203.0.113.9")
    unused = factories.make_key(cast.account, "unused").api_key
    APIKey.objects.filter(pk=unused.pk).update(created_at=now - timedelta(days=91))
    html = re.sub(r"<[^>]+>", "", owner.get(page(cast)).content.decode())

    for badge in ("Expires in 3\N{NO-BREAK SPACE}days", "Rotated", "Exposed", "Unused"):
        assert html.count(badge) == 1


def test_a_row_shows_the_usage_of_30_days(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account).api_key
    for days_ago in (0, 29, 30):
        KeyUsage.objects.create(
            api_key=key, day=timezone.now().date() - timedelta(days=days_ago), requests=500, succeeded=499
        )
    html = owner.get(page(cast)).content.decode()

    assert "1,000 requests" in html
    assert '<path d="M2 22v-22M118 22v-22"/>' in html
    assert '<path class="failed"' in html
    assert "style=" not in html


def test_a_row_sums_the_services_of_a_day(cast: Cast, owner: Browser) -> None:
    key, today = factories.make_key(cast.account).api_key, timezone.now().date()
    factories.make_usage(key, today, succeeded=500)
    factories.make_usage(key, today, service="svc_1", succeeded=250, throttled=250)
    html = owner.get(page(cast)).content.decode()

    assert 'title="1,000 requests, 250 failed"' in html
    assert '<path d="M118 22v-22"/>' in html


def test_the_list_says_how_to_find_and_revoke_a_leaked_key(cast: Cast, owner: Browser) -> None:
    html = owner.get(page(cast)).content.decode()

    assert f'<pre class="snippet" id="pattern">{tokens.SCANNER_PATTERN}</pre>' in html
    assert "https://testserver/v2/leaked-keys" in html


def test_a_key_is_found_by_its_last_characters(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "this one")
    factories.make_key(cast.account, "another")

    found = owner.get(page(cast), {"q": issued.secret[-4:]}).context["page"]

    assert [key.name for key in found] == ["this one"]


def test_htmx_gets_only_the_lower_part_and_caches_distinguish_the_two(cast: Cast, owner: Browser) -> None:
    factories.make_key(cast.account)
    part = owner.get(page(cast), {"q": "dep"}, headers=HTMX)
    whole = owner.get(page(cast), {"q": "dep"})

    assert part.content.decode().lstrip().startswith('<div id="keys">')
    assert "<html" in whole.content.decode()
    assert "HX-Request" in part.headers["Vary"]
    assert "HX-Request" in whole.headers["Vary"]


def test_a_page_of_the_list_has_twenty_keys(cast: Cast, owner: Browser) -> None:
    for number in range(30):
        factories.make_key(cast.account, f"key {number}")

    response = owner.get(page(cast))

    assert len(response.context["page"]) == 20
    assert "page=2" in response.content.decode()


def test_another_accounts_keys_are_not_in_the_list(cast: Cast, owner: Browser) -> None:
    factories.make_key(cast.elsewhere, "theirs")

    assert "theirs" not in owner.get(page(cast)).content.decode()
