"""The API reference in the dashboard: examples of the member's account."""

import re

import pytest
from django.urls import reverse
from pytest_django import Settings

from accounts.models import Membership
from tests import factories
from tests.conftest import Browser, Cast

IDS = re.compile(r"\b[a-z]{3}_[0-9A-Za-z]{16}\b")


def reference(cast: Cast, resource: str) -> str:
    return reverse("reference_resource", args=[cast.account.slug, resource])


def test_examples_name_the_newest_items_that_the_member_may_see(cast: Cast, browser: Browser) -> None:
    project = factories.make_project(cast.account, "Web shop of Acme")
    service = factories.make_service(cast.account, "Reports of Acme")
    api_key = factories.make_key(cast.account, "Nightly").api_key
    others = Membership.objects.filter(account=cast.account).exclude(user=cast.owner)
    browser.as_(cast.owner)

    assert f"/v2/projects/{project.id}" in (shown := browser.get(reference(cast, "projects")).content.decode())
    assert "<b>Web shop of Acme</b>" in shown
    assert f"/v2/services/{service.id}" in browser.get(reference(cast, "services")).content.decode()
    assert f"/v2/api-keys/{api_key.id}" in (shown := browser.get(reference(cast, "api-keys")).content.decode())
    assert service.id in shown
    shown = browser.get(reference(cast, "members")).content.decode()
    assert [one for one in others if f"/v2/members/{one.id}" in shown]


def test_a_user_sees_no_ids_of_keys_and_members_but_those_of_the_public_reference(cast: Cast, browser: Browser) -> None:
    factories.make_key(cast.account)
    factories.make_invitation(cast.account)
    browser.as_(cast.user)
    for resource in ("api-keys", "members", "invitations", "usage"):
        shown = browser.get(reference(cast, resource)).content.decode()
        public = browser.get(f"/v2/docs/{resource}").content.decode()

        assert {*IDS.findall(shown)} == {*IDS.findall(public)}
        assert "Replace what is <mark>marked</mark> with your own." in shown or resource == "usage"


def test_examples_name_nothing_of_another_account(cast: Cast, browser: Browser) -> None:
    project = factories.make_project(cast.elsewhere, "Secret project")
    factories.make_project(cast.account, "Web shop")

    shown = browser.as_(cast.owner).get(reference(cast, "projects")).content.decode()

    assert project.id not in shown
    assert "Secret project" not in shown


def test_a_name_with_quotes_is_quoted_in_every_language(cast: Cast, browser: Browser) -> None:
    factories.make_project(cast.account, "it's <b>")

    assert "it&#x27;s &lt;b&gt;" in browser.as_(cast.user).get(reference(cast, "projects")).content.decode()


@pytest.mark.parametrize("name", ["nothing", "guides"])
def test_an_unknown_page_is_a_404(name: str, cast: Cast, browser: Browser) -> None:
    assert browser.as_(cast.user).get(reference(cast, name)).status_code == 404


def test_links_stay_in_the_dashboard(cast: Cast, browser: Browser) -> None:
    start = reverse("reference", args=[cast.account.slug])
    found = browser.as_(cast.user).get(start, {"q": "key-revoked"}).content.decode()

    assert f'href="{start}errors/#key-revoked"' in found
    assert "/v2/docs" not in found


def test_ctrl_k_finds_operations(cast: Cast, browser: Browser) -> None:
    found = browser.as_(cast.user).post(reverse("find", args=[cast.account.slug]), {"q": "create a project"})

    assert f"{reference(cast, 'projects')}#create-project" in found.content.decode()


def test_the_sidebar_has_no_link_while_the_reference_is_switched_off(
    cast: Cast, browser: Browser, settings: Settings
) -> None:
    overview = reverse("overview", args=[cast.account.slug])
    assert "API reference" in browser.as_(cast.user).get(overview).content.decode()
    settings.API_DOCS = False

    assert "API reference" not in browser.get(overview).content.decode()
