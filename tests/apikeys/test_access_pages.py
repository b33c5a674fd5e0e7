"""A key's access: selected in the form, shown on the pages of key and service, and filtered in the list."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import policy
from accounts.models import AuditEvent
from apikeys import scopes, services
from apikeys.forms import access as form_of_access
from apikeys.models import APIKey, Service
from tests import factories
from tests.admin_pages import admin_url
from tests.conftest import Browser, Cast, Program
from tests.factories import PASSWORD
from tests.html_forms import filled

from .pages import HTMX, form, operator, page, read, secret_in, settings, words

API = '[{"service":"api"}]'


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account)


@pytest.fixture
def shared(cast: Cast) -> Service:
    return factories.make_service(cast.elsewhere, "Weather API", shared=True)


def stored(*entries: dict[str, Any]) -> str:
    return json.dumps(entries, separators=(",", ":"))


def chosen(*ids: str, **paths: str) -> dict[str, Any]:
    """The form data in which these services are selected, some with paths."""
    return {"access": "chosen", "service": list(ids), **{f"paths-{id}": text for id, text in paths.items()}}


# The form ----------------------------------------------------------------------------------------


def test_a_key_has_access_to_everything_unless_services_are_selected(
    cast: Cast, owner: Browser, service: Service
) -> None:
    for sent in ({}, {"access": "everything"}, {"access": "everything", "service": [service.id]}):
        owner.post(page(cast, "new_key"), form(**sent))
    assert [key.access for key in APIKey.objects.all()] == [None] * 3


def test_a_key_has_access_to_the_selected_services(
    cast: Cast, owner: Browser, service: Service, shared: Service
) -> None:
    other = factories.make_service(cast.account, "Search API")
    sent = chosen(shared.id, service.id, "api", **{service.id: "/reports/*\r\n\r\n /a b \r\n/a b", other.id: "/x"})
    owner.post(page(cast, "new_key"), form(**sent))

    assert APIKey.objects.get().access == stored(
        {"service": shared.id}, {"service": service.id, "paths": ["/reports/*", "/a b"]}, {"service": "api"}
    )


def test_a_key_with_nothing_selected_has_access_only_to_v2_itself(cast: Cast, owner: Browser) -> None:
    secret = secret_in(owner.post(page(cast, "new_key"), form(**chosen())))
    assert APIKey.objects.get().access == "[]"
    assert [Program(secret).get(path).status_code for path in ("/v2", "/v2/projects")] == [200, 403]


@pytest.mark.usefixtures("shared")
def test_the_form_lists_services_by_name_and_none_of_other_accounts(cast: Cast, owner: Browser) -> None:
    for name in ("Search API", "Exports API"):
        factories.make_service(cast.account, name)
    factories.make_service(cast.elsewhere, "Secret API")
    html = owner.get(page(cast, "new_key")).content.decode()
    labels = re.findall(r"<label[^>]*>([^<]+)</label>", html)

    assert [label for label in labels if "API" in label and "Paths" not in label] == [
        *("API Key Name", "Exports API", "Search API", "Weather API (shared)", "This API (/v2)")
    ]
    assert "Everything in Acme" in labels
    assert "Selected services" in labels


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_invalid_path_is_shown_at_its_service_which_gets_the_focus(
    headers: dict[str, str], cast: Cast, owner: Browser, service: Service
) -> None:
    other = factories.make_service(cast.account, "Search API")
    sent = form(**chosen(service.id, other.id, **{service.id: "/ok", other.id: "/a\nreports"}))
    response = owner.post(page(cast, "new_key"), sent, headers=headers)
    html = response.content.decode()
    areas = {
        name: re.findall(rf'<textarea[^>]*name="paths-{name}"[^>]*>[^<]*', html)[0] for name in (service.id, other.id)
    }

    assert response.status_code == 422
    assert "“reports” is not a path. A path begins with a slash." in words(html)
    assert f'id="id_paths-{other.id}_error"' in html
    assert "aria-invalid" not in areas[service.id]
    for part in ('aria-invalid="true"', f"id_paths-{other.id}_error", " autofocus", "/a\nreports"):
        assert part in areas[other.id]
    assert html.count(" autofocus") == 1
    assert html.count("checked") >= 3
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"service": ["svc_1"]}, "Unknown service: svc_1."),
        ({"service": ["nonsense"]}, "“nonsense” is not a service."),
        ({"access": "[{"}, "Write a list such as"),
        ({"access": "[[]]"}, "Write each entry as"),
        ({"access": '[{"service": "svc_1", "paths": 5}]'}, "Write a list of paths"),
        ({"access": '{"a": 1}'}, "Write a list such as"),
        ({"access": "[" * 9000}, "Write a list such as"),
        ({"service": ["api"], "paths-api": "/a"}, "api takes no paths: leave them out."),
    ],
)
def test_values_that_no_form_sends_are_refused_at_the_field(
    sent: dict[str, Any], sentence: str, cast: Cast, owner: Browser
) -> None:
    response = owner.post(page(cast, "new_key"), form(**{"access": "chosen", **sent}))

    assert response.status_code == 422
    assert sentence in words(response.content.decode())
    assert response.content.decode().count(" autofocus") == 1
    assert not APIKey.objects.exists()


def test_errors_of_the_whole_field_come_before_those_of_a_services_paths(
    cast: Cast, owner: Browser, service: Service
) -> None:
    sent = {"service": ["svc_1", service.id], "paths-svc_1": "reports", f"paths-{service.id}": "reports"}
    html = owner.post(page(cast, "new_key"), form(access="chosen", **sent)).content.decode()

    assert html.count(" autofocus") == 1
    assert re.search(r'id="id_access_all"[^>]* autofocus', html)
    assert f'id="id_paths-{service.id}_error"' in html


def test_a_list_of_all_services_does_not_say_that_there_are_more(
    cast: Cast, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_of_access, "MAX_SERVICES", 2)
    for number in range(2):
        factories.make_service(cast.account, f"Service {number}")
    assert "services are listed" not in read(owner, page(cast, "new_key"))
    factories.make_service(cast.account)
    assert "Only the first 2 services are listed" in read(owner, page(cast, "new_key"))


def test_a_long_list_names_the_first_services_and_those_that_the_key_has(
    cast: Cast, owner: Browser, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(form_of_access, "MAX_SERVICES", 3)
    made = [factories.make_service(cast.account, f"Service {number}") for number in range(5)]
    key = factories.make_key(cast.account, access=stored({"service": made[4].id})).api_key
    owner.get(page(cast, "new_key"))
    # The session, the person, the membership with its account, the services, and the memberships of the switcher.
    with django_assert_num_queries(5):
        new = read(owner, page(cast, "new_key"))
    # As above, the key, and the services that it lists besides.
    with django_assert_num_queries(7):
        edit = read(owner, page(cast, "edit_key", key.id))
    APIKey.objects.update(access=stored({"service": made[0].id}, {"service": "api"}))
    with django_assert_num_queries(6):
        owner.get(page(cast, "edit_key", key.id))

    assert "Service 2" in new
    assert "Service 3" not in new
    assert "Only the first 3 services are listed" in new
    assert "Service 4" in edit
    assert "Service 3" not in edit


def test_a_link_selects_a_service(cast: Cast, owner: Browser, service: Service) -> None:
    html = owner.get(page(cast, "new_key"), {"access": "chosen", "service": service.id}).content.decode()
    assert re.search(rf'value="{service.id}"[^>]* checked', html)
    assert re.search(r'value="chosen"[^>]* checked', html)


# Editing -----------------------------------------------------------------------------------------


@pytest.fixture
def key(cast: Cast, service: Service, shared: Service) -> APIKey:
    access = stored({"service": "api"}, {"service": service.id, "paths": ["/b/*", "/a"]}, {"service": shared.id})
    return factories.make_key(cast.account, access=access).api_key


def test_an_untouched_form_changes_nothing(cast: Cast, owner: Browser, key: APIKey) -> None:
    """Even if the form lists services in another order, and one of them was deleted."""
    services.delete_service(actor=operator(cast), service=Service.objects.get(name="Reports API"))
    owner.post(page(cast, "edit_key", key.id), filled(owner.get(page(cast, "edit_key", key.id)), "permission"))

    assert APIKey.objects.get() == key
    assert APIKey.objects.get().access == key.access
    assert not AuditEvent.objects.filter(event__in=["api_key.changed", "api_key.widened"]).exists()


def test_a_form_without_an_access_keeps_it(cast: Cast, owner: Browser, key: APIKey) -> None:
    owner.post(page(cast, "edit_key", key.id), settings(name="Nightly", permission="read_write"))
    assert (APIKey.objects.get().name, APIKey.objects.get().access) == ("Nightly", key.access)


def test_a_deleted_service_stays_listed_and_can_be_removed(
    cast: Cast, owner: Browser, key: APIKey, service: Service, shared: Service
) -> None:
    services.delete_service(actor=operator(cast), service=service)
    edit = page(cast, "edit_key", key.id)
    assert f"Deleted service {service.id}" in read(owner, edit)
    kept = filled(owner.get(edit), "permission")
    kept["service"].remove("api")
    owner.post(edit, kept)
    assert APIKey.objects.get().access == stored(
        {"service": shared.id}, {"service": service.id, "paths": ["/b/*", "/a"]}
    )
    removed = filled(owner.get(edit), "permission")
    removed["service"].remove(service.id)
    owner.post(edit, removed)
    assert APIKey.objects.get().access == stored({"service": shared.id})
    assert "Deleted service" not in read(owner, edit)


def test_less_access_asks_for_no_password_and_more_does(
    cast: Cast, signed_in: Browser, key: APIKey, service: Service
) -> None:
    edit = page(cast, "edit_key", key.id)
    less = signed_in.post(edit, settings(permission="read_write", **chosen("api")))
    assert less.headers["Location"] == page(cast, "key", key.id)
    sent = settings(permission="read_write", **chosen("api", service.id, **{service.id: "/a\r\n/b"}))
    asked = signed_in.post(edit, sent)
    question = signed_in.get(asked.headers["Location"]).content.decode()
    back = re.findall(r'name="next" value="([^"]+)"', question)[0].replace("&amp;", "&")
    again = signed_in.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": back}, follow=True)
    assert APIKey.objects.get().access == API
    signed_in.post(edit, filled(again, "permission"))

    assert scopes.load(APIKey.objects.get().access) == (
        scopes.Entry(service.id, ("/a", "/b")),
        scopes.Entry("api"),
    )
    assert AuditEvent.objects.filter(event="api_key.widened").count() == 1


def test_a_new_keys_access_comes_back_after_the_password(cast: Cast, signed_in: Browser, service: Service) -> None:
    asked = signed_in.post(page(cast, "new_key"), form(expiry="", **chosen(service.id, **{service.id: "/a"})))
    question = signed_in.get(asked.headers["Location"]).content.decode()
    back = re.findall(r'name="next" value="([^"]+)"', question)[0].replace("&amp;", "&")
    again = signed_in.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": back}, follow=True)
    signed_in.post(page(cast, "new_key"), filled(again, "permission"))

    assert APIKey.objects.get().access == stored({"service": service.id, "paths": ["/a"]})


# The key's page ----------------------------------------------------------------------------------


def test_a_keys_page_shows_what_it_can_access(cast: Cast, owner: Browser, key: APIKey, service: Service) -> None:
    text = read(owner, page(cast, "key", key.id))
    assert "Access This API (/v2) All paths Reports API /b/*/a Weather API All paths" in text
    services.delete_service(actor=operator(cast), service=service)
    assert f"Deleted service {service.id} No access" in read(owner, page(cast, "key", key.id))


def test_a_keys_page_shows_access_to_everything_and_to_nothing(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    assert "Access Everything in Acme:" in read(owner, page(cast, "key", api_key.id))
    APIKey.objects.update(access="[]")
    assert "Access No services, and no access to this API (/v2)." in read(owner, page(cast, "key", api_key.id))


def test_a_keys_page_loads_all_services_in_one_query(
    cast: Cast, owner: Browser, key: APIKey, api_key: APIKey, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    owner.get(page(cast, "key", key.id))
    many = [{"service": factories.make_service(cast.account).id} for _ in range(20)]
    with django_assert_max_num_queries(20) as without:
        owner.get(page(cast, "key", api_key.id))
    APIKey.objects.filter(pk=key.pk).update(access=stored(*many))
    with django_assert_max_num_queries(20) as with_services:
        owner.get(page(cast, "key", key.id))
    assert len(with_services) == len(without) + 1


# The service's page and the list -----------------------------------------------------------------


@pytest.fixture
def opening(cast: Cast, service: Service) -> list[str]:
    """Create keys with and without access to the service. Returns the names of those with access, newest first."""
    factories.make_key(cast.account, "Everything")
    factories.make_key(cast.account, "Whole", access=stored({"service": "api"}, {"service": service.id}))
    factories.make_key(cast.account, "Some", access=stored({"service": service.id, "paths": ["/a", "/b/*"]}))
    factories.make_key(cast.account, "API", access=API)
    factories.make_key(cast.account, "Nothing", access="[]")
    other = factories.make_service(cast.account).id
    factories.make_key(cast.account, "Else", access=stored({"service": other, "paths": [f'/"service":"{service.id}"']}))
    services.disable_api_key(actor=operator(cast), api_key=factories.make_key(cast.account, "Disabled").api_key)
    factories.make_key(cast.elsewhere, "Elsewhere")
    return ["Some", "Whole", "Everything"]


def test_a_services_page_shows_which_keys_can_access_it(
    cast: Cast, owner: Browser, service: Service, opening: list[str]
) -> None:
    APIKey.objects.filter(name="Everything").update(last_used_at=timezone.now() - timedelta(hours=3))
    text = read(owner, page(cast, "service", service.id))
    masks = {key.name: key.mask for key in APIKey.objects.all()}
    assert (
        "Keys with access "
        + " ".join(
            [
                "3",
                f"Some {masks['Some']} 2 paths Never used",
                f"Whole {masks['Whole']} All paths Never used",
                f"Everything {masks['Everything']} All services 3 hours ago",
            ]
        )
        in text
    )
    for name in ("Nothing", "Else", "Disabled", "Elsewhere"):
        assert name not in text


def test_each_account_sees_its_own_keys_of_a_shared_service(cast: Cast, owner: Browser, shared: Service) -> None:
    factories.make_key(cast.account, "Ours")
    factories.make_key(cast.elsewhere, "Theirs")
    provider = Browser().as_(cast.stranger)
    theirs = reverse("apikeys:service", args=[cast.elsewhere.slug, shared.id])
    assert ("Ours" in read(owner, page(cast, "service", shared.id)), "Theirs" in read(provider, theirs)) == (True, True)
    assert "Theirs" not in read(owner, page(cast, "service", shared.id))
    assert "Ours" not in read(provider, theirs)


def test_a_user_sees_a_service_but_no_keys(cast: Cast, browser: Browser, service: Service, opening: list[str]) -> None:
    text = read(browser.as_(cast.user), page(cast, "service", service.id))
    assert "Reports API" in text
    assert "Keys with access" not in text


def test_a_services_page_shows_ten_keys_and_links_to_all(cast: Cast, owner: Browser, service: Service) -> None:
    for number in range(11):
        factories.make_key(cast.account, f"Key {number:02}")
    html = owner.get(page(cast, "service", service.id)).content.decode()
    [link] = re.findall(r'href="([^"]+)">Show all keys with access', html)
    assert "Key 01" in html
    assert "Key 00" not in html
    assert "Key 00" in read(owner, link.replace("&amp;", "&"))


def test_the_list_shows_the_keys_with_access_to_a_service(
    cast: Cast, owner: Browser, service: Service, opening: list[str]
) -> None:
    found = owner.get(page(cast), {"service": service.id, "state": "active"})
    assert [api_key.name for api_key, _ in found.context["rows"]] == opening
    text = words(found.content.decode())
    assert "Keys with access to Reports API. Show all keys" in text
    assert f'name="service" value="{service.id}" form="key-search"' in found.content.decode()
    searched = owner.get(page(cast), {"service": service.id, "q": "Some"}, headers=HTMX)
    assert [api_key.name for api_key, _ in searched.context["rows"]] == ["Some"]


def test_the_list_finds_the_keys_of_a_deleted_service_and_ignores_an_invalid_id(
    cast: Cast, owner: Browser, service: Service, opening: list[str]
) -> None:
    services.delete_service(actor=operator(cast), service=service)
    text = read(owner, page(cast) + f"?service={service.id}")
    assert f"Keys with access to {service.id}." in text
    assert "Some" in text
    for nonsense in ("x" * 100, "\0", "a\nb"):
        assert (
            len(owner.get(page(cast), {"service": nonsense}).context["rows"])
            == APIKey.objects.for_account(cast.account).count()
        )


# Admin and the audit log -------------------------------------------------------------------------


def change(desk: Browser, key: APIKey, text: str) -> Any:
    url = admin_url(key, "change")
    return desk.post(url, filled(desk.get(url), "permission", access=text))


def test_in_admin_an_access_is_changed_as_json_and_empty_is_everything(
    desk: Browser, key: APIKey, service: Service
) -> None:
    for text, wanted in (
        (' [ {"service": "api"} ]', API),
        ("[]", "[]"),
        (f'[{{"paths": ["/a"], "service": "{service.id}"}}]', stored({"service": service.id, "paths": ["/a"]})),
        (" ", None),
    ):
        assert change(desk, key, text).status_code == 302
        assert APIKey.objects.get().access == wanted
    change(desk, key, "[]")
    assert change(desk, key, "null").status_code == 302
    assert APIKey.objects.get().access is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("api", "This is not valid JSON."),
        ('{"service": "api"}', "Write a list such as"),
        ('[{"service": "svc_1"}]', "Unknown service: svc_1."),
    ],
)
def test_in_admin_an_invalid_access_is_shown_at_its_field(desk: Browser, key: APIKey, text: str, sentence: str) -> None:
    response = change(desk, key, text)
    assert sentence in response.context["adminform"].errors["access"][0]
    assert APIKey.objects.get().access == key.access


def test_the_audit_log_shows_an_access_in_words(cast: Cast, owner: Browser, key: APIKey) -> None:
    services.change_api_key(actor=policy.system(cast.account.ref), api_key=key, access=API)
    services.change_api_key(actor=policy.system(cast.account.ref), api_key=key, access=None)
    text = words(owner.get(reverse("accounts:audit_log", args=["acme"])).content.decode())
    assert "api → everything" in text


# A key from a service's page ----------------------------------------------------------------------


def new_key_link(owner: Browser, address: str) -> str:
    html = owner.get(address).content.decode()
    [link] = re.findall(r'<a class="btn[^>]*href="([^"]+)"[^>]*>(?:<svg.*?</svg>)?New API Key', html)
    return unescape(str(link))


def test_a_key_created_from_a_services_page_shows_the_calls_of_that_service(
    cast: Cast, owner: Browser, service: Service
) -> None:
    at = page(cast, "service", service.id)
    link = new_key_link(owner, f"{at}?host=reports.acme.test")
    sent = filled(owner.get(link), "id", name="Fresh", permission="read")
    response = owner.post(page(cast, "new_key"), sent)
    html, secret = response.content.decode(), secret_in(response)

    assert scopes.load(APIKey.objects.get().access) == (scopes.Entry(service.id),)
    assert "401 without a key curl -i https://reports.acme.test/" in words(html)
    assert f'curl -i https://reports.acme.test/ \\ -H "X-API-KEY: {secret}"' in words(html)
    assert f'action="{at}"' in html
    assert 'name="host" value="reports.acme.test"' in html
    assert f'href="{at}"' in owner.get(link).content.decode()


@pytest.mark.parametrize(
    ("changed", "call"),
    [
        ({"host": ""}, "https://api.example.com/"),
        ({"host": "no host"}, "https://api.example.com/"),
        ({"permission": "write", "host": "a.test"}, "-X POST https://a.test/"),
        ({"paths": "/x y/*\n/b", "host": "a.test"}, "https://a.test/x%20y"),
    ],
)
def test_the_example_calls_match_the_keys_permission(
    changed: dict[str, str], call: str, cast: Cast, owner: Browser, service: Service
) -> None:
    sent = form(**{"permission": "read", "for_service": service.id, **chosen(service.id), **changed})
    sent[f"paths-{service.id}"] = sent.pop("paths", "")
    html = owner.post(page(cast, "new_key"), sent).content.decode()
    assert f"curl -i {call} " in words(html)
    assert ("Replace the marked host name" in words(html)) == ("example" in call)


def test_a_key_without_access_to_the_service_shows_the_calls_of_the_api(
    cast: Cast, owner: Browser, service: Service
) -> None:
    elsewhere = factories.make_service(cast.elsewhere, "Secret API")
    for sent in (
        {"for_service": service.id, **chosen("api")},
        {"for_service": elsewhere.id},
        {"for_service": "svc_nothing"},
        {},
    ):
        html = owner.post(page(cast, "new_key"), form(**sent)).content.decode()
        assert "First call" in html
        assert "Secret API" not in html
        assert f'action="{page(cast)}"' in html


def test_a_user_sees_no_button_on_a_services_page(cast: Cast, browser: Browser, service: Service) -> None:
    html = browser.as_(cast.user).get(page(cast, "service", service.id)).content.decode()
    for button in ("Edit", "Delete", "New API Key", "create one for it", "enter the upstream", "Add the address"):
        assert button not in words(html), button
    assert "Headers for your service" in html
