"""Every page is accessible, in both themes and on narrow screens, and writes nothing to the console."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.urls import resolve
from django.utils import timezone
from playwright.sync_api import JSHandle, Page, ViewportSize, expect

from accounts import cookies, policy
from accounts.forms import Theme
from accounts.models import Account, User
from apikeys import scopes, services
from apikeys.models import APIKey, Service
from apikeys.scopes import Entry
from apikeys.services import Overlap
from apikeys.usage import problems
from atatus_dash import scheduler
from atatus_dash.api.reference.pages import all_paths
from tests import factories
from tests.conftest import Browser, Cast
from tests.test_pages_access import PAGES_OF_AN_ACCOUNT

from .conftest import Visitor

Visit = Callable[..., Visitor]

AXE = (Path(__file__).parent / "vendor/axe-core@4.14.1/axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OF_COLORS = ["color-contrast", "link-in-text-block"]  # all of axe's category color up to WCAG's level AA

SIGNED_OUT = [
    "/auth/login/",
    "/auth/signup/",
    "/auth/password/reset/",
    "/auth/password/reset/done/",
    "/auth/password/reset/key/1-none/",
    "/auth/password/reset/key/done/",
    "/auth/confirm-email/",
    "/auth/confirm-email/none/",
    "/auth/inactive/",
]
OF_A_PERSON = [
    "/profile/",
    "/auth/email/",
    "/auth/password/change/",
    "/auth/reauthenticate/",
    "/auth/logout/",
]
OF_AN_ACCOUNT = [
    "",
    "projects/",
    "projects/new/",
    "services/",
    "services/new/",
    "settings/",
    "settings/members/",
    "settings/api-keys/",
    "settings/api-keys/new/",
    "settings/api-keys/new/?access=chosen",
    "settings/api-keys/?service=svc_gone",
    "settings/api-keys/import/",
    "settings/api-keys/revoke/",
    "find/",
    "settings/audit-log/",
    "settings/audit-log/?event=api_key.created",
    "settings/audit-log/?event=nonsense",
    "?days=365",
    "reference/",
    "reference/?q=expires",
    "reference/errors/",
    "reference/api-keys/",
    "reference/projects/",
    "reference/guides/errors/",
]
SIZES: dict[str, ViewportSize] = {"narrow": {"width": 360, "height": 740}, "wide": {"width": 1280, "height": 800}}


@pytest.fixture
def furnished(cast: Cast) -> Account:
    """An account with items of every kind; the stranger's is empty."""
    now = timezone.now()
    soon = now + timedelta(days=3)
    states: dict[str, dict[str, Any]] = {
        "Active": {"administrator": True, "allowed_networks": ["2001:db8:85a3:1234:5678:8a2e:370:7334/128"]},
        "Soon": {"expires_at": soon},
        "Disabled": {"disabled_at": now},
        "Revoked": {"revoked_at": now},
        "Rotated": {"description": "The one that polls."},
    }
    keys = {name: factories.make_key(cast.account, name, **fields).api_key for name, fields in states.items()}
    for days_ago in range(40):
        counts: dict[str, Any] = {
            "requests": 1234567,
            "succeeded": 1234000,
            "client_errors": 500,
            "throttled": 60,
            "server_errors": 7,
        }
        day = (now - timedelta(days=days_ago)).date()
        factories.make_usage(keys["Rotated"], day, in_header=1234000, in_query=567, **counts)
    services.flag_exposed_key(api_key=keys["Active"], address="2001:db8::1")
    services.rotate_api_key(actor=policy.system(cast.account.ref), api_key=keys["Rotated"], overlap=Overlap.DAY)
    agent = "Mozilla/5.0 (compatible; an-agent-with-a-long-name-that-has-no-spaces-to-break-at; +https://example.com)"
    APIKey.objects.filter(pk=keys["Rotated"].pk).update(
        last_used_at=now, last_used_from="2001:db8:85a3:1234:5678:8a2e:370:7334", last_used_agent=agent
    )
    project = factories.make_project(cast.account, "a-project-with-a-rather-long-name-that-has-no-spaces-to-break-at")
    factories.make_deployment(project, "4f2a91c" * 6, user="ci", changes="Faster.", recorded_by="owner@example.com")
    shared = factories.make_service(cast.elsewhere, "Weather API", shared=True)
    service = factories.make_service(
        cast.account,
        "a-service-with-a-rather-long-name-that-has-no-spaces-to-break-at",
        gateways=["10.0.0.5", "10.0.0.6", "2001:db8:85a3:1234:5678:8a2e:370:7334"],
        reading_paths=["/a-path-with-a-rather-long-name-that-has-no-spaces-to-break-at/and-more-of-it/*"],
        upstream="https://an-upstream-with-a-rather-long-name-that-has-no-spaces-to-break-at.example.com:8443/v1/",
    )
    factories.make_service(cast.account, "Waiting")
    for id in (service.id, shared.id, "svc_deleted"):
        factories.make_usage(keys["Rotated"], now.date(), id, succeeded=1234567, client_errors=1)
    factories.make_service(cast.account, "Refused", gateways=["10.0.0.5"])
    Service.objects.exclude(name__in=["Waiting", "Refused"]).update(last_question_at=now)
    unlisted = problems.unlisted("2001:db8:85a3:1234:5678:8a2e:370:7334")
    Service.objects.filter(name="Refused").update(problem=unlisted, problem_at=now)
    path = "/a-path-with-a-rather-long-name-that-has-no-spaces-to-break-at/and-more-of-it/*"
    opened = (Entry("svc_gone"), Entry("api"), Entry(service.id, (path, "/exports")))
    limited = factories.make_key(cast.account, "Limited").api_key
    APIKey.objects.filter(pk=limited.pk).update(access=scopes.store(opened))
    return cast.account


def pages_of(account: Account) -> Iterator[str]:
    start = f"/accounts/{account.slug}/"
    yield from (start + path for path in OF_AN_ACCOUNT)
    if project := account.projects.first():
        for path in ("", "edit/", "delete/", "deployments/new/"):
            yield f"{start}projects/{project.id}/{path}"
    if api_key := account.api_keys.filter(revoked_at=None).first():
        for path in ("edit/", "rotate/", "disable/", "revoke/"):
            yield f"{start}settings/api-keys/{api_key.id}/{path}"
        ids = "&".join(f"id={key.id}" for key in account.api_keys.all())
        yield f"{start}settings/api-keys/revoke/?{ids}"
    for service in Service.objects.visible_to(account):
        yield f"{start}services/{service.id}/"
        if service.account_id == account.id:
            for path in ("edit/", "delete/", "?gateway=haproxy&host=api.acme.test", "?gateway=traefik&host=no+name"):
                yield f"{start}services/{service.id}/{path}"
            yield f"{start}settings/api-keys/new/?access=chosen&service={service.id}&for_service={service.id}"
    for api_key in account.api_keys.all():
        yield f"{start}settings/api-keys/{api_key.id}/"
        if api_key.name in ("Limited", "Revoked"):
            for asked in described_requests(account):
                yield f"{start}settings/api-keys/{api_key.id}/test/?{urlencode(asked)}"


def pages_of_owner(account: Account) -> Iterator[str]:
    """Forms that Users can't open, and that don't depend on what the account has."""
    for path in ("key-policy/", "members/invite/", "two-factor/", "transfer/", "close/"):
        yield f"/accounts/{account.slug}/settings/{path}"


def described_requests(account: Account) -> Iterator[dict[str, str]]:
    """A request that passes and one that is refused, to a service and to the API."""
    service = account.services.get(name__startswith="a-service").id
    yield {"method": "GET", "path": "/exports", "service": service, "address": "203.0.113.7"}
    yield {"method": "POST", "path": "/a-path-with-a-rather-long-name" * 5, "service": service, "address": ""}
    yield {"method": "GET", "path": "/v2/projects", "service": "api", "address": "2001:db8::1"}
    yield {"method": "GET", "path": "/v2/members", "service": "api", "address": ""}


def without_varying_parts(html: str) -> str:
    """The text without parts that always differ: tokens, the id of the next key, and how long ago something was."""
    return re.sub(r'(name="(?:csrfmiddlewaretoken|id)" value=)"\w+"|<time.*?</time>', r"\1", html)


def violations(page: Page, *, rules: list[str] | None = None) -> list[str]:
    """axe's findings, only by the given rules if there are any."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
        page.add_init_script(AXE)  # later pages have axe without loading it again
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": TAGS}
    # axe describes only what it found: describing and transferring correct elements takes longer than checking them.
    options = {"runOnly": only, "resultTypes": ["violations"], "selectors": False}
    found = page.evaluate("async options => (await axe.run(options)).violations", options)
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def check(page: Page) -> None:
    """Accessible in both themes, which differ only in colors, with one heading and no horizontal scrolling."""
    assert violations(page) == [], page.url
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")  # no colors in transition
    assert violations(page, rules=OF_COLORS) == [], f"{page.url} in the dark"
    page.emulate_media(color_scheme="light")
    assert page.locator("h1").count() == 1, page.url
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def check_at_each_size(page: Page, sizes: Iterable[ViewportSize] = SIZES.values()) -> None:
    """The same, and no horizontal scrolling at the 320 pixels of WCAG 2.2, 1.4.10. Leaves the window as it was."""
    before = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320, page.url
    for size in sizes:
        page.set_viewport_size(size)
        check(page)
    if before and before != page.viewport_size:
        page.set_viewport_size(before)


#: What CSS calculates for each element, what it generates before and after it, and an empty field's hint.
COLORS = """() => [...document.querySelectorAll("body, body *")].flatMap((element) =>
  ["", "::before", "::after", ...("placeholder" in element ? ["::placeholder"] : [])].map((part) => {
    const style = getComputedStyle(element, part);
    const isGenerated = style.content != "none";
    const colors = !isGenerated ? [] : [
      "color", "backgroundColor", "backgroundImage", "borderColor", "outlineColor", "boxShadow",
      "textDecorationColor", "fill", "stroke", "caretColor", "accentColor", "opacity",
    ].map((name) => `${name}: ${style[name]}`);
    return { element, part, colors: colors.join("; ") };
  }))"""
CHOOSE = """(theme) => {
  document.documentElement.dataset.bsTheme = theme;
  document.querySelector("meta[name=color-scheme]").content = theme;
}"""


def check_chosen_themes(page: Page) -> None:
    """A chosen theme has the same colors as the system's theme, which `check` found readable.

    `CHOOSE` changes all that a choice changes, see `test_a_chosen_theme_changes_nothing_but_the_color_scheme`.
    """
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    light = page.evaluate_handle(COLORS)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate_handle(COLORS)
    assert differences(light, dark) != [], "The themes have the same colors"
    page.evaluate(CHOOSE, "light")
    assert differences(light, page.evaluate_handle(COLORS)) == [], page.url
    page.emulate_media(color_scheme="light")
    page.evaluate(CHOOSE, "dark")
    assert differences(dark, page.evaluate_handle(COLORS)) == [], page.url


def kinds_of_elements(page: Page) -> set[str]:
    """The elements of a page by what style sheets select: their names, classes, roles and types."""
    attributes = """all => all.map((one) =>
      [one.localName, ...["class", "role", "type"].map((name) => one.getAttribute(name))].join(" "))"""
    return set(page.eval_on_selector_all("body *", attributes))


def differences(one: JSHandle, other: JSHandle) -> list[str]:
    """The first few differences."""
    unlike = """(one, other) => other
      .filter((style, number) => style.colors != one[number].colors)
      .slice(0, 3)
      .map((style) => `${style.element.cloneNode().outerHTML}${style.part} has ${style.colors}`)"""
    found: list[str] = one.evaluate(unlike, other)
    return found


#: A long tour of the pages is split into several, which run in parallel.
in_parts = pytest.mark.parametrize("part", [slice(start, None, 4) for start in range(4)], ids=range(4))


#: Files, parts of the Overview and of a service's page, and pages that are checked as dialogs.
NOT_VISITED = {
    *("accounts:audit_log_csv", "accounts:audit_log_json", "apikeys:configuration_file"),
    *("guide", "apikeys:connection", "apikeys:configuration"),
    *("accounts:change_role", "accounts:remove_member", "accounts:change_invitation", "accounts:withdraw_invitation"),
}


def test_every_page_that_an_owner_opens_is_visited(furnished: Account) -> None:
    visited = {resolve(urlsplit(path).path).view_name for path in [*pages_of(furnished), *pages_of_owner(furnished)]}
    opened = {name for name, answers in PAGES_OF_AN_ACCOUNT.items() if answers["owner"] == 200}
    assert opened - visited == NOT_VISITED


def test_pages_for_visitors(visit: Visit) -> None:
    visitor = visit()
    for path in SIGNED_OUT:
        visitor.goto(path)
        check_at_each_size(visitor.page)
    visitor.goto("/nothing/")
    check_at_each_size(visitor.page)
    visitor.forgive(404)


@in_parts
def test_pages_of_the_reference(part: slice, visit: Visit) -> None:
    """A page of each template at both sizes. Pages of resources differ only in their texts, and so do guides."""
    visitor = visit()
    of_each_template = {"", "?q=expires", "/errors", "/api-keys", "/guides/errors"}
    paths = ["", "?q=expires", *(f"/{path}" for path in all_paths() if path)]
    assert of_each_template <= {*paths}
    for path in paths[part]:
        visitor.goto(f"/v2/docs{path}")
        visitor.page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
        check_at_each_size(visitor.page, SIZES.values() if path in of_each_template else [SIZES["wide"]])


@in_parts
def test_pages_of_an_account_with_items(part: slice, visit: Visit, furnished: Account) -> None:
    visitor = visit().sign_in("owner@example.com")
    nothing_found = f"/accounts/{furnished.slug}/settings/api-keys/?q=nothing"
    compared: set[str] = set()
    for path in [*pages_of(furnished), *pages_of_owner(furnished), *OF_A_PERSON, nothing_found][part]:
        visitor.goto(path)
        check_at_each_size(visitor.page)
        if not (styled := kinds_of_elements(visitor.page)) <= compared:
            check_chosen_themes(visitor.page)
            compared |= styled


@in_parts
def test_pages_of_an_empty_account(part: slice, visit: Visit, cast: Cast) -> None:
    """Without the reference, whose pages an account's items hardly change."""
    visitor = visit().sign_in("stranger@example.com")
    for path in [path for path in pages_of(cast.elsewhere) if "/reference/" not in path][part]:
        visitor.goto(path)
        check_at_each_size(visitor.page)


@in_parts
def test_what_a_user_sees(part: slice, visit: Visit, furnished: Account) -> None:
    """The pages that a User may open, and one page that is refused, because all refusals look the same.

    Pages with the same content as an Owner's are left out: they differ in the sidebar, which the other pages have too.
    """
    visitor = visit().sign_in("user@example.com")
    owner, user = (Browser().as_(User.objects.get(email=f"{role}@example.com")) for role in ("owner", "user"))
    is_refusal_checked = False
    for path in [*pages_of(furnished)][part]:
        if content(owner.get(path)) == content(user.get(path)):
            continue
        if visitor.goto(path).status == 403:
            if is_refusal_checked:
                continue
            is_refusal_checked = True
        check_at_each_size(visitor.page)
    visitor.forgive(403)


def content(response: Any) -> str:
    main = re.search(r"<main.*</main>", response.content.decode(), re.DOTALL)
    assert main
    return without_varying_parts(main[0])


def test_the_dialogs_their_errors_and_the_reveal(visit: Visit, furnished: Account) -> None:
    visitor = visit(viewport=SIZES["narrow"]).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto(f"/accounts/{furnished.slug}/settings/api-keys/")
    page.get_by_role("button", name="New API Key", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check_at_each_size(page)
    page.get_by_text("More options").click()
    page.get_by_label("Allowed networks").fill("home")
    page.get_by_label("Selected services", exact=True).check()
    page.get_by_label("Waiting", exact=True).check()
    page.get_by_label("Paths of Waiting", exact=True).fill("reports")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("[aria-invalid=true]")).not_to_have_count(0)
    expect(page.get_by_label("Paths of Waiting", exact=True)).to_have_attribute("aria-invalid", "true")
    check_at_each_size(page)
    visitor.forgive(422)
    page.get_by_label("Paths of Waiting", exact=True).fill("/reports")
    page.get_by_label("API Key Name", exact=True).fill("A name")
    page.get_by_label("Write", exact=True).check()
    page.get_by_label("Allowed networks").fill("")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("code")).to_be_visible()
    check_at_each_size(page)
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_label("Actions for A name").click()
    check_at_each_size(page)
    page.get_by_role("link", name="Revoke A name").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check_at_each_size(page)


def test_every_dialog_that_a_page_opens(visit: Visit, furnished: Account) -> None:
    factories.make_invitation(furnished, "guest@example.com")
    visitor = visit(viewport=SIZES["narrow"]).sign_in("owner@example.com")
    page = visitor.page
    settings = f"/accounts/{furnished.slug}/settings"
    checked: dict[str, str] = {}
    service = f"/../services/{furnished.services.get(name='Waiting').id}/"
    key = f"/api-keys/{furnished.api_keys.get(name='Active').id}/"
    for path in ("/", "/api-keys/", key, "/members/", "/../services/", service):
        visitor.goto(settings + path)
        openers = page.locator("[hx-target='#dialog-content']:not(form)")
        for number in range(openers.count()):
            openers.nth(number).dispatch_event("click")
            expect(page.get_by_role("dialog")).to_be_visible()
            verb, _, item = page.locator("#dialog-title").inner_text().rstrip("?").partition(" ")
            text = page.locator("#dialog-content").inner_text().replace(item, "the item")
            text = re.sub(r"atk_\S+", "the key", text)
            if text not in checked:  # dialogs for several items may differ only in the items' names
                check_at_each_size(page)
                checked[text] = verb
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_be_hidden()

    verbs = set(checked.values())
    assert verbs >= {"Rotate", "Disable", "Revoke", "Invite", "Change", "Remove", "Withdraw"}
    assert verbs >= {"Keyboard", "Find", "New", "Delete"}


def test_forms_that_were_refused(visit: Visit, furnished: Account) -> None:
    visitor = visit(viewport=SIZES["narrow"]).sign_in("owner@example.com")
    page = visitor.page
    project = furnished.projects.get()
    start = f"/accounts/{furnished.slug}"
    for path, field, button in [
        (f"{start}/projects/new/", "Project name", "Create project"),
        (f"{start}/projects/{project.id}/deployments/new/", "Revision", "Record deployment"),
        (f"{start}/services/new/", "Service name", "Create service"),
        (f"{start}/services/{furnished.services.get(name='Waiting').id}/edit/", "Service name", "Save changes"),
        (f"{start}/settings/", "Account name", "Save changes"),
        (f"{start}/settings/api-keys/{furnished.api_keys.get(name='Active').id}/edit/", "API Key Name", "Save changes"),
        (f"{start}/settings/api-keys/{furnished.api_keys.get(name='Active').id}/", "Path", "Test request"),
        (f"{start}/settings/api-keys/import/", "Or paste it here", "Import API keys"),
        ("/auth/password/change/", "New Password", "Change password"),
    ]:
        visitor.goto(path)
        page.get_by_label(field, exact=True).fill("")
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator("[aria-invalid=true]").first).to_be_focused()
        check_at_each_size(page)
    visitor.forgive(422)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_of_operators_on_a_narrow_screen(theme: str, visit: Visit, browser: Browser, site: str) -> None:
    scheduler.create_rows()
    browser.as_(factories.make_operator())
    visitor = visit(viewport={"width": 390, "height": 800}, color_scheme=theme)
    visitor.page.context.add_cookies([{"name": "sessionid", "value": browser.cookies["sessionid"].value, "url": site}])
    visitor.goto("/admin/operations/")
    expect(visitor.page.get_by_role("button", name="Run Mail now")).to_be_attached()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_state_of_a_list_is_cut_off_on_a_narrow_screen(visit: Visit, furnished: Account) -> None:
    visitor = visit(viewport=SIZES["narrow"]).sign_in("owner@example.com")
    visitor.goto(f"/accounts/{furnished.slug}/settings/api-keys/")
    states = visitor.page.locator(".seg")
    assert states.evaluate("one => one.scrollWidth <= one.clientWidth")
    expect(states.get_by_role("link").last).to_have_text("Revoked or expired")


def test_the_menu_of_a_narrow_screen_needs_no_javascript(visit: Visit) -> None:
    visitor = visit(viewport=SIZES["narrow"], java_script_enabled=False).sign_in("owner@example.com")
    visitor.goto("/accounts/acme/")
    settings = visitor.page.get_by_role("link", name="Settings", exact=True)
    expect(settings).to_have_count(0)
    visitor.page.get_by_role("button", name="Menu").click()
    settings.click()

    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Account Settings")


def test_the_accounts_switcher_needs_no_javascript(visit: Visit, cast: Cast) -> None:
    factories.make_account("Second", cast.owner)
    visitor = visit(java_script_enabled=False).sign_in("owner@example.com")
    visitor.goto("/accounts/acme/")
    visitor.page.locator("summary", has_text="Acme").click()
    visitor.page.get_by_role("link", name="Second").click()

    expect(visitor.page.locator("summary", has_text="Account:")).to_contain_text("Second")


@pytest.mark.parametrize(
    ("system", "choice", "background"),
    [
        ("light", "System", "rgb(255, 255, 255)"),
        ("dark", "System", "rgb(15, 17, 22)"),
        ("light", "Dark", "rgb(15, 17, 22)"),
        ("dark", "Light", "rgb(255, 255, 255)"),
    ],
)
def test_the_theme_is_the_systems_or_the_chosen_one_without_javascript(
    system: str, choice: str, background: str, visit: Visit
) -> None:
    visitor = visit(color_scheme=system, java_script_enabled=False).sign_in("owner@example.com")
    visitor.goto("/profile/")
    visitor.page.get_by_label(choice, exact=True).check()
    visitor.page.get_by_role("button", name="Save appearance").click()

    expect(visitor.page.locator("body")).to_have_css("background-color", background)


def test_a_chosen_theme_changes_nothing_but_the_color_scheme(browser: Browser, furnished: Account) -> None:
    browser.as_(User.objects.get(email="owner@example.com"))
    scheme = '<meta name="color-scheme" content="{}">'

    for path in pages_of(furnished):
        browser.cookies.pop(cookies.name(Theme.COOKIE), None)
        of_the_system = without_varying_parts(browser.get(path).content.decode())
        assert scheme.format("light dark") in of_the_system
        for theme in ("light", "dark"):
            browser.cookies[cookies.name(Theme.COOKIE)] = theme
            chosen = of_the_system.replace('<html lang="en">', f'<html lang="en" data-bs-theme="{theme}">')
            chosen = chosen.replace(scheme.format("light dark"), scheme.format(theme))
            assert without_varying_parts(browser.get(path).content.decode()) == chosen, (path, theme)
