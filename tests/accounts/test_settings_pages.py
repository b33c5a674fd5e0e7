"""Settings: General, Members, Audit Log, Profile."""

import re

import pytest
from django.urls import reverse

from accounts import cookies
from accounts.forms import Theme
from accounts.models import AuditEvent, User
from accounts.policy import Role
from tests import factories
from tests.conftest import Browser, Cast

PROFILE = reverse("accounts:profile")
APPEARANCE = reverse("accounts:appearance")
KEYBOARD = reverse("accounts:keyboard")


def tab(cast: Cast, name: str) -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug])


def links(page: str) -> list[str]:
    """The texts of a page's links."""
    return [re.sub(r"<[^>]+>", "", text).strip() for text in re.findall(r"<a [^>]*>(.*?)</a>", page, re.DOTALL)]


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_owner_and_admin_see_all_four_tabs(role: str, cast: Cast, browser: Browser) -> None:
    names = links(browser.as_(getattr(cast, role)).get(tab(cast, "general")).content.decode())

    assert [names.count(name) for name in ("General", "Members", "API Keys", "Audit Log")] == [1, 1, 1, 1]


def test_a_user_sees_no_link_to_keys_or_the_audit_log(cast: Cast, browser: Browser) -> None:
    names = links(browser.as_(cast.user).get(tab(cast, "general")).content.decode())

    assert "Members" in names
    assert "API Keys" not in names
    assert "Audit Log" not in names


@pytest.mark.parametrize("role", ["owner", "admin", "user"])
def test_each_page_has_one_link_of_each_name(role: str, cast: Cast, browser: Browser) -> None:
    browser.as_(getattr(cast, role))
    overview = links(browser.get(reverse("overview", args=[cast.account.slug])).content.decode())
    settings = links(browser.get(tab(cast, "general")).content.decode())

    assert overview.count("Settings") == 1
    assert "Account Settings" not in overview
    assert settings.count("Account Settings") == 1


def test_the_account_is_renamed_and_keeps_its_slug(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.admin).post(tab(cast, "general"), {"name": "Acme Ltd"}, follow=True)

    cast.account.refresh_from_db()
    assert (cast.account.name, cast.account.slug) == ("Acme Ltd", "acme")
    assert "Changes saved" in response.content.decode()
    assert AuditEvent.objects.for_account(cast.account).filter(event="account.changed").count() == 1


def test_an_empty_account_name_is_refused(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.owner).post(tab(cast, "general"), {"name": " "})

    cast.account.refresh_from_db()
    assert response.status_code == 422
    assert cast.account.name == "Acme"


def test_a_user_sees_the_account_without_a_form(cast: Cast, browser: Browser) -> None:
    page = browser.as_(cast.user).get(tab(cast, "general")).content.decode()

    assert "Acme" in page
    assert 'name="name"' not in page


# Key policy


def test_the_key_policy_is_saved_and_recorded(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.admin).post(
        tab(cast, "key_policy"), {"max_key_lifetime_days": "90", "revoke_exposed_keys": "on"}, follow=True
    )

    cast.account.refresh_from_db()
    assert "Key policy saved" in response.content.decode()
    assert (cast.account.max_key_lifetime_days, cast.account.revoke_exposed_keys) == (90, True)
    assert (cast.account.accepts_query, cast.account.accepts_body) == (False, False)
    assert cast.account.name == "Acme"
    assert AuditEvent.objects.get(event="account.changed").changes["max_key_lifetime_days"] == [None, 90]


@pytest.mark.parametrize("days", ["0", "-1", "3651", "many"])
def test_an_invalid_maximum_lifetime_is_refused_at_its_field(days: str, cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.owner).post(tab(cast, "key_policy"), {"max_key_lifetime_days": days})

    cast.account.refresh_from_db()
    assert response.status_code == 422
    assert 'id="id_max_key_lifetime_days_error"' in response.content.decode()
    assert 'aria-current="page">General' in response.content.decode()
    assert cast.account.max_key_lifetime_days is None


def test_a_user_cannot_see_or_change_the_key_policy(cast: Cast, browser: Browser) -> None:
    page = browser.as_(cast.user).get(tab(cast, "general")).content.decode()

    assert "Key policy" not in page
    assert browser.post(tab(cast, "key_policy"), {"max_key_lifetime_days": "1"}).status_code == 403


def test_members_are_listed_with_their_roles(cast: Cast, browser: Browser) -> None:
    page = browser.as_(cast.user).get(tab(cast, "members")).content.decode()

    assert [page.count(f"{name}@example.com") > 0 for name in ("owner", "admin", "user", "stranger")] == [
        True,
        True,
        True,
        False,
    ]
    assert page.count(">You<") == 1


@pytest.mark.parametrize("name", ["members", "audit_log"])
def test_a_page_of_a_list_has_twenty_five_rows(name: str, cast: Cast, browser: Browser) -> None:
    for number in range(30):
        factories.make_member(cast.account, Role.USER, f"more{number}@example.com")
        factories.make_key(cast.account, f"key {number}")

    assert len(browser.as_(cast.owner).get(tab(cast, name)).context["page"]) == 25


def test_the_audit_log_reads_as_sentences(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner).post(tab(cast, "general"), {"name": "Acme Ltd"})
    page = re.sub(r"<[^>]+>", "", browser.get(tab(cast, "audit_log")).content.decode())

    assert "owner@example.com changed the settings of Acme Ltd" in page
    assert re.search(r"Name:\s+Acme → Acme Ltd", page)


def test_a_name_is_saved_on_the_profile(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.user).post(PROFILE, {"name": "Uma"}, follow=True)

    assert User.objects.get(pk=cast.user.pk).name == "Uma"
    assert "Changes saved" in response.content.decode()


@pytest.mark.parametrize(
    ("choice", "attribute"), [("dark", 'data-bs-theme="dark"'), ("light", 'data-bs-theme="light"')]
)
def test_a_chosen_theme_is_in_the_html(choice: str, attribute: str, cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner).post(APPEARANCE, {"theme": choice})

    assert attribute in browser.get(PROFILE).content.decode()
    assert browser.cookies[cookies.name(Theme.COOKIE)]["httponly"]
    assert browser.cookies[cookies.name(Theme.COOKIE)]["secure"]


def test_the_systems_theme_is_the_default_and_can_be_chosen_again(cast: Cast, browser: Browser) -> None:
    before = browser.as_(cast.owner).get(PROFILE).content.decode()
    browser.post(APPEARANCE, {"theme": "dark"})
    browser.post(APPEARANCE, {"theme": "system"})

    assert "data-bs-theme" not in before
    assert "data-bs-theme" not in browser.get(PROFILE).content.decode()


def test_the_appearance_form_has_the_path_of_the_previous_release(cast: Cast, browser: Browser) -> None:
    """During an upgrade, one server may render the form and another one receive it."""
    page = browser.as_(cast.owner).get(PROFILE).content.decode()
    browser.post("/profile/look/", {"theme": "dark"})

    assert 'action="/profile/look/"' in page
    assert 'data-bs-theme="dark"' in browser.get(PROFILE).content.decode()


def test_an_unknown_theme_is_ignored(cast: Cast, browser: Browser) -> None:
    browser.cookies[cookies.name(Theme.COOKIE)] = '"><script>'

    assert "data-bs-theme" not in browser.as_(cast.owner).get(PROFILE).content.decode()


def test_single_key_shortcuts_are_on_until_they_are_switched_off(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)

    def has_shortcuts() -> bool:
        return "data-shortcuts" in browser.get(PROFILE).content.decode()

    assert has_shortcuts()
    browser.post(APPEARANCE, {"theme": "system"})
    assert not has_shortcuts()
    browser.post(APPEARANCE, {"theme": "system", "shortcuts": "on"})
    assert has_shortcuts()


def test_the_shortcuts_are_a_page_and_a_dialog(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.user)

    assert "<h1>Keyboard shortcuts</h1>" in browser.get(KEYBOARD).content.decode()
    assert '<h2 id="dialog-title">' in browser.get(KEYBOARD, headers={"HX-Request": "true"}).content.decode()


def test_get_changes_no_theme(cast: Cast, browser: Browser) -> None:
    assert browser.as_(cast.owner).get(APPEARANCE, {"theme": "dark"}).status_code == 405
