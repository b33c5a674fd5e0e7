"""Settings » Members: members, invitations, and what each role may do."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts import policy
from accounts.models import Account, Invitation, Membership, User
from accounts.policy import GRANTS, Permission, Role
from tests import factories
from tests.conftest import Browser, Cast
from tests.mail import delivered


def page(cast: Cast, name: str = "members", *args: str) -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug, *args])


def member(cast: Cast, user: User) -> Membership:
    return Membership.objects.get(account=cast.account, user=user)


def text(response: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


# The list ---------------------------------------------------------------------------------------


def test_an_admin_sees_actions_for_members_but_not_for_the_owner(cast: Cast, browser: Browser) -> None:
    listed = browser.as_(cast.admin).get(page(cast)).content.decode()

    assert page(cast, "invite") in listed
    assert page(cast, "leave") in listed
    assert page(cast, "change_role", member(cast, cast.user).id) in listed
    assert page(cast, "remove_member", member(cast, cast.user).id) in listed
    assert member(cast, cast.owner).id not in listed


def test_a_user_sees_the_list_and_can_only_leave(cast: Cast, browser: Browser) -> None:
    factories.make_invitation(cast.account, "guest@example.com")
    listed = browser.as_(cast.user).get(page(cast)).content.decode()

    assert "admin@example.com" in listed
    assert page(cast, "leave") in listed
    assert "guest@example.com" not in listed
    assert page(cast, "invite") not in listed
    assert member(cast, cast.admin).id not in listed


def test_the_role_table_is_the_policy_in_words(cast: Cast, browser: Browser) -> None:
    listed = text(browser.as_(cast.user).get(page(cast)))
    rows = dict(policy.role_table())

    assert set(rows) == {permission.words for permission in Permission}
    assert len(rows) == len(Permission)
    for permission in Permission:
        answers = ["yes" if permission in GRANTS[role] else "no" for role in Role]
        shown = re.search(rf"{re.escape(permission.words)} (?:– )?(yes|no) (?:– )?(yes|no) (?:– )?(yes|no)", listed)
        assert shown, permission
        assert list(shown.groups()) == answers


# Members ----------------------------------------------------------------------------------------


def test_a_role_is_changed(cast: Cast, browser: Browser) -> None:
    asked = browser.as_(cast.owner).get(page(cast, "change_role", member(cast, cast.user).id))
    told = browser.post(page(cast, "change_role", member(cast, cast.user).id), {"role": "admin"}, follow=True)

    assert "Change the role of user@example.com" in text(asked)
    assert "Role of user@example.com changed to Admin" in text(told)
    assert member(cast, cast.user).role == Role.ADMIN


@pytest.mark.parametrize("role", ["owner", "king", ""])
def test_a_role_that_the_actor_lacks_is_refused(role: str, cast: Cast, browser: Browser) -> None:
    refused = browser.as_(cast.owner).post(page(cast, "change_role", member(cast, cast.user).id), {"role": role})

    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.content.decode()
    assert member(cast, cast.user).role == Role.USER


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", ["change_role", "remove_member"])
def test_the_owner_cannot_be_changed(name: str, method: str, cast: Cast, browser: Browser) -> None:
    address = page(cast, name, member(cast, cast.owner).id)

    assert getattr(browser.as_(cast.admin), method)(address, {"role": "user"}).status_code == 403
    assert member(cast, cast.owner).role == Role.OWNER


def test_a_removed_member_gets_404_on_the_next_request(cast: Cast, browser: Browser) -> None:
    theirs = Browser().as_(cast.user)
    before = theirs.get(page(cast)).status_code
    told = browser.as_(cast.owner).post(page(cast, "remove_member", member(cast, cast.user).id), follow=True)

    assert "user@example.com removed from Acme" in text(told)
    assert (before, theirs.get(page(cast)).status_code) == (200, 404)


def test_a_changed_role_takes_effect_on_the_next_request(cast: Cast, browser: Browser) -> None:
    theirs = Browser().as_(cast.admin)
    before = theirs.get(page(cast, "audit_log")).status_code
    browser.as_(cast.owner).post(page(cast, "change_role", member(cast, cast.admin).id), {"role": "user"})

    assert (before, theirs.get(page(cast, "audit_log")).status_code) == (200, 403)


def test_leaving_leads_to_another_account(cast: Cast, browser: Browser) -> None:
    Membership.objects.create(account=cast.elsewhere, user=cast.user, role=Role.USER)
    told = browser.as_(cast.user).post(page(cast, "leave"), follow=True)

    assert told.redirect_chain[-1][0] == reverse("overview", args=[cast.elsewhere.slug])
    assert "You left Acme" in text(told)
    assert not Membership.objects.filter(account=cast.account, user=cast.user).exists()


@pytest.mark.parametrize("name", ["remove_member", "leave", "withdraw_invitation", "two_factor"])
def test_get_changes_nothing(name: str, cast: Cast, browser: Browser) -> None:
    ids = {
        "remove_member": [member(cast, cast.user).id],
        "withdraw_invitation": [factories.make_invitation(cast.account).invitation.id],
    }
    browser.as_(cast.admin).get(page(cast, name, *ids.get(name, [])))

    assert Membership.objects.filter(account=cast.account).count() == 3
    assert Invitation.objects.open().count() == 1
    assert not Account.objects.get(pk=cast.account.pk).requires_two_factor


# Invitations ------------------------------------------------------------------------------------


def invite(browser: Browser, cast: Cast, **headers: str) -> Any:
    return browser.post(
        page(cast, "invite"), {"email": "Guest@Example.com", "role": "admin"}, follow=True, headers=headers
    )


def test_inviting_mails_a_link_that_is_nowhere_else(cast: Cast, browser: Browser) -> None:
    told = invite(browser.as_(cast.admin), cast)
    link = re.search(r"https://testserver(/invitations/([\w-]+)/)", str(delivered()[-1].body))

    assert link
    assert "guest@example.com invited" in text(told)
    assert link[2] not in told.content.decode()
    assert Browser().get(link[1]).status_code == 200
    assert [message.to for message in delivered()] == [["guest@example.com"]]


def test_inviting_in_the_dialog_redirects_the_whole_page(cast: Cast, browser: Browser) -> None:
    answer = invite(browser.as_(cast.admin), cast, **{"HX-Request": "true"})

    assert answer.headers["HX-Redirect"] == page(cast)


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
@pytest.mark.parametrize(
    ("email", "role", "problem"),
    [
        ("nonsense", "user", "valid email address"),
        ("", "user", "required"),
        ("user@example.com", "user", "This person is already a member."),
        ("waiting@example.com", "user", "This person is already invited."),
        ("guest@example.com", "owner", "not one of the available choices"),
        ("guest@example.com", "", "Choose a role."),
    ],
)
def test_an_impossible_invitation_is_refused_at_its_field(
    email: str, role: str, problem: str, headers: dict[str, str], cast: Cast, browser: Browser
) -> None:
    factories.make_invitation(cast.account, "waiting@example.com")
    refused = browser.as_(cast.owner).post(page(cast, "invite"), {"email": email, "role": role}, headers=headers)

    assert refused.status_code == 422
    assert problem in text(refused)
    assert refused.content.decode().count("autofocus") == 1
    assert Invitation.objects.count() == 1


def test_an_invitation_resent_before_it_was_mailed_is_one_mail(cast: Cast, browser: Browser) -> None:
    told = invite(browser.as_(cast.owner), cast)
    again = browser.post(page(cast, "resend_invitation", Invitation.objects.get().id), follow=True)

    assert "guest@example.com invited" in text(told)
    assert "Invitation sent to guest@example.com again. The old link no longer works." in text(again)
    assert len(delivered()) == 1


def test_after_resending_the_old_link_no_longer_works(cast: Cast, browser: Browser) -> None:
    sent = factories.make_invitation(cast.account, expires_at=timezone.now() - timedelta(days=1))
    listed = text(browser.as_(cast.owner).get(page(cast)))
    browser.post(page(cast, "resend_invitation", sent.invitation.id))

    assert "Expired" in listed
    assert Browser().get(reverse("accounts:invitation", args=[sent.token])).status_code == 404
    assert Invitation.objects.get().state == Invitation.State.PENDING


def test_an_invitation_is_changed_and_withdrawn(cast: Cast, browser: Browser) -> None:
    sent = factories.make_invitation(cast.account)
    browser.as_(cast.admin).post(page(cast, "change_invitation", sent.invitation.id), {"role": "admin"})
    changed = Invitation.objects.get().role
    told = browser.post(page(cast, "withdraw_invitation", sent.invitation.id), follow=True)

    assert changed == Role.ADMIN
    assert "Invitation for new@example.com withdrawn" in text(told)
    assert browser.get(page(cast, "withdraw_invitation", sent.invitation.id)).status_code == 404


@pytest.mark.parametrize(
    ("name", "method"),
    [("invite", "get"), ("invite", "post"), ("change_role", "get"), ("transfer", "get"), ("close", "post")],
)
def test_dangerous_pages_ask_for_the_password_again_after_a_while(
    name: str, method: str, cast: Cast, browser: Browser, settings: Settings
) -> None:
    settings.SUDO_MINUTES = 0
    address = page(cast, name, *([member(cast, cast.user).id] if name == "change_role" else []))
    asked = getattr(browser.as_(cast.owner), method)(address, {"name": "Acme"} if method == "post" else {})

    assert asked.headers["Location"].startswith(reverse("account_reauthenticate"))
    assert Account.objects.get(pk=cast.account.pk).closed_at is None
