"""Django admin with URLs and forms that no browser sends: never a server error."""

import urllib.parse
from collections.abc import Sequence
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import quote
from django.test import RequestFactory
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.admin.base import OperatorAdmin
from tests import factories
from tests.conftest import Browser, Cast

MODELS = list(admin.site._registry)

VALUES = [
    *("\0", "a\0b", "99999", "99999-01-01", "0001-01-01T00:00:00+23:59", "9" * 30, "1e999", "'%\\"),
    *("\ud800", "x" * 3000, "", "a " * 1500),
]


@pytest.fixture
def desk(cast: Cast, browser: Browser) -> Browser:
    api_key = factories.make_key(cast.account).api_key
    factories.make_deployment(factories.make_project(cast.account))
    factories.make_invitation(cast.account)
    api_key.origins.create(origin="203.0.113.7", last_used_at=api_key.created_at)
    browser.as_(factories.make_operator())
    browser.raise_request_exception = False
    return browser


def url(model: Any, page: str, *arguments: str) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def _item(model: Any, page: str, key: str) -> str:
    """The URL of an item with that key, which need not exist."""
    return url(model, page, "KEY").replace("KEY", urllib.parse.quote(quote(key), errors="surrogatepass") or "_")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_table_has_the_shared_settings(model: Any) -> None:
    assert isinstance(admin.site._registry[model], OperatorAdmin)


def _that_fail(desk: Browser, address: str, names: Sequence[str], value: str) -> list[str]:
    """The parameters that cause a server error with this value.

    First all are sent together: a page that opens has read all of them, and a forbidden page none. Otherwise each is
    sent on its own.
    """
    sent = value.encode(errors="surrogatepass")
    together = desk.get(address, dict.fromkeys(names, sent)).status_code
    if together in (200, 403) or (together < 500 and len(names) == 1):
        return []
    failed = [name for name in names if desk.get(address, {name: sent}).status_code >= 500]
    return failed or ["together"] * (together >= 500)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_url_of_a_list_causes_a_server_error(desk: Browser, model: Any) -> None:
    its_admin = admin.site._registry[model]
    filters = its_admin.list_filter
    looked_up = [f"{name}{lookup}" for name in filters if isinstance(name, str) for lookup in ("__exact", "__isnull")]
    others = [
        str(name.parameter_name) for name in filters if isinstance(name, type) and issubclass(name, SimpleListFilter)
    ]
    together: list[list[str]] = [["p", "o", "e", "all", "_facets", "_popup"], [*looked_up, *others], ["_to_field"]]
    if its_admin.search_fields:
        together.append(["q"])  # by itself: a search for too many words finds nothing, so no filter would be applied
    failed = {
        (name, value)
        for names in together
        for value in VALUES
        for name in _that_fail(desk, url(model, "changelist"), names, value)
    }
    assert not failed


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_list_accepts_only_its_own_filters(desk: Browser, rf: RequestFactory, model: Any) -> None:
    its_admin, request = admin.site._registry[model], rf.get("/")
    lookups = {
        f"{field.name}{lookup}"
        for field in model._meta.concrete_fields
        for lookup in ("__year", "__regex", "__startswith", "__exact")
        if lookup != "__exact" or field.name not in its_admin.list_filter
    }
    assert not [lookup for lookup in lookups if its_admin.lookup_allowed(lookup, "99999", request)]
    for lookup in ("id__regex", "id__startswith"):
        assert desk.get(url(model, "changelist"), {lookup: "99999"}).status_code == 400


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_no_url_of_an_item_causes_a_server_error(desk: Browser, model: Any, page: str) -> None:
    failed = [value for value in VALUES if desk.get(_item(model, page, value)).status_code >= 500]
    assert not failed


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_url_of_a_new_item_causes_a_server_error(desk: Browser, model: Any) -> None:
    names = [field.name for field in model._meta.concrete_fields]
    failed = {(name, value) for value in VALUES for name in _that_fail(desk, url(model, "add"), names, value)}
    assert not failed


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_action_causes_a_server_error(desk: Browser, model: Any) -> None:
    actions = ["delete_selected", "revoke", "suspend", "withdraw", "no such action", "\0"]
    values = [value.encode(errors="replace").decode() for value in VALUES]
    own = {"delete_selected", *(admin.site._registry[model].actions or ())}

    def send(action: str, selected: list[str]) -> int:
        sent = {"action": action, "_selected_action": selected, "index": "0"}
        return int(desk.post(url(model, "changelist"), sent).status_code)

    # An action that the list doesn't have is refused before the selection is read.
    failed = [
        (action, selected)
        for action in actions
        for selected in ([[value] for value in values] if action in own else [values])
        if send(action, selected) >= 500
    ]
    assert not failed


def test_no_search_of_a_field_causes_a_server_error(desk: Browser) -> None:
    field = {"app_label": "accounts", "model_name": "project", "field_name": "account"}
    for value in VALUES:
        for name in ("term", "page", *field):
            query: dict[str, str | bytes] = {**field, name: value.encode(errors="surrogatepass")}
            assert desk.get(reverse("admin:autocomplete"), query).status_code < 500


@pytest.mark.parametrize(
    "path", ["r/99999999999999999999/1/", "r/1/%00/", "jsi18n/?x=%00", "password_change/?x=%00", "%00/"]
)
def test_no_other_url_causes_a_server_error(desk: Browser, path: str) -> None:
    assert desk.get(f"/admin/{path}").status_code < 500


def test_a_list_counts_nothing_for_its_filters(
    desk: Browser, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """`?_facets=True` would count every row for every filter."""
    from apikeys.models import APIKey

    page = desk.get(url(APIKey, "changelist"), {"_facets": "True"}).content.decode()
    assert "Hide counts" not in page
    assert "Show counts" not in page
