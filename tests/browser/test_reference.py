"""The API reference in a browser: search, the choice of a language, and Try it."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from accounts.models import Project
from tests import factories
from tests.conftest import Cast

from .conftest import Visitor

Visit = Callable[..., Visitor]


def open_box(page: Page, operation: str) -> Locator:
    box = page.locator(f"#{operation} .try")
    box.locator("summary", has_text="Try it").click()
    return box


def test_try_it_sends_the_call_and_shows_status_headers_and_body(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account, "Deploys").secret
    visitor = visit()
    visitor.goto("/v2/docs/api-key-check")
    box = open_box(visitor.page, "check-api-key")
    box.get_by_label("API key", exact=True).fill(key)
    box.get_by_role("button", name="Send GET").click()

    expect(box.locator(".try-answer .pill")).to_have_text("200")
    expect(box.get_by_role("region", name="Body of the response")).to_contain_text('"name": "Deploys"')
    box.get_by_text("Headers", exact=True).click()
    expect(box.get_by_role("region", name="Headers of the response")).to_contain_text("x-request-id: ")


def test_an_error_is_shown_like_any_answer(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/v2/docs/api-key-check")
    box = open_box(visitor.page, "check-api-key")
    box.get_by_label("API key", exact=True).fill("atk_" + "0" * 36)
    box.get_by_role("button", name="Send GET").click()

    expect(box.locator(".try-answer .pill")).to_have_text("401")
    expect(box.get_by_role("region", name="Body of the response")).to_contain_text("API key is invalid!")
    visitor.forgive(401)


def test_the_key_is_in_no_storage_url_cookie_or_history_and_gone_after_leaving(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).secret
    visitor = visit()
    page = visitor.page
    sent: list[Any] = []
    page.on("request", lambda one: sent.append(one))
    visitor.goto("/v2/docs/projects")
    box = open_box(page, "list-projects")
    box.get_by_label("API key", exact=True).fill(key)
    box.get_by_role("button", name="Send GET").click()
    expect(box.locator(".try-answer .pill")).to_have_text("200")

    other = page.locator("#create-project [data-key-field]")
    assert other.input_value() == key, "one key for all calls of the page"
    assert [one.url for one in sent if key in one.url] == []
    assert [one.url for one in sent if key in str(one.headers)] == [f"{visitor.site}/v2/projects"]
    assert "cookie" not in next(one.headers for one in sent if one.url == f"{visitor.site}/v2/projects")
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])")
    assert key not in kept
    assert key not in page.content()
    visitor.goto("/v2/docs")
    page.go_back()
    assert page.locator("#list-projects [data-key-field]").input_value() == ""
    assert key not in page.content()


def test_a_call_that_changes_something_says_so_and_changes_it(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).secret
    visitor = visit()
    visitor.goto("/v2/docs/projects")
    box = open_box(visitor.page, "create-project")
    expect(box).to_contain_text("This changes real data")
    box.get_by_label("API key", exact=True).fill(key)
    box.get_by_label("Body", exact=True).fill('{"name": "Tried"}')
    box.get_by_role("button", name="Send POST").click()

    expect(box.locator(".try-answer .pill")).to_have_text("201")
    assert Project.objects.filter(name="Tried").exists()
    expect(visitor.page.locator("#list-projects .try")).not_to_contain_text("This changes real data")


def test_fields_fill_in_path_and_query_string(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).secret
    project = factories.make_project(cast.account, "Web shop")
    visitor = visit().sign_in("owner@example.com")
    visitor.goto(f"/accounts/{cast.account.slug}/reference/projects/")
    box = open_box(visitor.page, "get-project")
    expect(box.get_by_label("project_id")).to_have_value(project.id)
    box.get_by_label("API key", exact=True).fill(key)
    box.get_by_role("button", name="Send GET").click()
    expect(box.get_by_role("region", name="Body of the response")).to_contain_text("Web shop")

    box = open_box(visitor.page, "list-projects")
    box.get_by_label("limit").fill("0")
    box.get_by_role("button", name="Send GET").click()
    expect(box.locator(".try-answer .pill")).to_have_text("400")
    visitor.forgive(400)


@pytest.mark.parametrize("path", ["/v2/docs/projects", "/v2/docs"])
def test_without_javascript_there_is_no_try_it_and_search_is_a_form(path: str, visit: Visit) -> None:
    visitor = visit(java_script_enabled=False)
    visitor.goto(path)
    expect(visitor.page.get_by_text("Try it").locator("visible=true")).to_have_count(0)
    visitor.page.get_by_label("Search the API reference").fill("rotate")
    visitor.page.get_by_role("button", name="Search").click()
    visitor.page.get_by_role("link", name="Rotate an API key", exact=True).click()

    expect(visitor.page.get_by_role("heading", name="Rotate an API key")).to_be_visible()


def test_search_answers_while_one_types_and_refuses_a_key(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).secret
    visitor = visit()
    sent: list[str] = []
    visitor.page.on("request", lambda one: sent.append(one.url))
    visitor.goto("/v2/docs/projects")
    field = visitor.page.get_by_label("Search the API reference")
    field.press_sequentially("expires_at")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Search")
    expect(visitor.page.get_by_role("link", name="expires_at", exact=True).first).to_be_visible()
    expect(field).to_be_focused()
    field.fill(key)
    field.press("Enter")
    visitor.page.wait_for_timeout(400)

    assert [url for url in sent if key in url] == []


def test_the_arrow_down_goes_from_the_search_to_its_first_result(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/v2/docs/projects")
    field = visitor.page.get_by_label("Search the API reference")
    field.press("ArrowDown")
    expect(field).to_be_focused()
    field.fill("rotate an api key")
    first = visitor.page.get_by_role("link", name="Rotate an API key", exact=True)
    expect(first).to_be_visible()
    field.press("ArrowDown")

    expect(first).to_be_focused()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/v2/docs/api-keys#rotate-api-key")


def test_one_choice_of_a_language_is_that_of_all_examples(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/v2/docs/projects")
    visitor.page.locator("#create-project").get_by_text("Python", exact=True).click()

    for operation in ("list-projects", "create-project", "delete-project"):
        expect(visitor.page.locator(f"#{operation}-python")).to_be_visible()
        expect(visitor.page.locator(f"#{operation}-curl")).to_be_hidden()


def test_the_choice_of_a_language_is_kept_for_the_next_page(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/v2/docs/projects")
    visitor.page.locator("#create-project").get_by_text("JavaScript", exact=True).click()
    visitor.goto("/v2/docs/services")

    expect(visitor.page.locator("#create-service-javascript")).to_be_visible()
    expect(visitor.page.locator("#create-service-curl")).to_be_hidden()


def test_the_navigation_follows_the_operation_that_is_read(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/v2/docs/projects")
    link = visitor.page.locator(".toc").get_by_role("link", name="Delete a project")
    expect(link).not_to_have_attribute("aria-current", "location")
    link.click()

    expect(link).to_have_attribute("aria-current", "location")
    expect(visitor.page.locator(".toc a[aria-current=location]")).to_have_count(1)


def test_try_it_needs_no_mouse(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).secret
    visitor = visit()
    visitor.goto("/v2/docs/api-key-check")
    page = visitor.page
    page.locator("#check-api-key .try summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(key)
    page.keyboard.press("Enter")

    expect(page.locator("#check-api-key .try-answer .pill")).to_have_text("200")
