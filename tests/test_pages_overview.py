"""Home, Overview and error pages."""

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import policy
from accounts.middleware import SEEN
from accounts.models import Account, Membership, User
from accounts.policy import Role
from apikeys import gate, services
from apikeys.models import APIKey, Service
from apikeys.services import Overlap
from apikeys.usage import problems
from atatus_dash import maintenance
from tests import factories
from tests.conftest import Browser, Cast


def overview(cast: Cast) -> str:
    return reverse("overview", args=[cast.account.slug])


def ask_by_itself(cast: Cast, browser: Browser, step: str) -> Any:
    """A poll of the guide, as htmx sends it."""
    headers = {"HX-Request": "true", "HX-Trigger": "guide"}
    return browser.get(reverse("guide", args=[cast.account.slug]), {"step": step}, headers=headers)


def test_home_leads_to_the_account_that_was_open_last(cast: Cast, browser: Browser) -> None:
    Membership.objects.create(account=cast.elsewhere, user=cast.owner, role=Role.USER.value)
    browser.as_(cast.owner)
    first = browser.get("/").headers["Location"]
    browser.get(reverse("overview", args=[cast.elsewhere.slug]))

    assert first == overview(cast)
    assert browser.get("/").headers["Location"] == reverse("overview", args=[cast.elsewhere.slug])


def test_home_tells_a_user_that_they_have_no_account(db: None, browser: Browser) -> None:
    page = browser.as_(factories.make_user("new@example.com")).get("/").content.decode()

    assert "No account yet" in page
    assert "new@example.com" in page


def test_the_switcher_lists_only_the_users_accounts(cast: Cast, browser: Browser) -> None:
    third = factories.make_account("Third", cast.owner)
    page = browser.as_(cast.owner).get(overview(cast)).content.decode()

    assert reverse("overview", args=[third.slug]) in page
    assert reverse("overview", args=[cast.elsewhere.slug]) not in page


def test_the_overview_counts_the_accounts_items(cast: Cast, browser: Browser) -> None:
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


def test_the_first_run_guide_waits_for_a_key_whose_secret_a_member_has_seen(cast: Cast, browser: Browser) -> None:
    factories.make_key(cast.account)  # created by the system, such as those of the demonstration
    assert browser.as_(cast.owner).get(overview(cast)).context["guide"] == "key"
    _key_of(cast.admin, cast.account)
    assert browser.get(overview(cast)).context["guide"] == "call"


def _key_of(person: User, account: Account) -> APIKey:
    api_key = factories.make_key(account).api_key
    APIKey.objects.filter(pk=api_key.pk).update(created_by=person.email)
    return api_key


def test_the_first_run_guide_follows_what_happens(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    asked = f"{reverse('guide', args=[cast.account.slug])}?step=key"
    assert f'hx-get="{asked}"' in browser.get(overview(cast)).content.decode()

    assert ask_by_itself(cast, browser, "key").status_code == 204
    api_key = _key_of(cast.owner, cast.account)
    assert "Waiting for the first call" in ask_by_itself(cast, browser, "key").content.decode()
    assert ask_by_itself(cast, browser, "call").status_code == 204
    APIKey.objects.filter(pk=api_key.pk).update(last_used_at=timezone.now())
    assert ask_by_itself(cast, browser, "call").headers["HX-Refresh"] == "true"
    assert "The first call has arrived" in browser.get(overview(cast)).content.decode()


def test_events_are_for_those_who_may_see_them(cast: Cast, browser: Browser) -> None:
    admins = browser.as_(cast.admin).get(overview(cast)).content.decode()
    users = Browser().as_(cast.user).get(overview(cast)).content.decode()

    assert "Latest events" in admins
    assert "Latest events" not in users
    assert "Create API key" not in users


def use(api_key: APIKey, days_ago: int, **counts: Any) -> None:
    day = timezone.now().date() - timedelta(days=days_ago)
    factories.make_usage(api_key, day, **counts)


def test_the_overview_adds_up_the_requests_of_the_account(cast: Cast, browser: Browser) -> None:
    api_key = factories.make_key(cast.account).api_key
    use(api_key, 1, succeeded=1400, client_errors=50, throttled=50)
    use(api_key, 31, succeeded=1000)
    use(factories.make_key(cast.elsewhere).api_key, 1, succeeded=7777)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", browser.as_(cast.user).get(overview(cast)).content.decode()))

    assert "Requests, 30 days 1,500 +50% on the previous 30 days" in page
    assert "Failed 6.7% 50 client errors, 50 over a limit, 0 server errors" in page
    assert "7777" not in page.replace(",", "")


@pytest.mark.parametrize(("days", "bars"), [("", 30), ("7", 7), ("30", 30), ("365", 52), ("nonsense", 30)])
def test_the_span_is_in_the_url(days: str, bars: int, cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.owner).get(overview(cast), {"days": days})

    assert len(response.context["chart"].bars) == bars
    assert re.findall(r'<a href="\?days=(\d+)"[^>]* aria-current="true"', response.content.decode()) == [
        days if days.isdigit() else "30"
    ]


def test_keys_that_need_attention_are_listed_by_urgency(cast: Cast, browser: Browser) -> None:
    now = timezone.now()
    operator = policy.system(cast.account.ref)
    keys = {name: factories.make_key(cast.account, name).api_key for name in ("fine", "unused", "soon", "exposed")}
    keys |= {name: factories.make_key(cast.account, name).api_key for name in ("quiet", "busy")}
    APIKey.objects.filter(pk=keys["unused"].pk).update(created_at=now - timedelta(days=91))
    APIKey.objects.filter(pk=keys["soon"].pk).update(expires_at=now + timedelta(days=6))
    services.flag_exposed_key(api_key=keys["exposed"], address="203.0.113.9")
    for name in ("quiet", "busy"):
        services.rotate_api_key(actor=operator, api_key=keys[name], overlap=Overlap.DAY)
    APIKey.objects.filter(pk=keys["busy"].pk).update(last_used_at=timezone.now())
    APIKey.objects.filter(pk=keys["quiet"].pk).update(last_used_at=now)
    response = browser.as_(cast.admin).get(overview(cast))

    assert [key.name for key in response.context["attention"]] == ["exposed", "busy", "soon", "unused"]
    assert "was rotated but is still in use" in response.content.decode()


def test_a_rotated_key_that_is_safe_to_retire_needs_no_attention(cast: Cast, browser: Browser) -> None:
    api_key = factories.make_key(cast.account, "Rotated").api_key
    services.rotate_api_key(actor=policy.system(cast.account.ref), api_key=api_key, overlap=Overlap.HOUR)

    def attention(minutes: int) -> list[str]:
        now = timezone.now()
        APIKey.objects.filter(pk=api_key.pk).update(
            rotated_at=now - timedelta(minutes=30),
            expires_at=now + timedelta(minutes=30),
            last_used_at=now - timedelta(minutes=minutes),
        )
        return [key.name for key in browser.as_(cast.admin).get(overview(cast)).context["attention"]]

    assert attention(14) == ["Rotated"]
    assert attention(16) == []


def test_a_year_is_compared_with_the_whole_year_before(cast: Cast, browser: Browser) -> None:
    api_key = factories.make_key(cast.account).api_key
    for days_ago in (0, 363, 364, 727):
        use(api_key, days_ago, succeeded=100)
    call_command("prune", stdout=io.StringIO())
    response = browser.as_(cast.user).get(overview(cast), {"days": "365"})

    assert response.context["growth"] == 0
    assert "Same as the previous year" in response.content.decode()


def test_the_guide_is_not_shown_to_members_who_may_not_create_keys(cast: Cast, browser: Browser) -> None:
    answer = ask_by_itself(cast, browser.as_(cast.user), "call")

    assert answer.headers["HX-Refresh"] == "true"
    assert "The first call" not in browser.get(overview(cast)).content.decode()


def test_a_polling_page_does_not_count_as_activity(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    ask_by_itself(cast, browser, "key")
    assert SEEN not in browser.session
    browser.get(overview(cast))
    assert SEEN in browser.session


def test_the_busiest_services_of_a_week_are_linked(cast: Cast, browser: Browser) -> None:
    api_key = factories.make_key(cast.account).api_key
    theirs = factories.make_key(cast.elsewhere).api_key
    quiet, busy = (factories.make_service(cast.account, name) for name in ("Quiet API", "Busy API"))
    shared = factories.make_service(cast.elsewhere, "Weather API", shared=True)
    today = timezone.now().date()
    for key, service, days_ago, requests in (
        (api_key, quiet, 0, 5),
        (api_key, busy, 6, 50),
        (api_key, quiet, 7, 500),
        (api_key, shared, 0, 7),
        (theirs, shared, 0, 7000),
    ):
        factories.make_usage(key, today - timedelta(days=days_ago), service.id, requests=requests, succeeded=requests)
    response = browser.as_(cast.user).get(overview(cast))
    told = [(service.name, use.requests) for service, use in response.context["top_services"]]
    assert told == [("Busy API", 50), ("Weather API", 7), ("Quiet API", 5)]
    assert reverse("apikeys:service", args=["acme", busy.id]) in response.content.decode()


def test_a_service_whose_gateway_was_refused_needs_attention(cast: Cast, browser: Browser) -> None:
    service = factories.make_service(cast.account)
    elsewhere = factories.make_service(cast.elsewhere, "Weather API", shared=True)
    assert "Needs attention" not in browser.as_(cast.owner).get(overview(cast)).content.decode()
    Service.objects.update(problem=problems.unlisted("10.0.0.9"), problem_at=timezone.now())
    html = browser.get(overview(cast)).content.decode()
    assert "A request came from 10.0.0.9, which is not among this service" in html
    assert f"{reverse('apikeys:service', args=['acme', service.id])}#connection" in html
    assert f"{elsewhere.id}/#connection" not in html
    assert "Needs attention" not in browser.as_(cast.user).get(overview(cast)).content.decode()
    Service.objects.update(last_question_at=timezone.now() + timedelta(seconds=1))
    assert "Needs attention" not in browser.as_(cast.owner).get(overview(cast)).content.decode()


def test_keys_that_need_attention_are_for_those_who_may_see_keys(cast: Cast, browser: Browser) -> None:
    factories.make_key(cast.account, "soon", expires_at=timezone.now() + timedelta(days=1))

    assert "Needs attention" not in browser.as_(cast.user).get(overview(cast)).content.decode()


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
    assert "Page not found" in response.content.decode()
    assert "Go to the dashboard" in response.content.decode()


def test_a_crash_shows_our_error_page_without_details(
    cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("accounts.decorators.actor_for", crash)
    browser.raise_request_exception = False
    response = browser.as_(cast.owner).get(overview(cast))

    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()
    assert "swordfish" not in response.content.decode()


def test_a_form_without_its_token_says_to_reload(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.owner)
    response = client.post(reverse("accounts:profile"), {"name": "x"}, secure=True)

    assert response.status_code == 403
    assert "This page has expired" in response.content.decode()


def test_maintenance_looks_like_the_product(cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "current", lambda: gate.Maintenance("Back at noon.", 60))
    response = browser.get(overview(cast))

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "60"
    assert "Back at noon." in response.content.decode()
    assert browser.get(reverse("account_login")).status_code == 200
