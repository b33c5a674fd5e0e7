"""Transferring, closing and reopening the account; suspended and several accounts."""

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts import policy, services
from accounts.models import Account, AuditEvent, Membership, User
from accounts.policy import Role
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.mail import delivered


def page(cast: Cast, name: str) -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug])


def member(cast: Cast, user: User) -> Membership:
    return Membership.objects.get(account=cast.account, user=user)


def offer(cast: Cast, user: User) -> None:
    Account.objects.filter(pk=cast.account.pk).update(offered_to=member(cast, user))


def html(browser: Browser, path: str) -> str:
    return browser.get(path).content.decode()


# Ownership --------------------------------------------------------------------------------------


def test_the_account_is_offered_and_accepted(
    cast: Cast, browser: Browser, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        offered = browser.as_(cast.owner).post(
            page(cast, "transfer"), {"member": member(cast, cast.admin).id, "name": "Acme"}, follow=True
        )
        theirs = Browser().as_(cast.admin)
        banner = html(theirs, reverse("overview", args=[cast.account.slug]))
        taken = theirs.post(page(cast, "accept_transfer"), follow=True)

    assert "Ownership offered to admin@example.com" in offered.content.decode()
    assert "You were offered the ownership of Acme." in banner
    assert "You are now the Owner of Acme." in taken.content.decode()
    assert (member(cast, cast.admin).role, member(cast, cast.owner).role) == (Role.OWNER, Role.ADMIN)
    assert [message.subject for message in delivered()] == [
        "You were offered the ownership of Acme",
        *["Acme has a new Owner"] * 2,
    ]
    assert "You were offered the ownership" not in html(theirs, page(cast, "members"))


def test_an_offer_is_declined(cast: Cast, browser: Browser) -> None:
    offer(cast, cast.admin)
    told = browser.as_(cast.admin).post(page(cast, "withdraw_transfer"), follow=True)

    assert "Offer declined" in told.content.decode()
    assert member(cast, cast.owner).role == Role.OWNER


def test_the_owner_sees_an_offer_and_withdraws_it(cast: Cast, browser: Browser) -> None:
    offer(cast, cast.admin)
    listed = html(browser.as_(cast.owner), page(cast, "members"))
    told = browser.post(page(cast, "withdraw_transfer"), follow=True)

    assert "Ownership offered" in listed
    assert "Withdraw offer" in listed
    assert "Offer withdrawn" in told.content.decode()


def test_the_banner_is_shown_to_the_recipient_on_pages_of_that_account(cast: Cast, browser: Browser) -> None:
    offer(cast, cast.admin)

    assert "You were offered the ownership" not in html(Browser().as_(cast.user), page(cast, "members"))
    assert "You were offered the ownership" not in html(Browser().as_(cast.owner), page(cast, "members"))
    assert "You were offered the ownership" in html(browser.as_(cast.admin), page(cast, "members"))
    assert "You were offered the ownership" not in html(browser, reverse("accounts:profile"))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "acme"}, "Enter the account name exactly as shown."),
        ({"name": ""}, "This field is required."),
        ({"member": ""}, "This field is required."),
        ({"member": "owner"}, "not one of the available choices"),
        ({"member": "stranger"}, "not one of the available choices"),
    ],
)
def test_an_impossible_offer_is_refused(fields: dict[str, str], problem: str, cast: Cast, browser: Browser) -> None:
    people = {
        "owner": member(cast, cast.owner).id,
        "stranger": Membership.objects.get(user=cast.stranger).id,
    }
    sent = {"member": member(cast, cast.admin).id, "name": "Acme", **fields}
    sent["member"] = people.get(sent["member"], sent["member"])
    refused = browser.as_(cast.owner).post(page(cast, "transfer"), sent)

    assert refused.status_code == 422
    assert problem in refused.content.decode()
    assert Account.objects.get(pk=cast.account.pk).offered_to is None


def test_an_owner_without_other_members_is_told_to_invite_first(cast: Cast, browser: Browser) -> None:
    alone = reverse("accounts:transfer", args=[cast.elsewhere.slug])

    assert "Invite the new Owner first." in html(browser.as_(cast.stranger), alone)


def test_accepting_has_its_own_page_which_says_if_there_is_no_offer(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.admin)
    told = browser.get(page(cast, "accept_transfer"), follow=True).content.decode()
    offer(cast, cast.admin)
    asked = html(browser, page(cast, "accept_transfer"))
    others = browser.as_(cast.user).get(page(cast, "accept_transfer"))

    assert "The ownership of Acme is no longer offered to you." in told
    assert asked.count(">Accept ownership</button>") == 1
    assert others.status_code == 302
    assert member(cast, cast.owner).role == Role.OWNER


def test_a_user_sets_up_required_two_factor_before_becoming_the_owner(cast: Cast, browser: Browser) -> None:
    Account.objects.filter(pk=cast.account.pk).update(requires_two_factor=True)
    offer(cast, cast.user)
    led = browser.as_(cast.user).post(page(cast, "accept_transfer"))
    before = member(cast, cast.user).role
    TOTP.activate(cast.user, generate_totp_secret())
    browser.post(page(cast, "accept_transfer"))

    assert led.headers["Location"].startswith(reverse("mfa_index"))
    assert (before, member(cast, cast.user).role) == (Role.USER, Role.OWNER)


# Closing ----------------------------------------------------------------------------------------


@pytest.fixture
def closed(cast: Cast) -> Account:
    return services.close_account(actor=policy.system(cast.account.ref), name="Acme")


def test_the_owner_closes_the_account_by_its_name_and_reopens_it(
    cast: Cast, browser: Browser, program: Program
) -> None:
    browser.as_(cast.owner)
    asked = html(browser, page(cast, "close"))
    closed = browser.post(page(cast, "close"), {"name": "Acme"}, follow=True)
    dead = program.get("/v2").status_code
    back = browser.post(page(cast, "reopen"), follow=True)

    until = timezone.now() + services.GRACE_PERIOD
    assert f"{until.day} {until:%B %Y}" in asked
    assert "Acme is closed" in closed.content.decode()
    assert f"{until.day} {until:%B %Y}" in closed.content.decode()
    assert dead == 403
    assert f"Requests with any API key of the account get {dead} immediately." in asked
    assert "Account Acme reopened" in back.content.decode()
    assert program.get("/v2").status_code == 200


@pytest.mark.parametrize("name", ["acme", "", "Elsewhere"])
def test_closing_needs_the_exact_name(name: str, cast: Cast, browser: Browser) -> None:
    refused = browser.as_(cast.owner).post(page(cast, "close"), {"name": name})

    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.content.decode()
    assert Account.objects.get(pk=cast.account.pk).closed_at is None


def test_an_owner_without_required_two_factor_cannot_reopen_the_account(
    cast: Cast, browser: Browser, closed: Account
) -> None:
    Account.objects.filter(pk=cast.account.pk).update(requires_two_factor=True)
    led = browser.as_(cast.owner).post(page(cast, "reopen"))
    in_part = browser.post(page(cast, "reopen"), headers={"HX-Request": "true"})
    seen = browser.get(page(cast, "closed"))
    still_closed = Account.objects.get(pk=cast.account.pk).closed_at is not None
    TOTP.activate(cast.owner, generate_totp_secret())
    browser.post(page(cast, "reopen"))

    back = reverse("overview", args=[cast.account.slug]).replace("/", "%2F")
    assert led.headers["Location"] == in_part.headers["HX-Redirect"] == f"{reverse('mfa_index')}?next={back}"
    assert seen.headers["Location"].startswith(reverse("mfa_index"))
    assert still_closed
    assert Account.objects.get(pk=cast.account.pk).closed_at is None


@pytest.mark.parametrize("who", ["admin", "user", "stranger"])
def test_only_the_owner_reopens_a_closed_account(who: str, cast: Cast, browser: Browser, closed: Account) -> None:
    browser.as_(getattr(cast, who))

    assert browser.get(page(cast, "closed")).status_code == 404
    assert browser.post(page(cast, "reopen")).status_code == 404
    assert Account.objects.get(pk=cast.account.pk).closed_at is not None


def test_a_closed_account_is_only_in_its_owners_switcher(cast: Cast, closed: Account) -> None:
    for person in (cast.owner, cast.admin):
        factories.make_account("Another", person)
    owners, admins = Browser().as_(cast.owner), Browser().as_(cast.admin)

    assert page(cast, "closed") in html(owners, reverse("accounts:profile"))
    assert ">Closed<" in html(owners, reverse("accounts:profile"))
    assert "Acme" not in html(admins, reverse("accounts:profile"))
    assert "Acme" not in html(admins, reverse("accounts:accounts"))


def test_home_skips_closed_and_suspended_accounts(cast: Cast, browser: Browser, closed: Account) -> None:
    browser.as_(cast.owner).get(page(cast, "closed"))
    only_closed = browser.get(reverse("home")).headers["Location"]
    services.suspend_account(actor=policy.system(factories.make_account("Acme Frozen", cast.owner).ref))
    another = factories.make_account("Zebra", cast.owner)

    assert only_closed == reverse("accounts:accounts")
    assert browser.get(reverse("home")).headers["Location"] == reverse("overview", args=[another.slug])
    assert "No account yet" in Browser().as_(cast.user).get(reverse("home")).content.decode()


# Suspended --------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["owner", "admin", "user"])
def test_members_of_a_suspended_account_are_told(who: str, cast: Cast, browser: Browser) -> None:
    services.suspend_account(actor=policy.system(cast.account.ref))
    told = browser.as_(getattr(cast, who)).get(page(cast, "members"))

    assert told.status_code == 403
    assert "Acme is suspended" in told.content.decode()
    assert reverse("accounts:accounts") in told.content.decode()


def test_a_suspended_account_is_404_for_strangers(cast: Cast, browser: Browser) -> None:
    services.suspend_account(actor=policy.system(cast.account.ref))

    assert browser.as_(cast.stranger).get(page(cast, "members")).status_code == 404


# Several accounts -------------------------------------------------------------------------------


@pytest.fixture
def sign_up_is_open(settings: Settings) -> None:
    cache.clear()
    settings.SIGNUP_OPEN = True


@pytest.mark.usefixtures("sign_up_is_open")
def test_a_user_creates_another_account_and_owns_it(cast: Cast, browser: Browser) -> None:
    made = browser.as_(cast.user).post(reverse("accounts:new_account"), {"name": "Uma & Co"}, follow=True)
    account = Account.objects.get(name="Uma & Co")

    assert made.redirect_chain[-1][0] == reverse("overview", args=[account.slug])
    assert Membership.objects.get(account=account).user == cast.user
    assert AuditEvent.objects.get(account=account, event="account.created").actor_label == "user@example.com"


@pytest.mark.usefixtures("sign_up_is_open")
def test_an_account_needs_a_name(cast: Cast, browser: Browser) -> None:
    assert browser.as_(cast.user).post(reverse("accounts:new_account"), {"name": " "}).status_code == 422


def test_without_open_sign_up_nobody_creates_another_account(cast: Cast, browser: Browser) -> None:
    new, before = reverse("accounts:new_account"), Account.objects.count()
    browser.as_(cast.owner)
    told = [browser.get(new), browser.post(new, {"name": "One more"})]

    assert [answer.status_code for answer in told] == [403, 403]
    assert "Only the operator of this server can create accounts." in told[0].content.decode()
    assert Account.objects.count() == before
    for page_of in (reverse("overview", args=[cast.account.slug]), reverse("accounts:accounts")):
        assert new not in html(browser, page_of)
    assert new not in html(Browser().as_(factories.make_user()), reverse("home"))


@pytest.mark.usefixtures("sign_up_is_open")
def test_with_open_sign_up_pages_link_to_a_new_account(cast: Cast, browser: Browser) -> None:
    new = reverse("accounts:new_account")

    assert new in html(browser.as_(cast.owner), reverse("accounts:accounts"))
    assert new in html(Browser().as_(factories.make_user()), reverse("home"))


@pytest.mark.usefixtures("sign_up_is_open")
def test_accounts_that_a_user_creates_in_an_hour_are_limited(cast: Cast, browser: Browser) -> None:
    new, before = reverse("accounts:new_account"), Account.objects.count()
    browser.as_(cast.user)
    made = [browser.post(new, {"name": f"Number {number}"}).status_code for number in range(7)]
    told = browser.post(new, {"name": "Kept"})

    assert made == [302] * 5 + [429] * 2
    assert "Too many accounts were created. Try again in an hour." in told.content.decode()
    assert 'value="Kept"' in told.content.decode()
    assert told.headers["Retry-After"] == "3600"
    assert Account.objects.count() == before + 5
    assert Browser().as_(cast.admin).post(new, {"name": "Another's"}).status_code == 302


@pytest.mark.usefixtures("sign_up_is_open")
def test_accounts_created_from_an_address_in_an_hour_are_limited(cast: Cast) -> None:
    new, before = reverse("accounts:new_account"), Account.objects.count()
    for _ in range(5):
        theirs = Browser().as_(factories.make_user())
        for number in range(5):
            theirs.post(new, {"name": f"Number {number}"})
    elsewhere = Browser(REMOTE_ADDR="203.0.113.9").as_(factories.make_user()).post(new, {"name": "Elsewhere"})

    assert Account.objects.count() == before + 21
    assert elsewhere.status_code == 302


def test_a_user_sees_their_role_in_each_account(cast: Cast, browser: Browser) -> None:
    Membership.objects.create(account=cast.elsewhere, user=cast.owner, role=Role.USER)
    listed = html(browser.as_(cast.owner), reverse("accounts:accounts"))

    assert listed.index("Acme</a>") < listed.index(">Owner<", listed.index("Acme</a>")) < listed.index("Elsewhere</a>")
    assert listed.index("Elsewhere</a>") < listed.index(">User<", listed.index("Elsewhere</a>"))
    assert reverse("accounts:leave", args=[cast.elsewhere.slug]) in listed
    assert page(cast, "leave") not in listed


@pytest.mark.parametrize("name", ["New", "new", " NEW "])
def test_no_account_gets_the_slug_of_the_page_that_creates_one(name: str, cast: Cast, browser: Browser) -> None:
    account = factories.make_account(name, cast.user)

    assert account.slug == "new-2"
    assert browser.as_(cast.user).get(reverse("overview", args=["new-2"])).status_code == 200
