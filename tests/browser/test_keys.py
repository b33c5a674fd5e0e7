"""A key in a browser: changed, rotated, revoked with others, and found in the audit log."""

import re
import urllib.error
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from apikeys import tokens
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Cast

from .conftest import Visitor
from .test_documented_steps import WITH_AND_WITHOUT, call

Visit = Callable[..., Visitor]


def keys(cast: Cast) -> str:
    return f"/accounts/{cast.account.slug}/settings/api-keys/"


def assert_refused(site: str, secret: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        call(site, secret)
    refused.value.close()


def act(page: Page, action: str, name: str) -> None:
    """Select from the menu of a row."""
    page.get_by_label(f"Actions for {name}").click()
    page.get_by_role("link", name=f"{action} {name}").click()


@WITH_AND_WITHOUT
def test_a_key_is_edited_from_its_page(javascript: bool, visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account, "Deploys")
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(keys(cast))
    page.get_by_role("link", name="Deploys", exact=True).click()
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("API Key Name").fill("Nightly")
    page.get_by_label("Read", exact=True).check()
    page.get_by_label("Expires", exact=True).select_option("30")
    page.get_by_label("Accept in the query string").uncheck()
    page.get_by_role("button", name="Save changes").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Nightly")
    expect(page.get_by_role("status")).to_contain_text("Changes saved. They take effect on the next request.")
    key = APIKey.objects.get()
    assert (key.name, key.permission, key.accepts_query, key.accepts_body) == ("Nightly", "read", False, True)
    assert key.expires_at is not None


@WITH_AND_WITHOUT
def test_a_date_is_required_only_if_on_a_date_is_selected(javascript: bool, visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    visitor.goto(f"{keys(cast)}{key.id}/edit/")
    expect(visitor.page.get_by_label("Expires on")).to_be_hidden()
    visitor.page.get_by_label("Expires", exact=True).select_option("at")
    visitor.page.get_by_label("Expires on").fill("2001-01-01T00:00")
    visitor.page.get_by_role("button", name="Save changes").click()

    expect(visitor.page.get_by_label("Expires on")).to_be_focused()
    expect(visitor.page.get_by_label("Expires on")).to_have_accessible_description(
        re.compile("Enter a time in the future.")
    )
    visitor.forgive(422)


@WITH_AND_WITHOUT
def test_a_key_is_rotated_and_its_successor_shown_once(javascript: bool, visit: Visit, site: str, cast: Cast) -> None:
    old = factories.make_key(cast.account, "Deploys")
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(keys(cast))
    act(page, "Rotate", "Deploys")
    page.get_by_label("1 hour", exact=True).check()
    page.get_by_role("button", name="Rotate API key", exact=True).click()
    secret = page.locator("#secret").inner_text()

    assert re.fullmatch(tokens.SCANNER_PATTERN, secret)
    assert call(site, old.secret)["api_key"]["id"] != call(site, secret)["api_key"]["id"]
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row", name="Deploys")).to_have_count(2)
    expect(page.get_by_text("Rotated", exact=True)).to_be_visible()
    assert secret not in page.content()


@WITH_AND_WITHOUT
def test_a_key_is_disabled_and_enabled(javascript: bool, visit: Visit, site: str, cast: Cast) -> None:
    issued = factories.make_key(cast.account, "Deploys")
    visitor = visit(java_script_enabled=javascript).sign_in("admin@example.com")
    page = visitor.page
    visitor.goto(keys(cast))
    act(page, "Disable", "Deploys")
    page.get_by_role("button", name="Disable API key", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("API key Deploys disabled")
    assert_refused(site, issued.secret)
    page.get_by_role("button", name="Enable", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("API key Deploys enabled")

    assert call(site, issued.secret)["api_key"]["name"] == "Deploys"


@WITH_AND_WITHOUT
def test_several_keys_are_selected_and_revoked_together(javascript: bool, visit: Visit, site: str, cast: Cast) -> None:
    issued = {name: factories.make_key(cast.account, name).secret for name in ("alpha", "beta", "gamma")}
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(keys(cast))
    button = page.get_by_role("button", name="Revoke selected")
    expect(button).to_be_hidden()
    page.get_by_label("Select alpha").check()
    page.get_by_label("Select gamma").check()
    button.click()
    expect(page.get_by_role("heading", name="Revoke 2 API keys?")).to_be_visible()
    page.get_by_role("button", name="Revoke 2 API keys").click()

    expect(page.get_by_role("status")).to_contain_text("2 API keys revoked")
    assert_refused(site, issued["alpha"])
    assert_refused(site, issued["gamma"])
    assert call(site, issued["beta"])["api_key"]["name"] == "beta"


def test_all_keys_of_the_page_are_selected_at_once(visit: Visit, cast: Cast) -> None:
    for name in ("alpha", "beta"):
        factories.make_key(cast.account, name)
    visitor = visit().sign_in("owner@example.com")
    visitor.goto(keys(cast))
    visitor.page.get_by_label("Select all keys on this page").check()
    visitor.page.get_by_role("button", name="Revoke selected").click()

    expect(visitor.page.get_by_role("heading", name="Revoke 2 API keys?")).to_be_visible()


def test_a_menu_closes_by_escape_and_by_a_click_elsewhere(visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account, "Deploys")
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(keys(cast))
    menu, item = page.get_by_label("Actions for Deploys"), page.get_by_role("link", name="Rotate Deploys")
    menu.click()
    expect(item).to_be_visible()
    page.keyboard.press("Escape")
    expect(item).to_be_hidden()
    expect(menu).to_be_focused()
    menu.click()
    page.get_by_role("heading", level=1).click()
    expect(item).to_be_hidden()


def test_a_dialog_that_a_menu_opened_gives_the_focus_back_to_the_menu(visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account, "Deploys")
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(keys(cast))
    act(page, "Disable", "Deploys")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_label("Actions for Deploys")).to_be_focused()
    expect(page.get_by_role("link", name="Disable Deploys")).to_be_hidden()


@WITH_AND_WITHOUT
def test_the_list_is_sorted_by_its_headings(javascript: bool, visit: Visit, cast: Cast) -> None:
    for name in ("beta", "alpha", "gamma"):
        factories.make_key(cast.account, name)
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    visitor.goto(keys(cast))
    visitor.page.get_by_role("link", name="Key", exact=True).click()
    visitor.page.wait_for_url("**sort=name**")

    expect(visitor.page.locator("a.name")).to_have_text(["alpha", "beta", "gamma"])


@WITH_AND_WITHOUT
def test_the_audit_log_is_filtered(javascript: bool, visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account, "Deploys")
    factories.make_project(cast.account)
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/settings/audit-log/")
    page.get_by_label("Event", exact=True).select_option("api_key.created")
    if not javascript:
        page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**event=api_key.created**")

    expect(page.get_by_role("rowheader")).to_have_count(1)
    expect(page.get_by_role("rowheader")).to_contain_text("System created API key Deploys")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    assert "api_key.created" in download.value.path().read_text()
    assert "account.created" not in download.value.path().read_text()


def test_the_audit_log_is_filtered_while_one_types(visit: Visit, cast: Cast) -> None:
    for name in ("alpha", "beta"):
        factories.make_key(cast.account, name)
    visitor = visit().sign_in("owner@example.com")
    visitor.goto(f"/accounts/{cast.account.slug}/settings/audit-log/")
    visitor.page.get_by_label("Target").press_sequentially("beta")
    visitor.page.wait_for_url("**target=beta**")

    expect(visitor.page.get_by_role("rowheader")).to_have_count(1)
    expect(visitor.page.get_by_label("Target")).to_be_focused()
