"""Ctrl K: the search for keys, services, projects, members and pages."""

from typing import Any

import pytest
from django.urls import reverse

from apikeys.models import Service
from apikeys.services import Issued
from tests import factories
from tests.conftest import Browser, Cast


@pytest.fixture
def key(cast: Cast) -> Issued:
    return factories.make_key(cast.account, "Nightly report")


@pytest.fixture
def service(cast: Cast) -> Service:
    return factories.make_service(cast.account)


def find(browser: Browser, typed: str, **headers: str) -> Any:
    return browser.post(reverse("find", args=["acme"]), {"q": typed}, headers=headers)


def found(browser: Browser, typed: str) -> list[tuple[str, str]]:
    """The results from the account. Operations of the API come after them."""
    results = [(one.kind, one.name) for one in find(browser, typed).context["found"]]
    return [one for one in results if one[0] != "API operation"]


def test_items_are_found_by_name_id_mask_and_the_whole_key(
    cast: Cast, browser: Browser, key: Issued, service: Service
) -> None:
    project = factories.make_project(cast.account, "Web shop")
    kept = factories.make_project(cast.account, "Old shop", kept_id="0123456789abcdef01234567")
    browser.as_(cast.owner)
    report = ("API key", "Nightly report")
    for typed in ("nightly", key.api_key.id, key.api_key.mask, key.secret, f" {key.secret} "):
        assert found(browser, typed) == [report], typed
    assert found(browser, service.id) == [("Service", "Reports API")]
    assert found(browser, "REPORT") == [report, ("Service", "Reports API")]
    assert {*found(browser, "shop")} == {("Project", "Web shop"), ("Project", "Old shop")}
    assert found(browser, project.public_id) == [("Project", "Web shop")]
    assert found(browser, kept.public_id) == [("Project", "Old shop")]
    assert [kind for kind, _ in found(browser, "admin@example.com")] == ["Member"]
    assert found(browser, "servi") == [("Page", "Services")]
    assert found(browser, "nothing of the kind") == []
    assert found(browser, "\0") == found(browser, "")


def test_each_result_leads_to_a_page(cast: Cast, browser: Browser, key: Issued, service: Service) -> None:
    factories.make_project(cast.account, "e")
    browser.as_(cast.owner)
    results = [*find(browser, "").context["found"], *find(browser, "e").context["found"]]
    assert {one.kind for one in results} == {"Page", "API key", "Service", "Project", "Member", "API operation"}
    for one in results:
        assert browser.get(one.url).status_code == 200


def test_a_user_finds_no_keys_and_no_member_finds_items_of_another_account(
    cast: Cast, browser: Browser, key: Issued, service: Service
) -> None:
    theirs = factories.make_key(cast.elsewhere, "Secret report")
    factories.make_service(cast.elsewhere, "Secret API")
    factories.make_service(cast.elsewhere, "Weather API", shared=True)
    browser.as_(cast.user)
    assert found(browser, "report") == [("Service", "Reports API")]
    assert found(browser, key.secret) == []
    assert ("Page", "API Keys") not in found(browser, "")
    browser.as_(cast.owner)
    assert found(browser, "secret") == []
    assert found(browser, theirs.secret) == []
    assert found(browser, "weather") == [("Service", "Weather API")]
    assert found(browser, "stranger@example.com") == []


def test_a_key_that_was_typed_is_not_in_the_answer(cast: Cast, browser: Browser, key: Issued) -> None:
    response = find(browser.as_(cast.owner), key.secret)
    assert "Nightly report" in response.content.decode()
    assert key.secret not in response.content.decode()
    assert 'value="nightly"' in find(browser, "nightly").content.decode()


def test_htmx_gets_only_the_results(cast: Cast, browser: Browser, key: Issued) -> None:
    headers = {"HX-Request": "true", "HX-Target": "found"}
    part = find(browser.as_(cast.owner), "nightly", **headers).content.decode()
    assert "Nightly report" in part
    assert "<form" not in part
