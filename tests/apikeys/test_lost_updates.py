"""Forms that are older than the stored values: fields that the user didn't change keep the values that others saved."""

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts import services as account_services
from accounts.models import Account, AuditEvent, Invitation, Membership, Project
from accounts.policy import Actor, KeyPermission, Role
from apikeys import services
from apikeys.models import APIKey
from tests import factories
from tests.accounts.people import actor_of
from tests.admin_pages import admin_url
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD
from tests.html_forms import filled

from .pages import page, words

pytestmark = pytest.mark.django_db

IN_A_WEEK = (timezone.now() + timedelta(days=7)).replace(second=0, microsecond=0)

#: What a colleague sets, and the field of the form that conflicts with this.
SETTINGS: dict[str, tuple[Any, dict[str, str | None], str]] = {
    "name": ("Theirs", {"name": "Mine"}, "Theirs"),
    "description": ("Their\nlines", {"description": "Mine"}, "Their lines"),
    "permission": (KeyPermission.READ, {"permission": "write"}, "Read"),
    "allowed_networks": (["10.0.0.0/8", "192.0.2.0/24"], {"allowed_networks": "0.0.0.0/0"}, "10.0.0.0/8, 192.0.2.0/24"),
    "rate_limit": ("5/minute", {"rate_limit": "900/minute"}, "5/minute"),
    "expires_at": (IN_A_WEEK, {"expiry": "365"}, f"{IN_A_WEEK.day} "),
    "access": ('[{"service":"api"}]', {"access": "chosen"}, "api"),
    "accepts_query": (False, {"accepts_query": None}, "no"),
    "administrator": (True, {"administrator": None}, "yes"),
}
#: A check box has only two values, so two people who both change it choose the same value.
DISPUTED = [name for name in SETTINGS if name not in ("accepts_query", "administrator")]


@pytest.fixture
def colleague(cast: Cast) -> Actor:
    return actor_of(cast.admin, cast.account)


@pytest.fixture
def key(cast: Cast) -> APIKey:
    return factories.make_key(cast.account, "Deploys", description="Two\nlines").api_key


@pytest.mark.parametrize(
    ("mine", "setting"),
    [
        (mine, setting)
        for mine in ({"description": "Mine\nand long"}, {"name": "Mine"}, {})
        for setting in SETTINGS
        if setting not in mine
    ],
    ids=str,
)
def test_an_outdated_form_overwrites_nothing_that_its_user_did_not_change(
    cast: Cast, owner: Browser, colleague: Actor, key: APIKey, setting: str, mine: dict[str, str]
) -> None:
    value = SETTINGS[setting][0]
    sent = filled(owner.get(page(cast, "edit_key", key.id)), "permission", **mine)
    services.change_api_key(actor=colleague, api_key=key, **{setting: value})
    response = owner.post(page(cast, "edit_key", key.id), sent)
    key.refresh_from_db()

    assert response.status_code == 302
    assert getattr(key, setting) == value
    assert all(getattr(key, name) == wanted for name, wanted in mine.items())


@pytest.mark.parametrize("setting", DISPUTED)
def test_what_both_changed_is_shown_once_and_saved_when_sent_again(
    cast: Cast, owner: Browser, colleague: Actor, key: APIKey, setting: str
) -> None:
    value, mine, shown = SETTINGS[setting]
    url = page(cast, "edit_key", key.id)
    note = {} if setting == "description" else {"description": "Typed\nwith care"}
    sent = filled(owner.get(url), "permission", **mine, **note)
    services.change_api_key(actor=colleague, api_key=key, **{setting: value})
    refused = owner.post(url, sent)
    text = words(refused.content.decode())
    still = APIKey.objects.get(pk=key.pk)

    assert refused.status_code == 422
    assert getattr(still, setting) == value
    assert still.description == (value if setting == "description" else "Two\nlines")
    assert f"admin@example.com changed this in the meantime. It is now: {shown}" in text
    again = filled(refused, "permission")
    assert {name: again[name] for name in {**mine, **note}} == {name: sent[name] for name in {**mine, **note}}
    assert owner.post(url, again).status_code == 302
    key.refresh_from_db()
    assert getattr(key, setting) != value


def test_a_refused_form_shows_what_others_changed(
    cast: Cast, owner: Browser, desk: Browser, colleague: Actor, key: APIKey
) -> None:
    """Whatever the error, fields that the reader didn't change show their current values, and keep them."""
    theirs = {name: value for name, (value, *_) in SETTINGS.items() if name not in ("rate_limit", "expires_at")}
    for browser, url in ((owner, page(cast, "edit_key", key.id)), (desk, admin_url(key, "change"))):
        sent = filled(browser.get(url), "permission", rate_limit="fast")
        services.change_api_key(actor=colleague, api_key=key, **theirs, expires_at=IN_A_WEEK)
        again = filled(browser.post(url, sent), "permission", rate_limit="5/minute")
        assert browser.post(url, again).status_code == 302
        key.refresh_from_db()
        assert {name: getattr(key, name) for name in theirs} == theirs
        assert (again["permission"], again["administrator"]) == (["read"], ["on"])
        assert (key.expires_at, key.rate_limit) == (IN_A_WEEK, "5/minute")
        assert not {"accepts_query"} & set(again)
        services.change_api_key(
            actor=colleague,
            api_key=key,
            **{name: getattr(APIKey(name="Deploys"), name) for name in theirs if name != "permission"},
            permission="read_write",
            expires_at=None,
            rate_limit=None,
        )


def test_a_third_change_is_shown_again(cast: Cast, owner: Browser, colleague: Actor, key: APIKey) -> None:
    url = page(cast, "edit_key", key.id)
    sent = filled(owner.get(url), "permission", allowed_networks="203.0.113.0/24")
    services.change_api_key(actor=colleague, api_key=key, allowed_networks=["10.0.0.0/8"])
    sent = filled(owner.post(url, sent), "permission")
    services.change_api_key(actor=colleague, api_key=key, allowed_networks=["10.1.0.0/16"])
    refused = owner.post(url, sent)

    assert refused.status_code == 422
    assert "It is now: 10.1.0.0/16" in words(refused.content.decode())
    assert owner.post(url, filled(refused, "permission")).status_code == 302


def test_two_equal_changes_do_not_conflict(cast: Cast, owner: Browser, colleague: Actor, key: APIKey) -> None:
    url = page(cast, "edit_key", key.id)
    sent = filled(owner.get(url), "permission", allowed_networks="10.0.0.0/8", accepts_query=None)
    services.change_api_key(actor=colleague, api_key=key, allowed_networks=["10.0.0.0/8"], accepts_query=False)

    assert owner.post(url, sent).status_code == 302


def test_conflicts_are_found_after_the_password_too(cast: Cast, browser: Browser, key: APIKey) -> None:
    """A change that grants more asks for the password. Meanwhile a colleague restricts the key."""
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    url = page(cast, "edit_key", key.id)
    sent = filled(browser.get(url), "permission", administrator="on", description="Typed")
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 3600
    session.save()
    asked = browser.post(url, sent)
    services.change_api_key(actor=actor_of(cast.admin, cast.account), api_key=key, allowed_networks=["10.0.0.0/8"])
    back = browser.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": url}, follow=True)
    saved = browser.post(url, filled(back, "permission"))
    key.refresh_from_db()

    assert asked.status_code == 302
    assert saved.status_code == 302
    assert (key.administrator, key.description, key.allowed_networks) == (True, "Typed", ["10.0.0.0/8"])


def test_an_older_form_that_widens_nothing_asks_for_no_password(cast: Cast, browser: Browser, key: APIKey) -> None:
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    url = page(cast, "edit_key", key.id)
    sent = filled(browser.get(url), "permission", description="Typed")
    services.change_api_key(actor=actor_of(cast.admin, cast.account), api_key=key, permission="read")
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 3600
    session.save()

    assert browser.post(url, sent).headers["Location"] == page(cast, "key", key.id)
    assert APIKey.objects.get(pk=key.pk).permission == "read"


# The account ------------------------------------------------------------------------------------


def test_an_outdated_key_policy_form_overwrites_nothing_that_its_user_did_not_change(
    cast: Cast, owner: Browser, colleague: Actor
) -> None:
    sent = filled(
        owner.get(f"/accounts/{cast.account.slug}/settings/"), "max_key_lifetime_days", revoke_exposed_keys="on"
    )
    account_services.change_account(actor=colleague, max_key_lifetime_days=30, accepts_query=False)
    response = owner.post(reverse("accounts:key_policy", args=[cast.account.slug]), sent)
    account = Account.objects.get(pk=cast.account.pk)

    assert response.status_code == 302
    assert (account.max_key_lifetime_days, account.accepts_query, account.revoke_exposed_keys) == (30, False, True)


def test_a_conflict_in_the_key_policy_is_shown_and_saved_when_sent_again(
    cast: Cast, owner: Browser, colleague: Actor
) -> None:
    url = reverse("accounts:key_policy", args=[cast.account.slug])
    general = owner.get(f"/accounts/{cast.account.slug}/settings/")
    sent = filled(general, "max_key_lifetime_days", max_key_lifetime_days="365", accepts_body=None)
    account_services.change_account(actor=colleague, max_key_lifetime_days=30, accepts_query=False)
    refused = owner.post(url, sent)

    assert refused.status_code == 422
    assert "admin@example.com changed this in the meantime. It is now: 30." in words(refused.content.decode())
    assert Account.objects.get(pk=cast.account.pk).accepts_body
    again = filled(refused, "max_key_lifetime_days")
    assert not {"accepts_query", "accepts_body"} & set(again)
    assert owner.post(url, again).status_code == 302
    account = Account.objects.get(pk=cast.account.pk)
    assert (account.max_key_lifetime_days, account.accepts_query, account.accepts_body) == (365, False, False)


def test_an_unchanged_name_does_not_restore_an_old_name(cast: Cast, owner: Browser, colleague: Actor) -> None:
    project = factories.make_project(cast.account)
    general = reverse("accounts:general", args=[cast.account.slug])
    edit = reverse("accounts:edit_project", args=[cast.account.slug, project.id])
    of_account, of_project = filled(owner.get(general), "name"), filled(owner.get(edit), "name")
    account_services.change_account(actor=colleague, name="Acme Ltd")
    account_services.change_project(actor=colleague, project=project, name="site")
    owner.post(general, of_account)
    owner.post(edit, of_project)
    both = owner.post(edit, {**of_project, "name": "third"})

    assert (Account.objects.get(pk=cast.account.pk).name, Project.objects.get().name) == ("Acme Ltd", "site")
    assert both.status_code == 422
    assert "It is now: site." in words(both.content.decode())


def test_an_unchanged_role_does_not_restore_an_old_role(cast: Cast, owner: Browser, colleague: Actor) -> None:
    membership = Membership.objects.get(account=cast.account, user=cast.user)
    invitation = factories.make_invitation(cast.account, role=Role.ADMIN).invitation
    of_member = reverse("accounts:change_role", args=[cast.account.slug, membership.id])
    of_invited = reverse("accounts:change_invitation", args=[cast.account.slug, invitation.id])
    member, invited = filled(owner.get(of_member), "role"), filled(owner.get(of_invited), "role")
    account_services.change_role(actor=colleague, membership=membership, role=Role.ADMIN)
    account_services.change_invitation(actor=colleague, invitation=invitation, role=Role.USER)
    owner.post(of_member, member)
    owner.post(of_invited, invited)

    assert Membership.objects.get(pk=membership.pk).role == "admin"
    assert Invitation.objects.get().role == "user"


# Django admin -----------------------------------------------------------------------------------


@pytest.fixture
def desk(db: None) -> Browser:
    """The operator's browser."""
    return Browser().as_(factories.make_operator())


@pytest.mark.parametrize("setting", [name for name in SETTINGS if name != "description"])
def test_an_outdated_admin_form_overwrites_nothing(desk: Browser, colleague: Actor, key: APIKey, setting: str) -> None:
    value = SETTINGS[setting][0]
    sent = filled(desk.get(admin_url(key, "change")), "permission", description="Mine")
    services.change_api_key(actor=colleague, api_key=key, **{setting: value})
    response = desk.post(admin_url(key, "change"), sent)
    key.refresh_from_db()

    assert response.status_code == 302
    assert (getattr(key, setting), key.description) == (value, "Mine")


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ({"allowed_networks": ["10.0.0.0/8"]}, {"allowed_networks": '["203.0.113.0/24"]'}),
        ({"rate_limit": "5/minute"}, {"rate_limit": "900/minute"}),
        ({"access": '[{"service":"api"}]'}, {"access": "[]"}),
        ({"permission": KeyPermission.READ}, {"permission": "write"}),
        ({"expires_at": IN_A_WEEK}, {"expires_at_0": "2030-01-01", "expires_at_1": "00:00:00"}),
        ({"description": "Their\nlines"}, {"description": "Mine\ntoo"}),
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_conflict_in_admin_is_shown_and_saved_when_sent_again(
    desk: Browser, colleague: Actor, key: APIKey, theirs: dict[str, Any], mine: dict[str, str]
) -> None:
    sent = filled(desk.get(admin_url(key, "change")), "permission", **mine)
    services.change_api_key(actor=colleague, api_key=key, **theirs)
    refused = desk.post(admin_url(key, "change"), sent)
    errors = refused.context["adminform"].errors
    [(setting, value)] = theirs.items()

    assert list(errors) == [setting]
    assert errors[setting][0].startswith("admin@example.com changed this in the meantime.")
    assert getattr(APIKey.objects.get(pk=key.pk), setting) == value
    assert desk.post(admin_url(key, "change"), filled(refused, "permission")).status_code == 302
    assert getattr(APIKey.objects.get(pk=key.pk), setting) != value


def test_in_admin_an_unchanged_role_or_name_does_not_restore_an_old_one(
    cast: Cast, desk: Browser, colleague: Actor
) -> None:
    membership = Membership.objects.get(account=cast.account, user=cast.user)
    of_member, of_account = (
        filled(desk.get(admin_url(membership, "change")), "role"),
        filled(desk.get(admin_url(cast.account, "change")), "name"),
    )
    account_services.change_role(actor=colleague, membership=membership, role=Role.ADMIN)
    account_services.change_account(actor=colleague, name="Acme Ltd")
    assert desk.post(admin_url(membership, "change"), of_member).status_code == 302
    assert desk.post(admin_url(cast.account, "change"), of_account).status_code == 302

    assert Membership.objects.get(pk=membership.pk).role == "admin"
    assert Account.objects.get(pk=cast.account.pk).name == "Acme Ltd"
    assert not AuditEvent.objects.filter(actor_label="operator@example.com").exists()
