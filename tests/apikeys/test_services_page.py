"""The pages of services: list, new, one service, edit, delete."""

import html
import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import policy
from accounts.models import AuditEvent
from apikeys.models import Service
from apikeys.services import change_service
from apikeys.usage import problems
from tests import factories
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.html_forms import filled

from .pages import HTMX, page, read, use, words

# What gateways get wrong ------------------------------------------------------------------------


def test_a_gateways_problem_is_shown_for_a_day_and_until_the_gateway_is_listed(
    cast: Cast, owner: Browser, service: Service
) -> None:
    problem = "A request came from 10.0.0.9, which is not among this service's gateways: add it."

    def tells() -> bool:
        return problem in html.unescape(read(owner, page(cast, "service", service.id)))

    assert not tells()
    Service.objects.update(problem=problem, problem_at=timezone.now())
    assert tells()
    Service.objects.update(problem_at=timezone.now() - timedelta(days=2))
    assert not tells()
    Service.objects.update(problem_at=timezone.now())
    operator = policy.system(cast.account.ref)
    change_service(actor=operator, service=service, name="Reports", gateways=["10.0.0.8"])
    assert tells()
    change_service(actor=operator, service=service, gateways=["10.0.0.0/28"])
    assert not tells()


def test_a_gateways_missing_header_is_shown_whatever_setting_of_the_service_changes(
    cast: Cast, owner: Browser, service: Service
) -> None:
    problem = "The authorization request has no X-Forwarded-For."
    Service.objects.update(problem=problem, problem_at=timezone.now())
    change_service(actor=policy.system(cast.account.ref), service=service, name="Reports", gateways=["10.0.0.9"])
    assert problem in read(owner, page(cast, "service", service.id))


def test_the_page_says_where_gateways_ask(cast: Cast, owner: Browser, service: Service, settings: Settings) -> None:
    assert f"https://testserver/v2/verify/{service.id}/auth-request" in read(owner, page(cast, "service", service.id))
    settings.GUARD_URL = "http://10.0.0.5:8000"
    assert f"http://10.0.0.5:8000/v2/verify/{service.id}/ext-authz" in read(owner, page(cast, "service", service.id))


# The list ---------------------------------------------------------------------------------------


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account, gateways=["10.0.0.5"], upstream="http://10.0.0.8:3000")


@pytest.fixture
def shared(cast: Cast) -> Service:
    """Another account's service that every account sees."""
    return factories.make_service(cast.elsewhere, "Weather API", shared=True, gateways=["10.9.0.1"])


def test_the_page_of_an_account_without_services_explains_services(cast: Cast, owner: Browser) -> None:
    text = read(owner, page(cast, "services"))

    assert "Protect your own API with keys of Acme" in text
    assert text.count("New service") == 1


@pytest.mark.usefixtures("shared")
def test_the_list_shows_each_service_and_only_the_name_of_another_accounts_service(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.5", "10.0.0.6", "10.0.0.7"], upstream="http://a:1")
    Service.objects.filter(pk=service.pk).update(last_question_at=timezone.now() - timedelta(minutes=2))
    text = read(owner, page(cast, "services"))

    assert f"Reports API {service.id}" in text
    assert "10.0.0.5/3210.0.0.6/32and 1 more No requests None 2 minutes ago 0 keys" in text
    assert "Weather API Shared" in text
    assert "Set by the operator No requests None Unknown 0 keys" in text
    assert "10.9.0.1" not in text


def test_a_service_that_no_gateway_has_asked_about_is_waiting(cast: Cast, owner: Browser, service: Service) -> None:
    assert f"Reports API Waiting {service.id}" in read(owner, page(cast, "services"))
    assert "Reports API Waiting" in read(owner, page(cast, "service", service.id))
    Service.objects.update(last_question_at=timezone.now())
    assert "Waiting" not in read(owner, page(cast, "services"))
    assert "Reports API Connected" in read(owner, page(cast, "service", service.id))


def test_the_list_has_pages_by_position(cast: Cast, owner: Browser) -> None:
    for number in range(27):
        factories.make_service(cast.account, f"Service {number:02}")
    first = owner.get(page(cast, "services"))
    second = owner.get(page(cast, "services"), {"page": first.context["page"].next})

    assert [service.name for service in first.context["page"]][::24] == ["Service 26", "Service 02"]
    assert [service.name for service in second.context["page"]] == ["Service 01", "Service 00"]
    assert owner.get(page(cast, "services"), {"page": "nonsense"}).context["page"].rows == first.context["page"].rows


def test_the_list_shows_requests_refusals_and_keys(
    cast: Cast, owner: Browser, browser: Browser, service: Service, shared: Service
) -> None:
    listed = [{"service": service.id, "paths": ["/a"]}, {"service": shared.id}]
    limited = factories.make_key(cast.account, access=json.dumps(listed, separators=(",", ":"))).api_key
    everything = factories.make_key(cast.account).api_key
    factories.make_key(cast.account, revoked_at=timezone.now())
    theirs = factories.make_key(cast.elsewhere).api_key
    use(limited, service=service.id, succeeded=900, client_errors=95, throttled=5)
    use(everything, days_ago=3, service=service.id, succeeded=500)
    use(everything, service=shared.id, succeeded=1)
    use(theirs, service=shared.id, succeeded=1000)
    text = read(owner, page(cast, "services"))

    assert "1,500 requests, 100 failed 6.7%100 of 1,500 Never" in text
    assert "2 keys1 limited to paths" in text
    assert "1 request 0.0%0 of 1 Unknown 2 keys" in text
    provider = read(Browser().as_(cast.stranger), reverse("apikeys:services", args=[cast.elsewhere.slug]))
    assert "1,001 requests 0.0%0 of 1,001 Never" in provider
    assert "Keys with access" not in read(browser.as_(cast.user), page(cast, "services"))


def test_the_list_shows_what_needs_attention(cast: Cast, owner: Browser, service: Service) -> None:
    assert "NeverConnect gateway" in read(owner, page(cast, "services"))
    Service.objects.update(problem=problems.unlisted("10.0.0.9"), problem_at=timezone.now())
    assert "Neverfrom 10.0.0.9, not listed" in read(owner, page(cast, "services"))
    Service.objects.update(last_question_at=timezone.now() - timedelta(hours=1))
    for name in ("services", "service"):
        assert "Reports API Check connection" in read(
            owner, page(cast, name, *([service.id] if name == "service" else []))
        )
    Service.objects.update(last_question_at=timezone.now())
    assert "not listed" not in read(owner, page(cast, "services"))


def test_every_member_can_open_the_services_and_a_user_can_change_nothing(
    cast: Cast, browser: Browser, service: Service
) -> None:
    browser.as_(cast.user)
    overview = browser.get(reverse("overview", args=["acme"])).content.decode()
    listed, shown = read(browser, page(cast, "services")), read(browser, page(cast, "service", service.id))

    assert f'href="{page(cast, "services")}"' in overview
    assert "New service" not in listed
    assert "10.0.0.5/32" in shown
    assert not {"Edit", "Delete", "History"} & set(shown.split())


# A new one --------------------------------------------------------------------------------------


def test_a_service_is_created_with_the_entered_settings(cast: Cast, owner: Browser) -> None:
    sent = {
        "name": " Reports API ",
        "gateways": "10.0.0.5\r\n::ffff:10.0.0.6\r\n10.0.0.5",
        "upstream": "https://reports.internal:8443/v1",
        "reading_methods": "get, head PROPFIND",
        "reading_paths": "/graphql\r\n\r\n/search/*\r\n",
        "preflight": "on",
    }
    response = owner.post(page(cast, "new_service"), sent, follow=True)
    service = Service.objects.get()

    assert response.redirect_chain == [(page(cast, "service", service.id), 302)]
    assert "Service Reports API created" in words(response.content.decode())
    assert (service.name, service.gateways) == ("Reports API", ["10.0.0.5/32", "10.0.0.6/32"])
    assert (service.reading_methods, service.reading_paths) == (["GET", "HEAD", "PROPFIND"], ["/graphql", "/search/*"])
    assert (service.preflight, service.query_keys, service.shared) == (True, False, False)
    assert service.upstream == "https://reports.internal:8443/v1"
    assert (service.account, service.created_by) == (cast.account, "owner@example.com")
    event = AuditEvent.objects.get(event="service.created")
    assert (event.target_id, event.actor_label) == (service.id, "owner@example.com")
    assert event.changes["gateways"] == [None, ["10.0.0.5/32", "10.0.0.6/32"]]
    assert "query_keys" not in event.changes


def test_the_form_starts_with_the_methods_that_read(cast: Cast, owner: Browser) -> None:
    sent = filled(owner.get(page(cast, "new_service")), "name", name="Reports API")
    owner.post(page(cast, "new_service"), sent)

    assert Service.objects.get().reading_methods == ["GET", "HEAD", "OPTIONS"]


def test_from_the_dialog_the_whole_page_goes_to_the_new_service(cast: Cast, owner: Browser) -> None:
    opened = owner.get(page(cast, "new_service"), headers=HTMX)
    response = owner.post(page(cast, "new_service"), {"name": "Reports API"}, headers=HTMX)

    assert "<html" not in opened.content.decode()
    assert response.headers["HX-Redirect"] == page(cast, "service", Service.objects.get().id)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", " ", "This field is required."),
        ("gateways", "home", "“home” is not a network."),
        ("upstream", "10.0.0.8:3000", "Enter where the service listens, such as http://10.0.0.8:3000."),
        ("upstream", "http://user:word@10.0.0.8", "Enter where the service listens"),
        ("reading_methods", "G/T", "“G/T” is not a method."),
        ("reading_paths", "graphql", "is not a path"),
        ("reading_paths", "/a/../b", "is ambiguous"),
    ],
)
def test_an_error_is_shown_at_its_field(field: str, value: str, sentence: str, cast: Cast, owner: Browser) -> None:
    response = owner.post(page(cast, "new_service"), {"name": "Reports API", field: value})

    assert response.status_code == 422
    assert sentence in words(response.content.decode())
    assert f'id="id_{field}_error"' in response.content.decode()
    assert not Service.objects.exists()


def test_an_option_with_an_error_is_not_hidden_under_more_options(cast: Cast, owner: Browser) -> None:
    opened = owner.get(page(cast, "new_service")).content.decode()
    refused = owner.post(page(cast, "new_service"), {"name": "x", "reading_paths": "x"}).content.decode()

    assert '<details class="more">' in opened
    assert '<details class="more" open>' in refused


# One service ------------------------------------------------------------------------------------


def test_a_service_has_a_page_with_its_settings_and_its_history(cast: Cast, owner: Browser, service: Service) -> None:
    text = read(owner, page(cast, "service", service.id))

    assert f"Reports API Waiting {service.id}" in text
    assert "10.0.0.5/32" in text
    assert "Upstream http://10.0.0.8:3000" in text
    assert "Reading methods GET HEAD OPTIONS" in text
    assert "System created service Reports API" in text


def test_a_service_without_a_gateway_says_what_to_do(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account)

    assert "No gateway is listed yet" in read(owner, page(cast, "service", service.id))


def test_of_another_accounts_shared_service_only_its_name_is_shown(cast: Cast, owner: Browser, shared: Service) -> None:
    text = read(owner, page(cast, "service", shared.id))

    assert f"Weather API Shared {shared.id}" in text
    assert "Ask the operator for its URL." in text
    assert not [word for word in ("10.9.0.1", "Elsewhere", "Edit", "Delete", "Reading", "System") if word in text]


# Changing ---------------------------------------------------------------------------------------


def test_submitting_the_form_unchanged_changes_nothing(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.5", "10.0.0.6"], reading_paths=["/a", "/b/*"])
    url, before = page(cast, "edit_service", service.id), Service.objects.values().get()
    response = owner.post(url, filled(owner.get(url), "name"))

    assert response.headers["Location"] == page(cast, "service", service.id)
    assert Service.objects.values().get() == before
    assert [event.event for event in AuditEvent.objects.filter(event__startswith="service.")] == ["service.created"]


NARROWER = {
    "name": "Search API",
    "upstream": "http://10.0.0.9",
    "gateways": "10.0.0.5",
    "preflight": None,
    "query_keys": None,
}
WIDER = (
    ("gateways", "10.0.0.0/24\n10.1.0.1"),
    ("reading_methods", "GET, HEAD, OPTIONS, POST"),
    ("reading_methods", "GET"),  # keys that only have Write can then use HEAD and OPTIONS
    ("reading_paths", "/search/*\n/graphql"),
    ("reading_paths", ""),
    ("preflight", "on"),
    ("query_keys", "on"),
)


@pytest.mark.parametrize("field", NARROWER)
def test_a_change_that_allows_no_more_asks_for_no_password(field: str, cast: Cast, signed_in: Browser) -> None:
    service = factories.make_service(
        cast.account,
        gateways=["10.0.0.0/24"],
        reading_paths=["/search/*"],
        preflight=True,
        query_keys=True,
    )
    url = page(cast, "edit_service", service.id)
    response = signed_in.post(url, filled(signed_in.get(url), "name", **{field: NARROWER[field]}))

    assert response.headers["Location"] == page(cast, "service", service.id)
    event = AuditEvent.objects.get(event="service.changed")
    assert list(event.changes) == [field]


@pytest.mark.parametrize(("field", "value"), WIDER)
def test_a_change_that_allows_more_asks_for_the_password_and_is_recorded_as_such(
    field: str, value: str, cast: Cast, signed_in: Browser
) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.0/24"], reading_paths=["/search/*"])
    url = page(cast, "edit_service", service.id)
    response = signed_in.post(url, filled(signed_in.get(url), "name", **{field: value}))

    assert response.headers["Location"] == f"{reverse('account_reauthenticate')}?next={url.replace('/', '%2F')}"
    assert not AuditEvent.objects.filter(event__in=["service.changed", "service.widened"]).exists()

    signed_in.post(response.headers["Location"], {"password": PASSWORD})
    again = signed_in.get(url)
    assert signed_in.post(url, filled(again, "name")).headers["Location"] == page(cast, "service", service.id)
    assert list(AuditEvent.objects.get(event="service.widened").changes) == [field]


def test_the_first_gateway_is_more_than_none(cast: Cast, signed_in: Browser) -> None:
    service = factories.make_service(cast.account)
    url = page(cast, "edit_service", service.id)
    response = signed_in.post(url, filled(signed_in.get(url), "name", gateways="10.0.0.5"))

    assert response.headers["Location"].startswith(reverse("account_reauthenticate"))


def test_a_conflicting_change_is_shown_once(cast: Cast, owner: Browser, service: Service) -> None:
    url = page(cast, "edit_service", service.id)
    opened = owner.get(url)
    other = Browser().as_(cast.admin)
    other.post(url, filled(other.get(url), "name", name="Search API", preflight="on"))

    refused = owner.post(url, filled(opened, "name", name="Exports API"))
    assert refused.status_code == 422
    assert "admin@example.com changed this in the meantime. It is now: Search API." in words(refused.content.decode())

    owner.post(url, filled(refused, "name"))
    service.refresh_from_db()
    assert (service.name, service.preflight) == ("Exports API", True)


# Deleting ---------------------------------------------------------------------------------------


def test_a_service_that_was_deleted_while_its_form_was_checked_is_an_error_of_the_form(
    cast: Cast, owner: Browser, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apikeys.services.widens_service", lambda item, **_: item.delete() and False)
    response = owner.post(page(cast, "edit_service", service.id), {"name": "Search"})
    assert response.status_code == 422
    assert "This service no longer exists." in words(response.content.decode())


def test_a_service_is_deleted_once_it_is_confirmed(cast: Cast, owner: Browser, service: Service) -> None:
    url = page(cast, "delete_service", service.id)
    assert "lets no request through" in read(owner, url)
    assert Service.objects.exists()

    response = owner.post(url, follow=True)

    assert response.redirect_chain == [(page(cast, "services"), 302)]
    assert "Service Reports API deleted" in words(response.content.decode())
    assert not Service.objects.exists()
    assert AuditEvent.objects.get(event="service.deleted").target_label == "Reports API"


def test_deleting_asks_for_the_password(cast: Cast, signed_in: Browser, service: Service) -> None:
    response = signed_in.post(page(cast, "delete_service", service.id))

    assert response.headers["Location"].startswith(reverse("account_reauthenticate"))
    assert Service.objects.exists()


# Shared ones ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["edit_service", "delete_service"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_another_accounts_shared_service_can_not_be_changed(
    method: str, name: str, cast: Cast, owner: Browser, shared: Service
) -> None:
    response = getattr(owner, method)(page(cast, name, shared.id), {"name": "Mine"})

    assert response.status_code == 403
    assert "This service belongs to another account" in words(response.content.decode())
    assert Service.objects.get().name == "Weather API"
    assert not {"Edit", "Delete"} & set(read(owner, page(cast, "service", shared.id)).split())


def test_its_own_account_changes_and_deletes_a_shared_service(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account, shared=True, gateways=["10.0.0.5"])
    text = read(owner, page(cast, "service", service.id))
    assert "Shared with every account" in text
    assert {"Edit", "Delete"} <= set(text.split())

    edit, delete = page(cast, "edit_service", service.id), page(cast, "delete_service", service.id)
    sent = filled(owner.get(edit), "gateways", gateways="10.0.0.6")
    assert owner.post(edit, sent).headers["Location"] == page(cast, "service", service.id)
    service.refresh_from_db()
    assert (service.gateways, service.shared) == (["10.0.0.6/32"], True)
    assert "This affects every account on this server." in read(owner, delete)
    owner.post(delete)
    assert not Service.objects.exists()


def test_allowing_more_at_a_shared_service_asks_for_the_password(cast: Cast, signed_in: Browser) -> None:
    service = factories.make_service(cast.account, shared=True)
    edit = page(cast, "edit_service", service.id)
    sent = filled(signed_in.get(edit), "gateways", gateways="10.0.0.6")

    assert signed_in.post(edit, sent).headers["Location"].startswith(reverse("account_reauthenticate"))
    assert Service.objects.get().gateways == []


# Its requests -----------------------------------------------------------------------------------


def test_its_page_shows_requests_by_day_and_by_key(cast: Cast, owner: Browser, service: Service) -> None:
    nightly, idle, quiet = (factories.make_key(cast.account, name).api_key for name in ("Nightly", "Idle", "Quiet"))
    use(nightly, service=service.id, succeeded=999, throttled=1)
    use(nightly, days_ago=29, service=service.id, succeeded=200, server_errors=300)
    use(nightly, days_ago=30, service=service.id, succeeded=5000)
    use(quiet, service=service.id, client_errors=2)
    use(idle, succeeded=7)
    html = owner.get(page(cast, "service", service.id)).content.decode()
    text = words(html)

    assert "1,502 requests by day, 303 of them failed" in html
    assert "Succeeded 1,199 Client errors 2 Over the limit 1 Server errors 300" in text
    assert f"Nightly {nightly.mask} 1,500 20.1% Quiet {quiet.mask} 2 100.0%" in text
    assert f'href="{page(cast, "key", nightly.id)}"' in html
    assert "Idle" not in text.partition("Busiest keys")[2].partition("Settings")[0]


def test_a_service_without_requests_has_no_chart(cast: Cast, owner: Browser, service: Service) -> None:
    use(factories.make_key(cast.account).api_key, service="svc_other", succeeded=1)

    assert "Requests in 30 days" not in read(owner, page(cast, "service", service.id))


def test_a_user_sees_which_keys_are_used_without_links_to_them(cast: Cast, browser: Browser, service: Service) -> None:
    key = factories.make_key(cast.account, "Nightly").api_key
    use(key, service=service.id, succeeded=1)
    html = browser.as_(cast.user).get(page(cast, "service", service.id)).content.decode()

    assert "Nightly 1 0%" in words(html)
    assert key.id not in html
    assert key.mask not in html


def test_the_owner_of_a_shared_service_sees_accounts_and_no_keys(cast: Cast, owner: Browser) -> None:
    service = factories.make_service(cast.account, "Weather API", shared=True)
    theirs = factories.make_key(cast.elsewhere, "Their secret plan").api_key
    use(theirs, service=service.id, succeeded=3, client_errors=1)
    use(factories.make_key(cast.account).api_key, service=service.id, succeeded=5)
    text = read(owner, page(cast, "service", service.id))

    assert f"{cast.account.name} {cast.account.slug} 5 0% {cast.elsewhere.name} {cast.elsewhere.slug} 4 25.0%" in text
    assert "Succeeded 8 Client errors 1" in text
    assert "Their secret plan" not in text
    assert theirs.mask not in text


def test_other_accounts_see_their_own_requests_to_a_shared_service(cast: Cast, owner: Browser, shared: Service) -> None:
    use(factories.make_key(cast.elsewhere, "Their secret plan").api_key, service=shared.id, succeeded=3)
    key = factories.make_key(cast.account, "Ours").api_key
    use(key, service=shared.id, succeeded=2)
    text = read(owner, page(cast, "service", shared.id))

    assert f"Ours {key.mask} 2 0%" in text
    assert "Succeeded 2 " in text
    assert "Their secret plan" not in text
    assert cast.elsewhere.slug not in text


def test_only_the_busiest_keys_are_listed(
    cast: Cast, owner: Browser, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apikeys.views.services.MAX_USERS", 2)
    for number in range(3):
        use(factories.make_key(cast.account, f"Key {number}").api_key, service=service.id, succeeded=number + 1)
    text = read(owner, page(cast, "service", service.id)).partition("Busiest keys")[2].partition("Settings")[0]

    assert ("Key 2" in text, "Key 1" in text, "Key 0" in text) == (True, True, False)
    assert "Only the 2 busiest are listed." in text


def test_its_page_asks_the_same_queries_however_many_accounts_use_it(
    cast: Cast, owner: Browser, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    service = factories.make_service(cast.account, shared=True)
    for number in range(5):
        account = factories.make_account(f"Account {number}")
        use(factories.make_key(account).api_key, service=service.id, succeeded=1)
    owner.get(page(cast, "service", service.id))
    # Session, person, membership; the service, the keys with access to it, its use by day and by account, these
    # accounts, its events; the switcher.
    with django_assert_num_queries(10):
        owner.get(page(cast, "service", service.id))
