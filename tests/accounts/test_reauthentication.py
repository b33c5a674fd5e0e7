"""Dangerous changes ask for the password again after a while, other settings don't."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from django.core.cache import cache
from django.urls import reverse

from accounts.models import Account, AuditEvent, Membership
from accounts.policy import Role
from accounts.sessions import SIGNED_IN_AT
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD

REAUTHENTICATE = reverse("account_reauthenticate")


@pytest.fixture(autouse=True)
def _clear_limits() -> None:
    cache.clear()


def page(cast: Cast, name: str, *args: str) -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug, *args])


def member(cast: Cast, person: Any) -> Membership:
    return Membership.objects.get(account=cast.account, user=person)


def forms(cast: Cast) -> dict[str, tuple[str, dict[str, str]]]:
    """The path and the fields of each form. The Admin sends them, and the account is offered to the Admin."""
    return {
        "accept_transfer": (page(cast, "accept_transfer"), {}),
        "key_policy": (page(cast, "key_policy"), {"max_key_lifetime_days": "90", "accepts_body": "on"}),
        "remove_member": (page(cast, "remove_member", member(cast, cast.user).id), {}),
        "two_factor": (page(cast, "two_factor"), {"requires_two_factor": "1"}),
    }


FORMS = ["accept_transfer", "key_policy", "remove_member", "two_factor"]


@pytest.fixture
def stale(cast: Cast, browser: Browser) -> Browser:
    """The Admin's browser, long after they signed in."""
    Account.objects.filter(pk=cast.account.pk).update(offered_to=member(cast, cast.admin))
    browser.as_(cast.admin)
    session = browser.session
    session[SIGNED_IN_AT] -= 31 * 60
    session.save()
    return browser


def enter_password(browser: Browser, asked_at: str) -> str:
    """Enter the password on the page to which the response redirects. Returns the path to which that page redirects."""
    form = browser.get(asked_at).content.decode()
    back = re.findall(r'name="next" value="([^"]+)"', form)[0].replace("&amp;", "&")
    return browser.post(REAUTHENTICATE, {"password": PASSWORD, "next": back}).headers["Location"]


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", FORMS)
def test_the_password_is_asked_for_again_before_anything_happens(
    name: str, method: str, htmx: bool, cast: Cast, stale: Browser
) -> None:
    address, fields = forms(cast)[name]
    before = AuditEvent.objects.count()
    headers = {"HX-Request": "true"} if htmx else {}
    answer = getattr(stale, method)(address, fields if method == "post" else None, headers=headers)

    assert answer.headers["HX-Redirect" if htmx else "Location"] == f"{REAUTHENTICATE}?next={quote(address, safe='')}"
    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize("name", FORMS)
def test_entering_the_password_leads_back_to_the_page(name: str, cast: Cast, stale: Browser) -> None:
    address, fields = forms(cast)[name]
    back = enter_password(stale, stale.post(address, fields).headers["Location"])
    shown = stale.get(back)
    before = AuditEvent.objects.count()
    done = stale.post(back, fields)

    assert back == address
    assert shown.status_code == 200
    assert f'action="{address}"' in shown.content.decode()
    assert done.status_code == 302
    assert AuditEvent.objects.count() > before


def test_the_unsaved_key_policy_is_filled_in_again(cast: Cast, stale: Browser) -> None:
    sent = {"max_key_lifetime_days": "90", "revoke_exposed_keys": "on"}
    back = enter_password(stale, stale.post(page(cast, "key_policy"), sent).headers["Location"])
    form = stale.get(back).content.decode()
    again = stale.get(back).content.decode()

    def checked(html: str) -> list[str]:
        boxes = re.findall(r'<input type="checkbox"[^>]*>', html)
        return [name for box in boxes if "checked" in box for name in re.findall(r'name="([^"]+)"', box)]

    assert 'name="max_key_lifetime_days" value="90"' in form
    assert checked(form) == ["revoke_exposed_keys"]
    assert "Nothing was saved yet: check the form and send it again." in form
    assert "Nothing was saved yet" not in again
    assert checked(again) == ["accepts_query", "accepts_body"]
    assert Account.objects.get(pk=cast.account.pk).max_key_lifetime_days is None


@pytest.mark.parametrize("name", ["general", "members", "invite"])
def test_reading_needs_no_password_but_inviting_does(name: str, cast: Cast, stale: Browser) -> None:
    assert stale.get(page(cast, name)).status_code == (302 if name == "invite" else 200)


def test_the_account_is_renamed_without_the_password(cast: Cast, stale: Browser) -> None:
    stale.post(page(cast, "general"), {"name": "Acme Ltd"})

    assert Account.objects.get(pk=cast.account.pk).name == "Acme Ltd"


def test_an_offer_is_declined_without_the_password(cast: Cast, stale: Browser) -> None:
    stale.post(page(cast, "withdraw_transfer"))

    assert Account.objects.get(pk=cast.account.pk).offered_to is None
    assert member(cast, cast.owner).role == Role.OWNER
