"""Conveniences of the dashboard: shortcuts, the first-run guide, local times, progress signs."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from apikeys.usage import counts
from tests import factories
from tests.conftest import Cast
from tests.factories import PASSWORD

from .conftest import Visitor
from .test_documented_steps import call, make_key, open_keys

Visit = Callable[..., Visitor]

KEYS = "/accounts/acme/settings/api-keys/"


def test_a_slash_focuses_the_search_and_n_opens_the_form_for_a_new_item(visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account)
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(KEYS)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("n/?")
    expect(page.get_by_role("searchbox")).to_have_value("n/?")
    page.get_by_role("searchbox").blur()
    page.keyboard.press("n")

    expect(page.get_by_role("dialog", name="New API Key")).to_be_visible()


def test_a_question_mark_shows_the_shortcuts_and_returns_the_focus(visit: Visit) -> None:
    visitor = visit().sign_in("user@example.com")
    page = visitor.page
    visitor.goto("/accounts/acme/")
    page.get_by_role("link", name="Projects").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("link", name="Projects")).to_be_focused()


def test_shortcuts_can_be_switched_off(visit: Visit) -> None:
    visitor = visit().sign_in("user@example.com")
    page = visitor.page
    visitor.goto("/profile/")
    page.get_by_label("Keyboard shortcuts", exact=True).and_(page.get_by_role("checkbox")).uncheck()
    page.get_by_role("button", name="Save appearance").click()
    expect(page.get_by_role("status")).to_contain_text("Appearance saved in this browser")
    page.keyboard.press("?")
    page.wait_for_timeout(300)

    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_guide_ends_by_itself_when_the_first_call_arrives(visit: Visit, site: str) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto("/accounts/acme/")
    expect(page.get_by_role("heading", name="Make the first call")).to_be_visible()
    other = page.context.new_page()
    other.goto(site + KEYS)
    key = make_key(other)
    other.get_by_label("I've saved this key").check()
    other.close()

    expect(page.get_by_text("Waiting for the first call.")).to_be_visible()
    call(site, key)
    counts.flush()
    expect(page.get_by_role("status")).to_contain_text("The first call has arrived")
    expect(page.get_by_role("heading", name="Make the first call")).to_have_count(0)


def test_times_are_those_of_the_browsers_own_clock(visit: Visit, cast: Cast) -> None:
    api_key = factories.make_key(cast.account).api_key
    visitor = visit(timezone_id="Asia/Tokyo").sign_in("owner@example.com")
    visitor.goto("/accounts/acme/")
    visitor.goto(f"{KEYS}{api_key.id}/")

    expect(visitor.page.get_by_role("main")).to_contain_text(" JST")


def test_a_slow_answer_shows_that_something_is_under_way(visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account, "Deploys")
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(KEYS)

    held: list[Route] = []
    page.route("**/api-keys/?q=*", lambda route: held.append(route))
    page.get_by_role("searchbox").fill("nothing")

    expect(page.locator("#keys")).to_have_attribute("aria-busy", "true")
    assert page.evaluate("getComputedStyle(document.body, '::before').animationName") == "busy"
    expect(page.locator("#keys .sheet")).to_have_css("opacity", "0.55")
    held[0].continue_()
    expect(page.get_by_text("No keys match.")).to_be_visible()
    expect(page.locator("#keys")).not_to_have_attribute("aria-busy", "true")


def test_an_ended_session_redirects_to_sign_in_and_back(visit: Visit, cast: Cast) -> None:
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    open_keys(page)
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="New API Key", exact=True).click()

    page.wait_for_url("**/auth/login/?next=*")
    visitor.page.get_by_label("E-mail").fill("owner@example.com")
    visitor.page.get_by_label("Password", exact=True).fill(PASSWORD)
    visitor.page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"**{KEYS}")


@pytest.mark.parametrize("path", ["?state=disabled", "?q=nothing", "?sort=name"])
def test_the_back_button_shows_the_list_as_it_was(path: str, visit: Visit, cast: Cast) -> None:
    factories.make_key(cast.account, "Deploys")
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(KEYS)
    if path.startswith("?q"):
        page.get_by_role("searchbox").fill("nothing")
    else:
        page.get_by_role("link", name="Disabled" if "state" in path else "Key", exact=True).click()
    page.wait_for_url(f"**{KEYS}?*{path[1:]}*")
    expect(page.locator("#keys")).not_to_have_attribute("aria-busy", "true")
    before = page.get_by_role("main").inner_text()
    page.get_by_role("link", name="Overview").click()
    page.wait_for_url("**/accounts/acme/")
    page.go_back()

    expect(page.get_by_role("main")).to_have_text(before, use_inner_text=True)


def press_until(page: Page, name: str, key: str = "Tab") -> None:
    """Press the key until the focus is on the element with that name."""
    for _ in range(60):
        page.keyboard.press(key)
        focused = page.locator(":focus")
        if focused.count() and name in (focused.get_attribute("aria-label") or focused.inner_text() or ""):
            return
        label = page.evaluate("document.activeElement.labels?.[0]?.innerText")
        if label == name:
            return
    raise AssertionError(f"{name} can't be reached by keyboard.")


def test_a_key_is_created_copied_and_revoked_by_keyboard_alone(visit: Visit, site: str) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.page
    visitor.goto("/auth/login/")
    page.keyboard.type("owner@example.com")
    press_until(page, "Password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/accounts/acme/")
    for link in ("Settings", "Account Settings", "API Keys"):
        press_until(page, link)
        with page.expect_navigation():
            page.keyboard.press("Enter")
    press_until(page, "New API Key")
    page.keyboard.press("Enter")
    expect(page.get_by_label("API Key Name", exact=True)).to_be_focused()
    expect(page.locator(".htmx-settling")).to_have_count(0)  # 20 ms later, htmx focuses the first field again
    page.keyboard.type("By hand")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    press_until(page, "Create")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert call(site, page.evaluate("navigator.clipboard.readText()"))["api_key"]["name"] == "By hand"
    press_until(page, "I've saved this key")
    page.keyboard.press("Space")
    press_until(page, "Done")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="By hand")).to_be_visible()
    press_until(page, "Actions for By hand")
    page.keyboard.press("Enter")
    press_until(page, "Revoke")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Revoke By hand?")).to_be_visible()
    press_until(page, "Revoke API key")
    page.keyboard.press("Enter")

    expect(page.get_by_role("row", name="By hand")).to_contain_text("Revoked")
