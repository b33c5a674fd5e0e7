"""A service's life at a browser: created in the dialog or on its page, changed, and deleted."""

from collections.abc import Callable

from playwright.sync_api import expect

from apikeys.models import Service
from tests import factories
from tests.conftest import Cast

from .conftest import Visitor
from .test_walk import WITH_AND_WITHOUT

Visit = Callable[..., Visitor]


@WITH_AND_WITHOUT
def test_a_service_is_created_changed_and_deleted(javascript: bool, visit: Visit, cast: Cast) -> None:
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
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
    expect(page.get_by_role("status")).to_contain_text("Service Reports API created.")
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("Reading methods").fill("GET")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Service saved.")
    service = Service.objects.get()
    assert (service.gateways, service.reading_methods) == (["10.0.0.5/32"], ["GET"])

    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete service").click()
    expect(page.get_by_role("status")).to_contain_text("Service Reports API deleted.")
    assert not Service.objects.exists()


def test_the_id_of_a_service_is_copied_from_the_list(visit: Visit, cast: Cast) -> None:
    service = factories.make_service(cast.account)
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{cast.account.slug}/services/")
    page.get_by_role("button", name="Copy the ID of Reports API").click()

    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == service.id


def test_n_opens_the_dialog_of_a_new_service(visit: Visit, cast: Cast) -> None:
    page = visit().sign_in("owner@example.com").page
    page.get_by_role("link", name="Services", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Services")
    page.keyboard.press("n")

    expect(page.get_by_role("dialog").get_by_label("Service name")).to_be_focused()
