"""A service in a browser: created in the dialog or on its page, changed, and deleted."""

from collections.abc import Callable

from django.utils import timezone
from playwright.sync_api import expect

from apikeys.models import Service
from apikeys.usage import problems
from tests import factories
from tests.conftest import Cast

from .conftest import Visitor
from .test_documented_steps import WITH_AND_WITHOUT

Visit = Callable[..., Visitor]


@WITH_AND_WITHOUT
def test_a_service_is_created_changed_and_deleted(javascript: bool, visit: Visit, cast: Cast) -> None:
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto("/accounts/acme/")
    page.get_by_role("link", name="Services", exact=True).click()
    page.get_by_role("link", name="New service").click()
    page.get_by_label("Service name").fill("Reports API")
    page.get_by_label("Gateways").fill("home")
    page.get_by_role("button", name="Create service").click()
    expect(page.get_by_label("Gateways")).to_be_focused()
    visitor.forgive(422)
    page.get_by_label("Gateways").fill("10.0.0.5")
    page.get_by_role("button", name="Create service").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Reports API")
    expect(page.get_by_role("status")).to_contain_text("Service Reports API created")
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("Reading methods").fill("GET")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("status")).to_contain_text("Changes saved.")
    service = Service.objects.get()
    assert (service.gateways, service.reading_methods) == (["10.0.0.5/32"], ["GET"])

    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete service").click()
    expect(page.get_by_role("status")).to_contain_text("Service Reports API deleted")
    assert not Service.objects.exists()


def test_the_id_of_a_service_is_copied_from_the_list(visit: Visit, cast: Cast) -> None:
    service = factories.make_service(cast.account)
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/services/")
    page.get_by_role("button", name="Copy the ID of Reports API").click()

    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == service.id


def test_n_opens_the_dialog_of_a_new_service(visit: Visit, cast: Cast) -> None:
    page = visit().sign_in("owner@example.com").page
    page.goto("/accounts/acme/")
    page.get_by_role("link", name="Services", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Services")
    page.keyboard.press("n")

    expect(page.get_by_role("dialog").get_by_label("Service name")).to_be_focused()


def test_the_page_of_a_service_follows_its_gateway_from_the_first_request_on(visit: Visit, cast: Cast) -> None:
    service = factories.make_service(cast.account, gateways=["10.0.0.5"])
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/services/{service.id}/")
    expect(page.get_by_text("Waiting for the first authorization request")).to_be_visible()

    Service.objects.update(problem=problems.unlisted("10.0.0.9"), problem_at=timezone.now())
    page.get_by_role("link", name="Add this address").click()
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Waiting for the first authorization request")).to_be_visible()
    service.refresh_from_db()
    assert service.gateways == ["10.0.0.5/32", "10.0.0.9/32"]

    Service.objects.update(last_question_at=timezone.now())
    expect(page.locator("#connection")).to_contain_text("Connected", timeout=8000)
    expect(page.locator("h1 + span")).to_have_text("Connected")


@WITH_AND_WITHOUT
def test_a_gateways_configuration_is_selected_filled_in_and_downloaded(
    javascript: bool, visit: Visit, cast: Cast
) -> None:
    service = factories.make_service(cast.account, upstream="http://10.0.0.8:3000")
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/services/{service.id}/")
    page.get_by_role("link", name="HAProxy", exact=True).click()
    expect(page.get_by_role("region", name="haproxy.cfg")).to_contain_text("server service 10.0.0.8:3000")
    page.get_by_role("link", name="Caddy", exact=True).click()
    expect(page.get_by_role("region", name="Caddyfile")).to_be_visible()
    page.get_by_label("Host name of your API").fill("api.acme.test")
    page.get_by_role("button", name="Fill in").click()
    expect(page.get_by_role("region", name="Caddyfile")).to_contain_text("https://api.acme.test {")
    expect(page.locator("#call-without-key")).to_have_text("curl -i https://api.acme.test/")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download Caddyfile").click()
    assert download.value.suggested_filename == "Caddyfile"
    assert download.value.path().read_text() == page.get_by_role("region", name="Caddyfile").text_content()


def test_a_key_for_a_service_is_created_from_its_page_and_links_back(visit: Visit, cast: Cast) -> None:
    service = factories.make_service(cast.account)
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/services/{service.id}/?host=api.acme.test")
    page.get_by_role("link", name="New API Key").click()
    page.get_by_label("API Key Name").fill("Fresh")
    page.get_by_label("Read", exact=True).check()
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_role("button", name="Copy the call with this key").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl -i https://api.acme.test/ ")
    assert page.locator("#secret").inner_text() in copied

    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Reports API")
    expect(page.get_by_label("Host name of your API")).to_have_value("api.acme.test")
    expect(page.get_by_role("link", name="Fresh")).to_be_visible()


def test_a_panel_follows_the_input_of_a_keys_form(visit: Visit, cast: Cast) -> None:
    factories.make_service(cast.account)
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/settings/api-keys/")
    page.get_by_role("button", name="New API Key", exact=True).click()
    panel = page.get_by_role("region", name="What this key can do")
    expect(panel).to_contain_text("Select a permission")
    page.get_by_label("Read", exact=True).check()
    expect(panel).to_contain_text("read every service")
    page.get_by_label("Selected services", exact=True).check()
    page.get_by_label("Reports API", exact=True).check()
    page.get_by_label("Paths of Reports API").press_sequentially("/reports/*")
    expect(panel).to_contain_text("read /reports/* at Reports API")
    expect(page.get_by_label("Paths of Reports API")).to_be_focused()
    page.get_by_label("Reports API", exact=True).uncheck()
    expect(panel).to_contain_text("reach Reports API, or a service created later")


def test_without_javascript_the_form_has_no_panel(visit: Visit, cast: Cast) -> None:
    visitor = visit(java_script_enabled=False).sign_in("owner@example.com")
    visitor.goto(f"/accounts/{cast.account.slug}/settings/api-keys/new/")
    expect(visitor.page.get_by_label("API Key Name")).to_be_visible()
    expect(visitor.page.get_by_text("This key can")).to_be_hidden()


@WITH_AND_WITHOUT
def test_a_request_is_tested_and_a_link_leads_to_one_that_passes(javascript: bool, visit: Visit, cast: Cast) -> None:
    service = factories.make_service(cast.account)
    access = f'[{{"service":"{service.id}","paths":["/reports/*"]}}]'
    key = factories.make_key(cast.account, access=access).api_key
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/settings/api-keys/{key.id}/")
    expect(page.get_by_label("Path", exact=True)).to_have_value("/reports")
    page.get_by_label("Path", exact=True).fill("/exports")
    page.get_by_role("button", name="Test request").click()
    expect(page.get_by_text("Refused: 403 Forbidden")).to_be_visible()
    expect(page.locator(".rules .no")).to_contain_text("Decided here")
    page.get_by_role("link", name="GET /reports").click()

    expect(page.get_by_text("Allowed: 200 OK")).to_be_visible()
    expect(page.get_by_label("Path", exact=True)).to_have_value("/reports")


def test_a_request_is_tested_by_keyboard_alone(visit: Visit, cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    visitor = visit().sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/settings/api-keys/{key.id}/")
    page.get_by_label("Path", exact=True).focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("/v2/members")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Refused: 403 Forbidden")).to_be_visible()
    expect(page.get_by_label("Path", exact=True)).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "would-1":
            break
    page.keyboard.press("Enter")

    expect(page.get_by_text("Allowed: 200 OK")).to_be_visible()


def test_ctrl_k_finds_a_service_by_keyboard_alone(visit: Visit, cast: Cast) -> None:
    factories.make_service(cast.account)
    page = visit().sign_in("owner@example.com").page
    page.goto("/accounts/acme/")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog").get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("reports")
    expect(page.locator("#found")).to_contain_text("Reports API")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Reports API")


def test_without_javascript_find_is_a_page(visit: Visit, cast: Cast) -> None:
    factories.make_service(cast.account)
    page = visit(java_script_enabled=False).sign_in("owner@example.com").page
    page.goto("/accounts/acme/")
    page.get_by_role("link", name="Find", exact=True).click()
    page.get_by_role("searchbox").fill("reports")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Reports API").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Reports API")
