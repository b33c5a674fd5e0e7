"""Django admin with URLs and forms that no browser sends: never a server error."""

import urllib.parse
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import ValidationError
from django.test import RequestFactory
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts import keyset
from accounts.admin.base import OperatorAdmin
from accounts.models import Account
from tests import factories
from tests.clones import Clone
from tests.conftest import Browser, Cast

MODELS = list(admin.site._registry)

#: None has a NUL: `test_a_nul_is_refused_before_any_page_of_admin` proves that no page gets one.
VALUES = [
    *("99999", "99999-01-01", "0001-01-01T00:00:00+23:59", "9" * 30, "1e999", "'%\\"),
    *("\ud800", "x" * 3000, "", "a " * 1500),
]
SENT = [value.encode(errors="surrogatepass") for value in VALUES]


def _one_of_each(code: Callable[[Any], Hashable]) -> list[Any]:
    """Of the models whose admin runs the same code, the first."""
    return list({code(model): model for model in reversed(MODELS)}.values())


_FINDING = (
    *("get_queryset", "get_object", "change_view", "changeform_view", "delete_view", "history_view"),
    *("changelist_view", "response_action"),
)
#: Different types of ids, and different code that finds an item by one.
WAYS_TO_FIND = _one_of_each(
    lambda model: (
        type(model._meta.pk),
        *(getattr(type(admin.site._registry[model]), name) for name in _FINDING),
    )
)


def _rows(cast: Cast) -> None:
    api_key = factories.make_key(cast.account).api_key
    factories.make_deployment(factories.make_project(cast.account))
    factories.make_invitation(cast.account)
    api_key.origins.create(origin="203.0.113.7", last_used_at=api_key.created_at)


ROWS = Clone(_rows)


@pytest.fixture
def desk(cast: Cast, desk: Browser) -> Browser:
    ROWS.get(cast)
    desk.raise_request_exception = False
    return desk


def url(model: Any, page: str, *arguments: str) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def _item(model: Any, page: str, key: str) -> str:
    """The URL of an item with that key, which need not exist."""
    return url(model, page, "KEY").replace("KEY", urllib.parse.quote(quote(key), errors="surrogatepass") or "_")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_table_has_the_shared_settings(model: Any) -> None:
    assert isinstance(admin.site._registry[model], OperatorAdmin)


def _that_fail(desk: Browser, address: str, names: Sequence[str], value: bytes, *, alone: Sequence[str]) -> list[str]:
    """The parameters that cause a server error with this value.

    All are sent together: a page that opens has read all of them. If it doesn't open, each of `alone` is sent by
    itself.
    """
    together = desk.get(address, dict.fromkeys(names, value)).status_code
    if together == 200:
        return []
    failed = [name for name in alone if desk.get(address, {name: value}).status_code >= 500]
    return failed or ["together"] * (together >= 500)


def _filters(model: Any) -> tuple[list[str], list[str]]:
    """The parameters of all filters, and of one filter of each kind: Django's have a kind for each type of column."""
    kinds: dict[Any, list[str]] = {}
    every = []
    for item in admin.site._registry[model].list_filter:
        if isinstance(item, str):
            kind: Any = type(model._meta.get_field(item)), model._meta.get_field(item).null
            names = [f"{item}__exact", f"{item}__isnull"]
        else:
            assert isinstance(item, type)
            assert issubclass(item, admin.SimpleListFilter)
            kind, names = item, [str(item.parameter_name)]
        every += names
        kinds.setdefault(kind, names)
    return every, [name for names in kinds.values() for name in names]


def _that_fail_in_a_list(desk: Browser, model: Any, names: Sequence[str], *, alone: Sequence[str]) -> Any:
    address = url(model, "changelist")
    return {(name, value) for value in SENT for name in _that_fail(desk, address, names, value, alone=alone)}


#: Different types of the columns that order a list: a cursor has their values.
ORDERS = _one_of_each(
    lambda model: tuple(type(model._meta.get_field(name.lstrip("-"))) for name in keyset.Order.of(model).names)
)


@pytest.mark.parametrize("model", ORDERS, ids=lambda model: model.__name__)
def test_no_cursor_of_a_list_causes_a_server_error(desk: Browser, model: Any) -> None:
    assert not _that_fail_in_a_list(desk, model, ["p"], alone=[])


@pytest.mark.parametrize(
    "model", [model for model in MODELS if admin.site._registry[model].search_fields], ids=lambda model: model.__name__
)
def test_no_search_of_a_list_causes_a_server_error(desk: Browser, model: Any) -> None:
    names = ["q", "o", "e", "all", "_facets", "_popup"]
    assert not _that_fail_in_a_list(desk, model, names, alone=names)


@pytest.mark.parametrize(
    "model", [model for model in MODELS if admin.site._registry[model].list_filter], ids=lambda model: model.__name__
)
def test_no_filter_of_a_list_causes_a_server_error(desk: Browser, model: Any) -> None:
    names, one_of_each_kind = _filters(model)
    assert not _that_fail_in_a_list(desk, model, names, alone=one_of_each_kind)


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


@pytest.mark.parametrize("model", WAYS_TO_FIND, ids=lambda model: model.__name__)
@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_no_url_of_an_item_causes_a_server_error(desk: Browser, model: Any, page: str) -> None:
    failed = [value for value in VALUES if desk.get(_item(model, page, value)).status_code >= 500]
    assert not failed


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_form_of_a_new_item_ignores_the_query(desk: Browser, model: Any) -> None:
    page = desk.get(url(model, "add"), {field.name: SENT for field in model._meta.concrete_fields})
    may_add = admin.site._registry[model].has_add_permission(page.wsgi_request)
    assert page.status_code == (200 if may_add else 403)
    assert not may_add or page.context["adminform"].form.initial == {}


@pytest.mark.parametrize("page", ["changelist", "add", "change", "delete", "history"])
def test_no_parameter_of_every_page_causes_a_server_error(desk: Browser, cast: Cast, page: str) -> None:
    address = url(Account, page, *([str(cast.account.pk)] if page not in ("changelist", "add") else []))
    names = ["_popup", "_to_field", "_changelist_filters"]
    assert not {
        (name, value) for value in SENT for name in names if desk.get(address, {name: value}).status_code >= 500
    }


def _may_be_id(model: Any, text: str) -> bool:
    try:
        model._meta.pk.clean(text, None)
    except ValidationError:
        return False
    return True


def _selected(desk: Browser, model: Any, action: Any, values: list[str]) -> int:
    sent = {"action": action, "_selected_action": values, "index": "0"}
    return int(desk.post(url(model, "changelist"), sent).status_code)


ENCODED = [value.decode(errors="replace") for value in SENT]


@pytest.mark.parametrize("model", WAYS_TO_FIND, ids=lambda model: model.__name__)
def test_no_selected_item_causes_a_server_error(desk: Browser, model: Any) -> None:
    assert not [value for value in ENCODED if _selected(desk, model, "delete_selected", [value]) >= 500]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_action_causes_a_server_error(desk: Browser, model: Any) -> None:
    """The selection is what an action gets: what can't be an id is refused before."""
    values = [value for value in ENCODED if _may_be_id(model, value)]
    actions = ["no such action", "delete_selected", *(admin.site._registry[model].actions or ())]
    assert not [action for action in actions if _selected(desk, model, action, values) >= 500]


@pytest.mark.parametrize("page", ["changelist", "add", "change", "delete", "history"])
@pytest.mark.parametrize("value", ["\0", "a\0b"])
def test_a_nul_is_refused_before_any_page_of_admin(desk: Browser, page: str, value: str) -> None:
    """In the path, the name or value of a parameter, or a form. Every page has the same decorator.

    `test_no_page_of_admin_opens_without_a_second_factor` proves that.
    """
    address = url(Account, page, *(["1"] if page not in ("changelist", "add") else []))
    answers = [
        desk.get(address, {"name": value}),
        desk.get(address, {value: "x"}),
        desk.post(address, {"action": value, "_selected_action": "1"}),
        desk.post(address, {"action": "delete_selected", "_selected_action": value}),
        *([desk.get(_item(Account, page, value))] if page not in ("changelist", "add") else []),
    ]
    assert {answer.status_code for answer in answers} == {400}


def test_no_search_of_a_field_causes_a_server_error(desk: Browser) -> None:
    field = {"app_label": "accounts", "model_name": "project", "field_name": "account"}
    for value in SENT:
        for name in ("term", "page", *field):
            query: dict[str, str | bytes] = {**field, name: value}
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
