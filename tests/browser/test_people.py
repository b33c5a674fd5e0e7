"""Invitations, sign-in, two-factor authentication, passkeys and ownership, in a real Chromium."""

import re
import time
from collections.abc import Callable

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from playwright.sync_api import Page, expect
from pytest_django import Settings

from accounts.models import Account, Membership, User
from accounts.policy import Role
from tests import factories
from tests.conftest import Cast
from tests.factories import PASSWORD
from tests.mail import delivered

from .conftest import Visitor
from .test_look import check_at_each_size

Visit = Callable[..., Visitor]

WITH_AND_WITHOUT = pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no-javascript"])


def code(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def by_name(visitor: Visitor) -> Visitor:
    """With a host name, because a passkey is bound to one and not to an IP address."""
    visitor.site = visitor.site.replace("127.0.0.1", "localhost")
    return visitor


def with_authenticator(page: Page) -> None:
    """Attach a virtual authenticator that creates passkeys and always confirms."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/auth/login/**")


# Invitations ------------------------------------------------------------------------------------


@WITH_AND_WITHOUT
def test_a_newcomer_accepts_an_invitation_and_signs_in(javascript: bool, visit: Visit, cast: Cast) -> None:
    owner = visit(java_script_enabled=javascript).sign_in("owner@example.com").page
    owner.goto("/accounts/acme/settings/members/")
    owner.get_by_role("link", name="Invite member", exact=True).click()
    owner.get_by_label("E-mail", exact=True).fill("new@example.com")
    owner.get_by_role("radio", name="Admin", exact=True).check()
    owner.get_by_role("button", name="Invite member", exact=True).click()
    expect(owner.get_by_role("status")).to_contain_text("new@example.com invited")
    link = re.search(r"http\S+/invitations/\S+/", delivered()[-1].body)
    assert link

    newcomer = visit(java_script_enabled=javascript)
    page = newcomer.page
    page.goto(link[0])
    expect(page.get_by_role("heading", name="Join Acme")).to_be_visible()
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    newcomer.forgive(422)
    page.get_by_label("Your name").fill("Nina")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Accept", exact=True).click()
    page.wait_for_url("**/accounts/acme/")
    assert Membership.objects.get(account=cast.account, user__email="new@example.com").role == Role.ADMIN

    page.goto(link[0])
    expect(page.get_by_role("heading", name="This invitation was already accepted")).to_be_visible()
    newcomer.forgive(410)


@WITH_AND_WITHOUT
def test_the_wrong_person_signs_out_and_the_right_one_accepts(javascript: bool, visit: Visit, cast: Cast) -> None:
    sent = factories.make_invitation(cast.account, "stranger@example.com")
    visitor = visit(java_script_enabled=javascript).sign_in("user@example.com")
    page = visitor.page
    visitor.goto(f"/invitations/{sent.token}/")
    page.get_by_role("button", name="Sign out and continue").click()
    page.get_by_role("link", name="Sign in").click()
    # Chromium complains of `autofocus` where another field has the focus already.
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.get_by_label("E-mail").fill("stranger@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Accept", exact=True).click()
    page.wait_for_url("**/accounts/acme/")
    visitor.forgive(403)
    assert Membership.objects.get(account=cast.account, user=cast.stranger).role == Role.USER


# Members and ownership --------------------------------------------------------------------------


@WITH_AND_WITHOUT
def test_a_role_is_changed_and_a_member_removed(javascript: bool, visit: Visit, cast: Cast) -> None:
    visitor = visit(java_script_enabled=javascript).sign_in("admin@example.com")
    page = visitor.page
    visitor.goto("/accounts/acme/settings/members/")
    page.get_by_role("link", name="Change role of user@example.com").click()
    page.get_by_role("radio", name="Admin", exact=True).check()
    page.get_by_role("button", name="Change role", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Role of user@example.com changed to Admin")
    page.get_by_role("link", name="Remove user@example.com").click()
    page.get_by_role("button", name="Remove member", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("user@example.com removed from Acme")
    assert not Membership.objects.filter(account=cast.account, user=cast.user).exists()


@WITH_AND_WITHOUT
def test_the_account_is_transferred_then_closed_and_reopened(javascript: bool, visit: Visit, cast: Cast) -> None:
    owner = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    owner.goto("/accounts/acme/settings/")
    owner.page.get_by_role("link", name="Transfer account", exact=True).click()
    owner.page.get_by_label("New Owner").select_option(label="admin@example.com (Admin)")
    owner.page.get_by_label("Account name").fill("Acme")
    owner.page.get_by_role("button", name="Offer ownership").click()
    expect(owner.page.get_by_role("status")).to_contain_text("Ownership offered to admin@example.com")

    new_owner = visit(java_script_enabled=javascript).sign_in("admin@example.com")
    page = new_owner.page
    new_owner.goto("/accounts/acme/")
    page.get_by_role("button", name="Accept ownership", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("You are now the Owner of Acme.")
    page.get_by_role("link", name="Close account", exact=True).click()
    page.get_by_label("Account name").fill("Acme")
    page.get_by_role("button", name="Close account").click()
    page.wait_for_url("**/accounts/acme/closed/")
    page.get_by_role("button", name="Reopen account").click()
    page.wait_for_url("**/accounts/acme/")
    assert Account.objects.get(pk=cast.account.pk).closed_at is None


# Two-factor -------------------------------------------------------------------------------------


@WITH_AND_WITHOUT
def test_an_authenticator_app_is_set_up_from_the_secret_shown_and_signs_in(javascript: bool, visit: Visit) -> None:
    visitor = visit(java_script_enabled=javascript).sign_in("owner@example.com")
    page = visitor.page
    visitor.goto("/profile/")
    page.get_by_role("link", name="Set up two-factor authentication").click()
    page.get_by_role("link", name="Add app").click()
    assert page.locator("img.qr").evaluate("image => image.complete && image.naturalWidth > 0") if javascript else True
    secret = page.locator("#secret").inner_text()
    page.get_by_label("Code").fill(code(secret))
    page.get_by_role("button", name="Add app").click()
    recovery = page.locator("#codes").inner_text().split()
    assert len(recovery) == 10
    sign_out(page)
    cache.clear()

    for answer in (code(secret), recovery[0]):
        page.get_by_label("E-mail").fill("owner@example.com")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Code").fill(answer)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/accounts/acme/")
        sign_out(page)


def test_a_passkey_is_created_and_signs_in_alone_and_as_the_second_factor(visit: Visit) -> None:
    visitor = by_name(visit()).sign_in("owner@example.com")
    page = visitor.page
    with_authenticator(page)
    visitor.goto("/auth/2fa/")
    page.get_by_role("link", name="Add passkey").click()
    page.get_by_label("Name", exact=True).fill("Laptop")
    page.get_by_role("button", name="Add passkey", exact=True).click()
    page.wait_for_url("**/recovery-codes/**")
    visitor.goto("/auth/2fa/webauthn/")
    expect(page.locator("main b")).to_have_text(["Laptop"])
    expect(page.get_by_text("Second factor only")).to_have_count(0)

    sign_out(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/accounts/acme/")

    sign_out(page)
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/2fa/authenticate/")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/accounts/acme/")


def test_a_cancelled_passkey_is_explained(visit: Visit) -> None:
    visitor = by_name(visit())
    visitor.goto("/auth/login/")
    refuse = "navigator.credentials.get = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    visitor.page.evaluate(f"() => {{ {refuse} }}")
    visitor.page.get_by_role("button", name="Use a passkey").click()

    expect(visitor.page.get_by_role("status")).to_contain_text("No passkey was received.")


def test_without_javascript_no_passkey_is_offered(visit: Visit) -> None:
    visitor = visit(java_script_enabled=False).sign_in("owner@example.com")
    visitor.goto("/auth/2fa/webauthn/add/")
    expect(visitor.page.get_by_text("Passkeys need JavaScript")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Add passkey", exact=True)).to_be_hidden()
    sign_out(visitor.page)
    expect(visitor.page.get_by_role("button", name="Use a passkey")).to_be_hidden()


def test_an_account_that_requires_two_factor_is_accessible_once_it_is_set_up(visit: Visit, cast: Cast) -> None:
    Account.objects.filter(pk=cast.account.pk).update(requires_two_factor=True)
    visitor = visit()
    page = visitor.page
    visitor.goto("/auth/login/?next=/accounts/acme/settings/members/")
    page.get_by_label("E-mail").fill("admin@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("main")).to_contain_text("Acme requires two-factor authentication for Owner and Admins")
    page.get_by_role("link", name="Add app").click()
    page.get_by_label("Code").fill(code(page.locator("#secret").inner_text()))
    page.get_by_role("button", name="Add app").click()
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name="Go to Acme").click()
    page.wait_for_url("**/accounts/acme/")


# Accessibility ----------------------------------------------------------------------------------


def test_pages_about_people(visit: Visit, cast: Cast, settings: Settings) -> None:
    """Those that `test_pages_of_an_account_with_items` doesn't open in the same state."""
    settings.SIGNUP_OPEN = True
    member = Membership.objects.get(account=cast.account, user=cast.user).id
    guest = factories.make_invitation(cast.account, "a.guest.with.a.long.name@subsidiary.example.com").invitation.id
    Account.objects.filter(pk=cast.account.pk).update(offered_to=member)
    visitor = visit().sign_in("owner@example.com")
    tab = "/accounts/acme/settings/"
    for path in [
        "/accounts/",
        "/accounts/new/",
        tab,
        *(
            f"{tab}members/{page}/"
            for page in (
                f"{member}/role",
                f"{member}/remove",
                f"invitations/{guest}/role",
                f"invitations/{guest}/withdraw",
            )
        ),
        f"{tab}transfer/",
        "/auth/2fa/",
        "/auth/2fa/totp/activate/",
        "/auth/2fa/webauthn/",
        "/auth/2fa/webauthn/add/",
        "/auth/sessions/",
    ]:
        visitor.goto(path)
        check_at_each_size(visitor.page)
    offered = visit().sign_in("user@example.com")
    offered.goto(f"{tab}transfer/accept/")
    check_at_each_size(offered.page)
    visitor.goto(f"{tab}members/")
    visitor.page.get_by_text("What each role can do").first.click()
    check_at_each_size(visitor.page)
    visitor.page.get_by_role("link", name="Invite member", exact=True).click()
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    visitor.page.get_by_role("button", name="Invite member").click()
    expect(visitor.page.locator("[aria-invalid=true]")).not_to_have_count(0)
    check_at_each_size(visitor.page)
    visitor.forgive(422)


def test_pages_of_a_person_with_two_factor(visit: Visit) -> None:
    visitor = visit().sign_in("user@example.com")
    page = visitor.page
    visitor.goto("/auth/2fa/totp/activate/")
    page.get_by_label("Code").fill("1")
    page.get_by_role("button", name="Add app").click()
    expect(page.get_by_text("This code is incorrect or has expired. Enter a new one.")).to_be_visible()
    check_at_each_size(page)
    secret = page.locator("#secret").inner_text()
    page.get_by_label("Code").fill(code(secret))
    page.get_by_role("button", name="Add app").click()
    page.wait_for_url("**/recovery-codes/")
    check_at_each_size(page)
    for path in ("", "totp/deactivate/", "recovery-codes/generate/", "reauthenticate/"):
        visitor.goto(f"/auth/2fa/{path}")
        check_at_each_size(page)
    visitor.goto("/accounts/acme/settings/members/leave/")
    check_at_each_size(page)
    other = visit()
    other.goto("/auth/login/")
    other.page.get_by_label("E-mail").fill("user@example.com")
    other.page.get_by_label("Password", exact=True).fill(PASSWORD)
    other.page.get_by_role("button", name="Sign in").click()
    other.page.wait_for_url("**/2fa/authenticate/")
    check_at_each_size(other.page)


def test_every_state_of_an_invitation_and_of_an_account(visit: Visit, cast: Cast) -> None:
    pending = factories.make_invitation(cast.account, "new@example.com")
    known = factories.make_invitation(cast.account, "stranger@example.com")
    withdrawn = factories.make_invitation(cast.account, "gone@example.com", withdrawn_at=cast.account.created_at)
    visitor = visit()
    for sent in (pending, known, withdrawn):
        visitor.goto(f"/invitations/{sent.token}/")
        check_at_each_size(visitor.page)
    visitor.goto("/invitations/nothing/")
    check_at_each_size(visitor.page)
    visitor.sign_in("admin@example.com")
    visitor.goto(f"/invitations/{pending.token}/")
    check_at_each_size(visitor.page)
    Account.objects.filter(pk=cast.account.pk).update(suspended_at=cast.account.created_at)
    visitor.goto("/accounts/acme/")
    check_at_each_size(visitor.page)
    Account.objects.filter(pk=cast.account.pk).update(
        suspended_at=None, closed_at=cast.account.created_at, offered_to=None
    )
    owner = visit()
    owner.goto("/auth/login/?next=/accounts/acme/closed/")
    owner.page.get_by_label("E-mail").fill("owner@example.com")
    owner.page.get_by_label("Password", exact=True).fill(PASSWORD)
    owner.page.get_by_role("button", name="Sign in").click()
    owner.page.wait_for_url("**/closed/")
    check_at_each_size(owner.page)
    for status in (403, 404, 410):
        visitor.forgive(status)
    assert User.objects.count() == 4
