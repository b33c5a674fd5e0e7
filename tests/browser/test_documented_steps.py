"""The steps of Atatus' documentation, word for word: "Generate New API Key"."""

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect

from apikeys import scopes, tokens
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Cast

from .conftest import Visitor

Visit = Callable[..., Visitor]

WITH_AND_WITHOUT = pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no-javascript"])


def open_keys(page: Page) -> None:
    page.goto("/accounts/acme/")
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_role("link", name="Account Settings", exact=True).click()
    page.get_by_role("link", name="API Keys", exact=True).click()
    page.wait_for_url("**/settings/api-keys/")


def make_key(page: Page, name: str = "Deploys", permission: str = "Read & Write") -> str:
    page.get_by_role("button", name="New API Key", exact=True).click()
    page.get_by_label("API Key Name", exact=True).fill(name)
    page.get_by_role("group", name="Permission").get_by_role("radio", name=permission, exact=True).check()
    page.get_by_role("button", name="Create", exact=True).click()
    return page.locator("code").inner_text()


def call(site: str, key: str) -> Any:
    request = urllib.request.Request(f"{site}/v2", headers={"X-API-KEY": key})  # noqa: S310  # our own server
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return json.load(response)


@WITH_AND_WITHOUT
@pytest.mark.parametrize("role", ["owner", "admin"])
def test_an_owner_or_admin_generates_keys_that_work_with_the_api(
    role: str, javascript: bool, visit: Visit, site: str
) -> None:
    visitor = visit(java_script_enabled=javascript).sign_in(f"{role}@example.com")
    open_keys(visitor.page)
    for permission in ("Read", "Write", "Read & Write"):
        name = f"Deploys: {permission}"
        key = make_key(visitor.page, name, permission)

        assert re.fullmatch(tokens.SCANNER_PATTERN, key)
        assert call(site, key)["api_key"]["permission"] == permission.lower().replace(" & ", "_")

        visitor.page.get_by_label("I've saved this key").check()
        visitor.page.get_by_role("button", name="Done").click()
        expect(visitor.page.get_by_role("row", name=name)).to_contain_text("Active")
        assert key not in visitor.page.content()


def test_a_user_is_refused_and_sees_no_link(visit: Visit, cast: Cast) -> None:
    visitor = visit().sign_in("user@example.com")
    page = visitor.page
    visitor.goto("/accounts/acme/")
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_role("link", name="Account Settings", exact=True).click()

    expect(page.get_by_role("link", name="API Keys")).to_have_count(0)
    refused = visitor.goto(f"/accounts/{cast.account.slug}/settings/api-keys/")
    assert refused.status == 403
    expect(page.get_by_role("heading", level=1)).to_have_text("You don't have access")
    visitor.forgive(403)


def test_the_snippets_work_as_pasted(visit: Visit, site: str) -> None:
    visitor = visit().sign_in("owner@example.com")
    open_keys(visitor.page)
    make_key(visitor.page)
    snippets = {
        name: visitor.page.locator(f"#snippet-{name}").text_content() or "" for name in ("curl", "python", "javascript")
    }
    commands = {
        "curl": ["sh", "-c", f"{snippets['curl']} --silent"],
        "python": [sys.executable, "-c", snippets["python"]],
        "javascript": ["node", "-e", snippets["javascript"]],
    }

    for name, command in commands.items():
        if name == "python" or shutil.which(command[0] if name == "javascript" else name):
            answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
            assert "read_write" in answer.stdout


@WITH_AND_WITHOUT
def test_a_key_is_revoked(javascript: bool, visit: Visit, site: str, cast: Cast) -> None:
    key = factories.make_key(cast.account, "Old").secret
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    open_keys(visitor.page)
    visitor.page.get_by_label("Actions for Old").click()
    visitor.page.get_by_role("link", name="Revoke Old").click()
    expect(visitor.page.get_by_role("heading", name="Revoke Old?")).to_be_visible()
    visitor.page.get_by_role("button", name="Revoke API key", exact=True).click()

    expect(visitor.page.get_by_role("status")).to_contain_text("API key Old revoked")
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        call(site, key)
    refused.value.close()


@WITH_AND_WITHOUT
def test_services_are_selected_for_a_key(javascript: bool, visit: Visit, cast: Cast) -> None:
    reports, search = (factories.make_service(cast.account, name) for name in ("Reports API", "Search API"))
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.get_by_role("button", name="New API Key", exact=True).click()
    page.get_by_label("API Key Name", exact=True).fill("Partner feed")
    page.get_by_label("Read", exact=True).check()
    expect(page.get_by_label("Reports API", exact=True)).to_be_hidden()
    page.get_by_label("Selected services", exact=True).check()
    page.get_by_label("Search API", exact=True).check()
    page.get_by_label("Reports API", exact=True).check()
    page.get_by_label("Paths of Reports API", exact=True).fill("/reports/*\n/exports")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("code#secret")).to_be_visible()

    assert scopes.load(APIKey.objects.get().access) == (
        scopes.Entry(reports.id, ("/reports/*", "/exports")),
        scopes.Entry(search.id),
    )


def test_the_dialog_shows_an_error_at_its_field_and_focuses_it(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.get_by_role("button", name="New API Key", exact=True).click()
    name = page.get_by_label("API Key Name", exact=True)
    expect(name).to_be_focused()
    page.get_by_role("button", name="Create", exact=True).click()

    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    expect(name).to_have_accessible_description(re.compile("This field is required."))
    assert page.url.endswith("/settings/api-keys/")
    visitor.forgive(422)


def test_a_double_click_creates_one_key(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.get_by_role("button", name="New API Key", exact=True).click()
    page.get_by_label("API Key Name", exact=True).fill("Once")
    page.get_by_label("Read", exact=True).check()
    page.get_by_role("button", name="Create", exact=True).dblclick()

    expect(page.locator("code")).to_be_visible()
    assert APIKey.objects.count() == 1


def test_copying_is_confirmed(visit: Visit) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    key = make_key(page)
    page.get_by_role("button", name="Copy", exact=True).click()

    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == key


def test_the_dialog_with_the_new_key_is_not_closed_by_accident(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    key = make_key(page)
    for _ in range(3):
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Done").click()

    expect(page.locator("code")).to_have_text(key)
    warned = []

    def dismiss(dialog: Dialog) -> None:
        warned.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.evaluate("location.reload()")
    page.wait_for_timeout(300)
    assert warned == ["beforeunload"]
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_browser_keeps_no_copy_of_the_key(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    key = make_key(page)
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name="Active", exact=True).click()
    page.wait_for_url("**state=active**")
    page.go_back()
    expect(page.get_by_role("link", name="All", exact=True)).to_have_attribute("aria-current", "true")
    page.wait_for_load_state("networkidle")

    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, history.state])")
    assert key not in kept
    assert key not in page.content()


def test_a_key_is_created_by_keyboard_alone(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.get_by_role("button", name="New API Key", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("API Key Name", exact=True)).to_be_focused()
    page.keyboard.type("By keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_focused()

    assert APIKey.objects.get().permission == "write"


def test_closing_the_dialog_gives_the_focus_back(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    button = page.get_by_role("button", name="New API Key", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()


def test_search_and_filter_work_together_while_one_types(visit: Visit, cast: Cast) -> None:
    for name in ("alpha", "alpine", "beta"):
        factories.make_key(cast.account, name)
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.get_by_role("link", name="Active", exact=True).click()
    page.wait_for_url("**state=active**")
    page.get_by_label("Search keys").press_sequentially("alp")
    expect(page.get_by_role("rowheader")).to_have_count(2)

    assert "state=active" in page.url
    assert "q=alp" in page.url
    expect(page.get_by_label("Search keys")).to_be_focused()


def test_an_ended_session_asks_to_sign_in_and_returns(visit: Visit) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.context.clear_cookies()
    page.get_by_role("button", name="New API Key", exact=True).click()
    page.wait_for_url("**/auth/login/**")
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password", exact=True).fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("heading", level=2, name="API Keys")).to_be_visible()
