"""/invitations/TOKEN/: every state of an invitation, for every kind of visitor."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import services
from accounts.models import Account, Invitation, Membership, User
from accounts.policy import Role
from tests import factories
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.mail import delivered

FORM = {"name": "Nina New", "password": "a horse of quite another colour"}


def link(sent: Any) -> str:
    return reverse("accounts:invitation", args=[sent.token])


def heading(response: Any) -> str:
    found = re.search(r"<h1>(.*?)</h1>", response.content.decode(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def for_new_user(cast: Cast) -> Any:
    """An invitation for somebody who has no user yet."""
    sent = factories.make_invitation(cast.account, role=Role.ADMIN)
    delivered().clear()
    return sent


@pytest.fixture
def for_existing_user(cast: Cast) -> Any:
    """An invitation for a user who is a member of another account."""
    return factories.make_invitation(cast.account, "stranger@example.com")


# New users --------------------------------------------------------------------------------------


def test_the_page_names_the_account_the_role_and_the_inviter(for_new_user: Any, browser: Browser) -> None:
    page = browser.get(link(for_new_user)).content.decode()

    assert "Join Acme" in page
    assert "<b>Admin</b>" in page
    assert for_new_user.invitation.invited_by in page
    assert ">Accept<" in page


def test_a_new_user_joins_immediately_without_another_mail(
    for_new_user: Any, cast: Cast, browser: Browser, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        response = browser.post(link(for_new_user), FORM, follow=True)
    user = User.objects.get(email="new@example.com")

    assert response.redirect_chain[-1][0] == reverse("overview", args=[cast.account.slug])
    assert response.status_code == 200
    assert (user.name, user.check_password(FORM["password"])) == ("Nina New", True)
    assert Membership.objects.get(account=cast.account, user=user).role == Role.ADMIN
    assert delivered() == []


def test_a_new_user_is_not_asked_for_the_password_again(for_new_user: Any, cast: Cast, browser: Browser) -> None:
    browser.post(link(for_new_user), FORM)

    assert browser.get(reverse("apikeys:new_key", args=[cast.account.slug])).status_code == 200


def test_a_new_users_sign_in_elsewhere_does_not_count_in_this_session(
    for_new_user: Any, cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.post(link(for_new_user), FORM)
    later = time.time() + 3600
    monkeypatch.setattr("time.time", lambda: later)
    User.objects.filter(email="new@example.com").update(last_login=timezone.now() + timedelta(hours=1))

    asked = browser.get(reverse("accounts:invite", args=[cast.account.slug]))

    assert asked.status_code == 302
    assert asked.headers["Location"].startswith(reverse("account_reauthenticate"))


@pytest.mark.parametrize(
    ("password", "problem"),
    [("short", "at least 10 characters"), ("password123", "too common"), ("new@example.com", "too similar"), ("", "")],
)
def test_a_weak_password_is_refused_at_its_field(
    password: str, problem: str, for_new_user: Any, browser: Browser
) -> None:
    refused = browser.post(link(for_new_user), {**FORM, "password": password})

    assert refused.status_code == 422
    assert problem in refused.content.decode()
    assert 'aria-invalid="true"' in refused.content.decode()
    assert not User.objects.filter(email="new@example.com").exists()
    assert Invitation.objects.get().state == Invitation.State.PENDING


def test_get_creates_no_user(for_new_user: Any, browser: Browser) -> None:
    browser.get(link(for_new_user))

    assert not User.objects.filter(email="new@example.com").exists()


# Existing users ---------------------------------------------------------------------------------


def test_a_signed_in_user_accepts_with_a_button(for_existing_user: Any, cast: Cast, browser: Browser) -> None:
    asked = browser.as_(cast.stranger).get(link(for_existing_user))
    before = Membership.objects.filter(account=cast.account, user=cast.stranger).exists()
    done = browser.post(link(for_existing_user))

    assert (asked.status_code, heading(asked), before) == (200, "Join Acme", False)
    assert done.headers["Location"] == reverse("overview", args=[cast.account.slug])
    assert Membership.objects.get(account=cast.account, user=cast.stranger).role == Role.USER


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_signed_out_user_signs_in_and_comes_back(
    method: str, for_existing_user: Any, cast: Cast, browser: Browser
) -> None:
    asked = getattr(browser, method)(link(for_existing_user), {**FORM})
    back = f"{reverse('account_login')}?next={link(for_existing_user).replace('/', '%2F')}"
    if method == "get":
        assert f'href="{back}"' in asked.content.decode()
        assert "password" not in asked.content.decode().lower().replace("password manager", "")
    else:
        assert asked.headers["Location"] == back

    signed_in = browser.post(
        reverse("account_login"), {"login": cast.stranger.email, "password": PASSWORD, "next": link(for_existing_user)}
    )
    assert signed_in.headers["Location"] == link(for_existing_user)
    assert not Membership.objects.filter(account=cast.account, user=cast.stranger).exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_wrong_user_is_told_and_can_sign_out_and_come_back(
    method: str, for_new_user: Any, cast: Cast, browser: Browser
) -> None:
    page = getattr(browser.as_(cast.user), method)(link(for_new_user))
    signed_out = browser.post(reverse("account_logout"), {"next": link(for_new_user)})

    assert page.status_code == 403
    assert "for someone else" in page.content.decode()
    assert f'name="next" value="{link(for_new_user)}"' in page.content.decode()
    assert signed_out.headers["Location"] == link(for_new_user)
    assert browser.get(link(for_new_user)).status_code == 200


def test_a_confirmed_second_address_is_accepted(for_new_user: Any, cast: Cast, browser: Browser) -> None:
    EmailAddress.objects.create(user=cast.stranger, email="new@example.com", verified=True)
    signed_out = browser.get(link(for_new_user)).content.decode()
    browser.as_(cast.stranger).post(link(for_new_user))

    assert 'name="password"' not in signed_out
    assert Membership.objects.filter(account=cast.account, user=cast.stranger).exists()


def test_an_unconfirmed_second_address_is_not_accepted(for_new_user: Any, cast: Cast, browser: Browser) -> None:
    EmailAddress.objects.create(user=cast.stranger, email="new@example.com", verified=False)

    assert browser.as_(cast.stranger).post(link(for_new_user)).status_code == 403
    assert Browser().post(link(for_new_user), FORM).status_code == 302
    assert User.objects.filter(email="new@example.com").exists()


# Links that don't work --------------------------------------------------------------------------


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "used": ({"accepted_at": timezone.now()}, "This invitation was already accepted"),
    "withdrawn": ({"withdrawn_at": timezone.now()}, "This invitation was withdrawn"),
    "expired": ({"expires_at": timezone.now() - timedelta(seconds=1)}, "This invitation has expired"),
}


@pytest.mark.parametrize("who", ["nobody", "stranger", "owner"])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("end", ENDS)
def test_a_link_that_no_longer_works_says_what_to_do(
    end: str, method: str, who: str, cast: Cast, browser: Browser
) -> None:
    fields, told = ENDS[end]
    sent = factories.make_invitation(cast.account, **fields)
    if who != "nobody":
        browser.as_(getattr(cast, who))
    page = getattr(browser, method)(link(sent), FORM)

    assert (page.status_code, heading(page)) == (410, told)
    assert "btn" in page.content.decode()
    assert not User.objects.filter(email="new@example.com").exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_joins_a_closed_account(method: str, for_new_user: Any, cast: Cast, browser: Browser) -> None:
    Account.objects.filter(pk=cast.account.pk).update(closed_at=timezone.now())
    page = getattr(browser, method)(link(for_new_user), FORM)

    assert (page.status_code, heading(page)) == (410, "Acme is closed")
    assert not User.objects.filter(email="new@example.com").exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_link_is_404(method: str, cast: Cast, browser: Browser) -> None:
    page = getattr(browser, method)(reverse("accounts:invitation", args=["x" * 43]), FORM)

    assert (page.status_code, heading(page)) == (404, "Invitation not found")


def test_a_link_works_once(for_new_user: Any, browser: Browser) -> None:
    browser.post(link(for_new_user), FORM)

    again = browser.get(link(for_new_user))
    assert again.status_code == 410
    assert "You are a member of Acme." in again.content.decode()
    assert Browser().post(link(for_new_user), FORM).status_code == 410


def test_a_link_that_stops_working_before_the_form_is_sent_says_so(
    for_new_user: Any, cast: Cast, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invitation, "is_acceptable", True)
    for_new_user.invitation.withdrawn_at = timezone.now()
    for_new_user.invitation.save()

    assert browser.post(link(for_new_user), FORM).headers["Location"] == link(for_new_user)
    assert not User.objects.filter(email="new@example.com").exists()


# Secrecy ----------------------------------------------------------------------------------------


def test_the_token_is_kept_out_of_caches_and_referrers(for_new_user: Any, cast: Cast, browser: Browser) -> None:
    pages = [
        browser.get(link(for_new_user)),
        browser.post(link(for_new_user), {"name": ""}),
        browser.get(reverse("accounts:invitation", args=["unknown"])),
        Browser().as_(cast.user).get(link(for_new_user)),
        browser.post(link(for_new_user), FORM),
        browser.get(link(for_new_user)),
    ]

    assert [page.status_code for page in pages] == [200, 422, 404, 403, 302, 410]
    for page in pages:
        assert "no-store" in page.headers["Cache-Control"]
        assert page.headers["Referrer-Policy"] == "no-referrer"


def test_inviting_does_not_reveal_who_is_registered(cast: Cast, browser: Browser) -> None:
    invite = reverse("accounts:invite", args=[cast.account.slug])
    browser.as_(cast.owner)
    told = []
    for email in ("stranger@example.com", "nobody@example.com"):
        answer = browser.post(invite, {"email": email, "role": "user"}, follow=True)
        told.append([str(message).replace(email, "") for message in answer.context["messages"]])

    assert told == [[" invited"]] * 2
    assert delivered()[0].subject == delivered()[1].subject


def test_a_member_who_accepts_keeps_their_role(cast: Cast, browser: Browser) -> None:
    sent = factories.make_invitation(cast.account, "late@example.com", Role.USER)
    late = factories.make_member(cast.account, Role.ADMIN, "late@example.com")
    browser.as_(late).post(link(sent))

    assert Membership.objects.get(account=cast.account, user=late).role == Role.ADMIN
    found = services.find_invitation(sent.token)
    assert found is not None
    assert found.state == Invitation.State.ACCEPTED
