"""What weighs most asks for the password again when it was given long ago, and other settings don't."""

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
def _no_attempts_from_before() -> None:
    cache.clear()


def page(cast: Cast, name: str, *args: str) -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug, *args])


def member(cast: Cast, person: Any) -> Membership:
    return Membership.objects.get(account=cast.account, user=person)


def deeds(cast: Cast) -> dict[str, tuple[str, dict[str, str]]]:
    """The address and the fields of each, for the Admin, to whom the account is offered."""
    return {
        "accept_transfer": (page(cast, "accept_transfer"), {}),
        "key_policy": (page(cast, "key_policy"), {"max_key_lifetime_days": "90", "accepts_body": "on"}),
        "remove_member": (page(cast, "remove_member", member(cast, cast.user).id), {}),
        "two_factor": (page(cast, "two_factor"), {"requires_two_factor": "1"}),
    }


DEEDS = ["accept_transfer", "key_policy", "remove_member", "two_factor"]


@pytest.fixture
def stale(cast: Cast, browser: Browser) -> Browser:
    """The Admin's browser, long after they signed in."""
    Account.objects.filter(pk=cast.account.pk).update(offered_to=member(cast, cast.admin))
    browser.as_(cast.admin)
    session = browser.session
    session[SIGNED_IN_AT] -= 31 * 60
    session.save()
    return browser


def give_password(browser: Browser, asked_at: str) -> str:
    """Give it where we are led, and get where that leads."""
    form = browser.get(asked_at).content.decode()
    back = re.findall(r'name="next" value="([^"]+)"', form)[0].replace("&amp;", "&")
    return browser.post(REAUTHENTICATE, {"password": PASSWORD, "next": back}).headers["Location"]


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("deed", DEEDS)
def test_it_asks_again_and_does_nothing_before(deed: str, method: str, htmx: bool, cast: Cast, stale: Browser) -> None:
    address, fields = deeds(cast)[deed]
    before = AuditEvent.objects.count()
    headers = {"HX-Request": "true"} if htmx else {}
    answer = getattr(stale, method)(address, fields if method == "post" else None, headers=headers)

    assert answer.headers["HX-Redirect" if htmx else "Location"] == f"{REAUTHENTICATE}?next={quote(address, safe='')}"
    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize("deed", DEEDS)
def test_the_password_leads_back_to_a_page_that_does_it(deed: str, cast: Cast, stale: Browser) -> None:
    address, fields = deeds(cast)[deed]
    back = give_password(stale, stale.post(address, fields).headers["Location"])
    shown = stale.get(back)
    before = AuditEvent.objects.count()
    done = stale.post(back, fields)

    assert back == address
    assert shown.status_code == 200
    assert f'action="{address}"' in shown.content.decode()
    assert done.status_code == 302
    assert AuditEvent.objects.count() > before


def test_the_key_policy_that_was_typed_comes_back(cast: Cast, stale: Browser) -> None:
    sent = {"max_key_lifetime_days": "90", "revoke_exposed_keys": "on"}
    back = give_password(stale, stale.post(page(cast, "key_policy"), sent).headers["Location"])
    form = stale.get(back).content.decode()
    again = stale.get(back).content.decode()

    def ticked(html: str) -> list[str]:
        boxes = re.findall(r'<input type="checkbox"[^>]*>', html)
        return [name for box in boxes if "checked" in box for name in re.findall(r'name="([^"]+)"', box)]

    assert 'name="max_key_lifetime_days" value="90"' in form
    assert ticked(form) == ["revoke_exposed_keys"]
    assert "Nothing was saved yet: check the form and send it again." in form
    assert "Nothing was saved yet" not in again
    assert ticked(again) == ["accepts_query", "accepts_body"]
    assert Account.objects.get(pk=cast.account.pk).max_key_lifetime_days is None


@pytest.mark.parametrize("name", ["general", "members", "invite"])
def test_looking_is_not_asked_about_but_where_it_leads_to_more_power(name: str, cast: Cast, stale: Browser) -> None:
    assert stale.get(page(cast, name)).status_code == (302 if name == "invite" else 200)


def test_the_name_of_the_account_is_changed_without_asking(cast: Cast, stale: Browser) -> None:
    stale.post(page(cast, "general"), {"name": "Acme Ltd"})

    assert Account.objects.get(pk=cast.account.pk).name == "Acme Ltd"


def test_declining_an_offer_is_not_asked_about(cast: Cast, stale: Browser) -> None:
    stale.post(page(cast, "withdraw_transfer"))

    assert Account.objects.get(pk=cast.account.pk).offered_to is None
    assert member(cast, cast.owner).role == Role.OWNER
