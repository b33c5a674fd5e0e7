"""Home, Overview, and the pages that tell what went wrong."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Membership
from accounts.policy import Role
from apikeys.models import APIKey
from atatus_dash import maintenance
from tests import factories
from tests.conftest import Browser, Cast


def overview(cast: Cast) -> str:
    return reverse("overview", args=[cast.account.slug])


def test_home_leads_to_the_account_that_was_open_last(cast: Cast, browser: Browser) -> None:
    Membership.objects.create(account=cast.elsewhere, user=cast.owner, role=Role.USER.value)
    browser.as_(cast.owner)
    first = browser.get("/").headers["Location"]
    browser.get(reverse("overview", args=[cast.elsewhere.slug]))

    assert first == overview(cast)
    assert browser.get("/").headers["Location"] == reverse("overview", args=[cast.elsewhere.slug])


def test_home_tells_who_has_no_account(db: None, browser: Browser) -> None:
    page = browser.as_(factories.make_user("new@example.com")).get("/").content.decode()

    assert "No account yet" in page
    assert "new@example.com" in page


def test_the_switcher_lists_ones_accounts_and_no_others(cast: Cast, browser: Browser) -> None:
    third = factories.make_account("Third", cast.owner)
    page = browser.as_(cast.owner).get(overview(cast)).content.decode()

    assert reverse("overview", args=[third.slug]) in page
    assert reverse("overview", args=[cast.elsewhere.slug]) not in page


def test_the_overview_counts_what_is_there(cast: Cast, browser: Browser) -> None:
    factories.make_key(cast.account)
    factories.make_key(cast.account, revoked_at=timezone.now())
    factories.make_deployment(factories.make_project(cast.account))
    factories.make_deployment(factories.make_project(cast.elsewhere), "theirs")

    response = browser.as_(cast.user).get(overview(cast))

    assert [response.context[name] for name in ("active_keys", "projects", "deployments")] == [1, 1, 1]
    assert "theirs" not in response.content.decode()


def test_the_first_run_guide_stays_until_a_key_was_used(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    empty = browser.get(overview(cast)).content.decode()
    api_key = factories.make_key(cast.account).api_key
    unused = browser.get(overview(cast)).content.decode()
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=timezone.now())
    used = browser.get(overview(cast)).content.decode()

    assert "Make the first call" in empty
    assert reverse("apikeys:new_key", args=[cast.account.slug]) in empty
    assert "Make the first call" in unused
    assert "Make the first call" not in used


def test_events_are_for_those_who_may_see_them(cast: Cast, browser: Browser) -> None:
    admins = browser.as_(cast.admin).get(overview(cast)).content.decode()
    users = Browser().as_(cast.user).get(overview(cast)).content.decode()

    assert "Latest events" in admins
    assert "Latest events" not in users
    assert "Make a key" not in users


def test_the_overview_costs_the_same_however_much_there_is(
    cast: Cast, browser: Browser, django_assert_num_queries: Any
) -> None:
    browser.as_(cast.owner).get(overview(cast))
    for number in range(12):
        factories.make_key(cast.account, f"key {number}")
        factories.make_deployment(factories.make_project(cast.account, f"p{number}"))

    # Session, person, membership; three counts; was a key used; deployments, events; the switcher.
    with django_assert_num_queries(10):
        browser.get(overview(cast))


def test_every_page_has_a_skip_link_landmarks_one_heading_and_a_status_region(cast: Cast, browser: Browser) -> None:
    page = browser.as_(cast.owner).get(overview(cast)).content.decode()

    for once in ('href="#main"', '<main id="main"', "<header ", "<h1>", 'role="status"', "<title>Overview · Acme"):
        assert page.count(once) == 1


def test_pages_allow_no_inline_code(cast: Cast, browser: Browser) -> None:
    policy = browser.as_(cast.owner).get(overview(cast)).headers["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_a_missing_page_says_what_to_do_next(db: None, browser: Browser) -> None:
    response = browser.get("/nothing/")

    assert response.status_code == 404
    assert "There is no such page" in response.content.decode()
    assert "To the dashboard" in response.content.decode()


def test_a_crash_shows_a_page_of_ours_and_no_detail(
    cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("accounts.access.actor_for", crash)
    browser.raise_request_exception = False
    response = browser.as_(cast.owner).get(overview(cast))

    assert response.status_code == 500
    assert "Something broke on our side" in response.content.decode()
    assert "swordfish" not in response.content.decode()


def test_a_form_without_its_token_says_to_reload(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.owner)
    response = client.post(reverse("accounts:profile"), {"name": "x"}, secure=True)

    assert response.status_code == 403
    assert "This page is too old" in response.content.decode()


def test_maintenance_looks_like_the_product(cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "current", lambda: maintenance.Status(True, "Back at noon.", 60))
    response = browser.get(overview(cast))

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "60"
    assert "Back at noon." in response.content.decode()
    assert browser.get(reverse("account_login")).status_code == 200
