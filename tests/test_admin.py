"""Django admin: every table, changed through services or read-only."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import policy, services
from accounts.audit import Event
from accounts.models import Account, AuditEvent, Deployment, Invitation, Membership, OutgoingMail, Project, User
from accounts.policy import Role
from apikeys.models import APIKey, KeyOrigin, KeyUsage, Service, State
from apikeys.services import Issued
from atatus_dash import scheduler
from atatus_dash.models import Maintenance, ScheduledJob

from . import factories
from .accounts.test_two_factor import code, set_up
from .conftest import Browser, Cast, Program
from .filled import filled

TABLES = [
    User,
    Account,
    Membership,
    Invitation,
    Project,
    Deployment,
    AuditEvent,
    APIKey,
    KeyUsage,
    KeyOrigin,
    Service,
    OutgoingMail,
    Maintenance,
    ScheduledJob,
]
READ_ONLY = [AuditEvent, KeyUsage, KeyOrigin, Invitation, OutgoingMail, ScheduledJob]


@pytest.fixture
def operator(db: None) -> User:
    return factories.make_operator()


@pytest.fixture
def desk(browser: Browser, operator: User) -> Browser:
    """The operator's browser."""
    return browser.as_(operator)


@pytest.fixture
def key(cast: Cast) -> Issued:
    return factories.make_key(cast.account)


def _url(item: Any, page: str) -> str:
    options = item._meta
    arguments = [quote(item.pk)] if page in ("change", "delete", "history") else []
    return reverse(f"admin:{options.app_label}_{options.model_name}_{page}", args=arguments)


def _act(desk: Browser, action: str, *items: Any, **confirmed: str) -> Any:
    sent = {"action": action, "_selected_action": [item.pk for item in items], **confirmed}
    return desk.post(_url(items[0], "changelist"), sent, follow=True)


def _told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def _fill(cast: Cast, number: int) -> None:
    """The given number of rows in every table."""
    for _ in range(number):
        owner = factories.make_user()
        account = factories.make_account(f"Account {owner.pk}", owner)
        factories.make_deployment(factories.make_project(account))
        factories.make_invitation(account)
        factories.make_service(account)
        api_key = factories.make_key(account).api_key
        KeyUsage.objects.create(api_key=api_key, day="2026-11-24", requests=1)
        KeyOrigin.objects.create(api_key=api_key, origin="203.0.113.7", requests=1, last_used_at=timezone.now())
    Maintenance.objects.get_or_create(pk=1)
    scheduler.create_rows()


# All tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TABLES)
def test_every_table_exists_and_is_listed_and_searched(desk: Browser, cast: Cast, model: Any) -> None:
    _fill(cast, 1)
    listed = desk.get(_url(model, "changelist"))
    assert listed.status_code == 200
    assert listed.context["cl"].result_count >= 1
    assert desk.get(_url(model, "changelist"), {"q": "nothing like it"}).status_code == 200


@pytest.mark.parametrize("model", TABLES)
def test_a_longer_list_takes_no_more_queries(
    desk: Browser, cast: Cast, model: Any, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    _fill(cast, 1)
    with django_assert_max_num_queries(30) as few:
        desk.get(_url(model, "changelist"))
    _fill(cast, 5)
    with django_assert_max_num_queries(len(few)):
        desk.get(_url(model, "changelist"))


@pytest.mark.parametrize("model", TABLES)
def test_every_item_has_a_page(desk: Browser, cast: Cast, model: Any) -> None:
    _fill(cast, 1)
    assert desk.get(_url(model.objects.first(), "change")).status_code == 200


@pytest.mark.parametrize("model", TABLES)
def test_every_filter_of_a_list_works(desk: Browser, cast: Cast, model: Any) -> None:
    _fill(cast, 1)
    listed = desk.get(_url(model, "changelist"))
    for spec in listed.context["cl"].filter_specs:
        for choice in spec.choices(listed.context["cl"]):
            assert desk.get(_url(model, "changelist") + choice["query_string"]).status_code == 200


@pytest.mark.parametrize("model", READ_ONLY)
def test_some_tables_are_read_only(desk: Browser, cast: Cast, model: Any) -> None:
    _fill(cast, 1)
    item = model.objects.first()
    assert desk.get(_url(model, "add")).status_code == 403
    assert desk.post(_url(item, "change"), {"name": "Other"}).status_code == 403
    assert desk.post(_url(item, "delete"), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in desk.get(_url(model, "changelist")).content.decode()
    _act(desk, "delete_selected", item, post="yes")
    assert model.objects.filter(pk=item.pk).exists()


def test_all_our_tables_are_registered() -> None:
    ours = {model for model in admin.site._registry if model._meta.app_label in ("accounts", "apikeys", "atatus_dash")}
    assert ours == set(TABLES)


@pytest.mark.parametrize("person", ["owner", "admin", "user", "stranger"])
def test_no_role_in_an_account_opens_admin(cast: Cast, browser: Browser, person: str) -> None:
    assert browser.as_(getattr(cast, person)).get("/admin/", follow=True).status_code == 403


def test_admin_redirects_visitors_to_the_sign_in_page(browser: Browser, db: None) -> None:
    answer = browser.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/auth/login/?next=")


# People -----------------------------------------------------------------------------------------


def test_a_person_added_by_the_operator_can_sign_in(desk: Browser, browser: Browser) -> None:
    password = "a fine long password"
    sent = {"email": "New@Example.com", "name": "Nina", "password1": password, "password2": password}
    assert desk.post(_url(User, "add"), sent).status_code == 302
    desk.logout()
    assert desk.post("/auth/login/", {"login": "new@example.com", "password": password})["Location"] == "/"


@pytest.mark.parametrize("email", ["owner@example.com", "OWNER@example.com", "second@example.com"])
def test_an_address_that_is_taken_is_refused_at_the_field(desk: Browser, cast: Cast, email: str) -> None:
    EmailAddress.objects.create(user=cast.owner, email="second@example.com", verified=True)
    password = "a fine long password"
    answer = desk.post(_url(User, "add"), {"email": email, "password1": password, "password2": password})
    assert answer.context["adminform"].form.errors == {"email": ["A person with this address exists."]}


def test_a_users_password_is_changed_in_a_separate_form(desk: Browser, cast: Cast) -> None:
    url = reverse("admin:auth_user_password_change", args=[cast.user.pk])
    password = "another fine password"
    assert desk.post(url, {"password1": password, "password2": password, "usable_password": "true"}).status_code == 302
    cast.user.refresh_from_db()
    assert cast.user.check_password(password)


def test_a_changed_address_replaces_the_old_one(desk: Browser, cast: Cast) -> None:
    desk.post(_url(cast.user, "change"), {"email": "moved@example.com", "name": "", "is_active": "on"})
    addresses = EmailAddress.objects.filter(user=cast.user).values_list("email", "verified", "primary")
    assert list(addresses) == [("moved@example.com", True, True)]


def test_the_owner_of_an_account_can_not_be_deleted(desk: Browser, cast: Cast) -> None:
    answer = desk.post(_url(cast.owner, "delete"), {"post": "yes"})
    assert answer.status_code == 200
    assert "Owner of Acme" in answer.content.decode()
    _act(desk, "delete_selected", cast.owner, cast.user, post="yes")
    assert User.objects.filter(pk__in=[cast.owner.pk, cast.user.pk]).count() == 2


def test_deleting_a_user_is_recorded_in_their_accounts(desk: Browser, cast: Cast) -> None:
    assert desk.post(_url(cast.user, "delete"), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=cast.user.pk).exists()
    event = AuditEvent.objects.get(event=Event.MEMBER_REMOVED)
    assert (event.target_label, event.actor_label) == ("user@example.com", "operator@example.com")


def test_users_who_are_deleted_together_leave_their_accounts_on_record_too(desk: Browser, cast: Cast) -> None:
    _act(desk, "delete_selected", cast.admin, cast.user, post="yes")
    assert not User.objects.filter(pk__in=[cast.admin.pk, cast.user.pk]).exists()
    removed = AuditEvent.objects.filter(event=Event.MEMBER_REMOVED).values_list("target_label", flat=True)
    assert set(removed) == {"admin@example.com", "user@example.com"}


# Accounts and members ---------------------------------------------------------------------------


def test_an_account_is_added_with_its_owner(desk: Browser, cast: Cast) -> None:
    assert desk.post(_url(Account, "add"), {"name": "Second", "owner": cast.user.pk}).status_code == 302
    membership = Membership.objects.get(account__slug="second")
    assert (membership.user, membership.role) == (cast.user, Role.OWNER)
    event = AuditEvent.objects.get(account=membership.account, event=Event.ACCOUNT_CREATED)
    assert event.actor_label == "operator@example.com"


def test_an_account_without_an_owner_is_not_added(desk: Browser, cast: Cast) -> None:
    assert "owner" in desk.post(_url(Account, "add"), {"name": "Second"}).context["adminform"].form.errors


def test_a_renamed_account_keeps_its_slug_and_records_it(desk: Browser, cast: Cast) -> None:
    desk.post(_url(cast.account, "change"), {"name": "Acme Ltd", "slug": "other"})
    cast.account.refresh_from_db()
    assert (cast.account.name, cast.account.slug) == ("Acme Ltd", "acme")
    assert AuditEvent.objects.get(event=Event.ACCOUNT_CHANGED).changes == {"name": ["Acme", "Acme Ltd"]}


def test_no_account_is_deleted(desk: Browser, cast: Cast) -> None:
    assert desk.post(_url(cast.account, "delete"), {"post": "yes"}).status_code == 403
    _act(desk, "delete_selected", cast.account, post="yes")
    assert Account.objects.filter(pk=cast.account.pk).exists()


def test_an_account_is_suspended_and_resumed(desk: Browser, cast: Cast, program: Program) -> None:
    assert _told(_act(desk, "suspend", cast.account)) == ["1 suspended."]
    assert program.get("/v2").json() == {"Message": "This account is suspended."}
    assert _told(_act(desk, "suspend", cast.account)) == ["Acme is already suspended."]
    assert _told(_act(desk, "resume", cast.account)) == ["1 resumed."]
    assert program.get("/v2").status_code == 200


def test_a_closed_account_is_found_and_reopened(desk: Browser, cast: Cast, program: Program) -> None:
    assert _told(_act(desk, "reopen", cast.account)) == ["Acme is not closed."]
    services.close_account(actor=policy.system(cast.account.ref), name="Acme")
    shown = {
        state: [
            account.name
            for account in desk.get(_url(Account, "changelist"), {"state": state}).context["cl"].result_list
        ]
        for state in ("in_use", "closed", "suspended")
    }
    assert shown == {"in_use": ["Elsewhere"], "closed": ["Acme"], "suspended": []}
    assert _told(_act(desk, "reopen", cast.account)) == ["1 reopened."]
    assert program.get("/v2").status_code == 200
    assert AuditEvent.objects.get(event=Event.ACCOUNT_REOPENED).actor_label == "operator@example.com"


def _member(cast: Cast, person: User) -> Membership:
    return Membership.objects.get(account=cast.account, user=person)


def test_a_member_is_added_and_recorded(desk: Browser, cast: Cast) -> None:
    sent = {"account": cast.account.pk, "user": cast.stranger.pk, "role": "admin"}
    assert desk.post(_url(Membership, "add"), sent).status_code == 302
    assert _member(cast, cast.stranger).role == Role.ADMIN
    event = AuditEvent.objects.filter(event=Event.MEMBER_ADDED, account=cast.account).first()
    assert event
    assert (event.target_label, event.actor_label) == ("stranger@example.com", "operator@example.com")


def test_a_person_is_a_member_once(desk: Browser, cast: Cast) -> None:
    sent = {"account": cast.account.pk, "user": cast.user.pk, "role": "admin"}
    assert desk.post(_url(Membership, "add"), sent).context["adminform"].form.non_field_errors()


def test_a_second_owner_is_refused(desk: Browser, cast: Cast) -> None:
    sent = {"account": cast.account.pk, "user": cast.stranger.pk, "role": "owner"}
    assert "role" in desk.post(_url(Membership, "add"), sent).context["adminform"].form.errors
    promoted = desk.post(_url(_member(cast, cast.admin), "change"), {"role": "owner"})
    assert "role" in promoted.context["adminform"].form.errors
    assert Membership.objects.filter(account=cast.account, role=Role.OWNER).count() == 1


def test_a_role_is_changed_and_recorded(desk: Browser, cast: Cast) -> None:
    assert desk.post(_url(_member(cast, cast.user), "change"), {"role": "admin"}).status_code == 302
    assert _member(cast, cast.user).role == Role.ADMIN
    assert AuditEvent.objects.get(event=Event.MEMBER_CHANGED).changes == {"role": ["user", "admin"]}


def test_the_owner_is_neither_demoted_nor_removed(desk: Browser, cast: Cast) -> None:
    owner = _member(cast, cast.owner)
    assert desk.post(_url(owner, "change"), {"role": "user"}).status_code == 403
    assert desk.post(_url(owner, "delete"), {"post": "yes"}).status_code == 403
    refused = _act(desk, "delete_selected", owner, _member(cast, cast.user), post="yes")
    assert "Cannot delete members" in refused.content.decode()
    assert Membership.objects.filter(account=cast.account).count() == 3


def test_a_removed_member_is_recorded(desk: Browser, cast: Cast) -> None:
    _act(desk, "delete_selected", _member(cast, cast.user), _member(cast, cast.admin), post="yes")
    assert list(Membership.objects.filter(account=cast.account).values_list("user", flat=True)) == [cast.owner.pk]
    assert AuditEvent.objects.filter(event=Event.MEMBER_REMOVED, actor_label="operator@example.com").count() == 2


# What accounts own ------------------------------------------------------------------------------


def test_creating_renaming_and_deleting_a_project_is_recorded(desk: Browser, cast: Cast) -> None:
    desk.post(_url(Project, "add"), {"account": cast.account.pk, "name": "web"})
    project = Project.objects.get()
    desk.post(_url(project, "change"), {"name": "site"})
    project.refresh_from_db()
    assert project.name == "site"
    desk.post(_url(project, "delete"), {"post": "yes"})
    assert not Project.objects.exists()
    recorded = AuditEvent.objects.filter(event__startswith="project.", actor_label="operator@example.com")
    assert {event.event for event in recorded} == {"project.created", "project.changed", "project.deleted"}


def test_deleting_a_deployment_is_recorded_and_it_never_changes(desk: Browser, cast: Cast) -> None:
    deployment = factories.make_deployment(factories.make_project(cast.account))
    assert desk.post(_url(deployment, "change"), {"revision": "other"}).status_code == 403
    _act(desk, "delete_selected", deployment, post="yes")
    assert not Deployment.objects.exists()
    assert AuditEvent.objects.get(event=Event.DEPLOYMENT_DELETED).actor_label == "operator@example.com"


def test_creating_changing_and_deleting_a_shared_service_in_admin_is_recorded(desk: Browser, cast: Cast) -> None:
    sent = {
        "account": cast.account.pk,
        "name": "Weather API",
        "shared": "on",
        "reading_methods": '["get"]',
        "reading_paths": "[]",
        "gateways": '["10.0.0.5"]',
    }
    assert desk.post(_url(Service, "add"), sent).status_code == 302
    service = Service.objects.get()
    assert (service.shared, service.reading_methods, service.gateways) == (True, ["GET"], ["10.0.0.5/32"])
    page = filled(desk.get(_url(service, "change")), "name", name="Climate API", preflight="on")
    assert desk.post(_url(service, "change"), page).status_code == 302
    service.refresh_from_db()
    assert (service.name, service.preflight, service.shared) == ("Climate API", True, True)
    assert desk.post(_url(service, "delete"), {"post": "yes"}).status_code == 302
    recorded = AuditEvent.objects.for_account(cast.account).filter(event__startswith="service.")
    assert [(event.event, event.actor_label) for event in recorded.order_by("at")] == [
        ("service.created", "operator@example.com"),
        ("service.widened", "operator@example.com"),
        ("service.deleted", "operator@example.com"),
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("gateways", '["home"]'),
        ("gateways", '"10.0.0.5"'),
        ("reading_methods", '["G T"]'),
        ("reading_paths", '["graphql"]'),
        ("upstream", "10.0.0.5"),
    ],
)
def test_a_field_error_of_a_service_is_shown_at_its_field(desk: Browser, cast: Cast, field: str, value: str) -> None:
    sent = {"account": cast.account.pk, "name": "x", "gateways": "[]", "reading_methods": "[]", "reading_paths": "[]"}
    answer = desk.post(_url(Service, "add"), {**sent, field: value})
    assert list(answer.context["adminform"].form.errors) == [field]


# Keys -------------------------------------------------------------------------------------------


def test_a_key_is_shown_only_as_its_mask(desk: Browser, key: Issued) -> None:
    for page in (_url(key.api_key, "changelist"), _url(key.api_key, "change")):
        text = desk.get(page).content.decode()
        assert key.api_key.mask in text
        assert key.secret not in text
        assert key.api_key.digest not in text


def _settings(key: Issued, **changes: str) -> dict[str, str]:
    sent = {"name": "Deploys", "permission": "read_write", "allowed_networks": "[]", "rate_limit": ""}
    return {**sent, "accepts_query": "on", "accepts_body": "on", **changes}


def test_only_the_settings_of_a_key_can_be_changed(desk: Browser, key: Issued) -> None:
    page = desk.get(_url(key.api_key, "change")).content.decode()
    form = page[page.index('id="apikey_form"') :]
    typed = set(re.findall(r'<(?:input|textarea|select)[^>]* name="([a-z_0-9]+)"', form))
    assert not typed & {"digest", "mask", "account", "created_by", "disabled_at", "revoked_at", "last_used_at"}
    assert {"name", "permission", "administrator", "rate_limit"} <= typed


def test_a_keys_settings_change_through_the_service(desk: Browser, key: Issued) -> None:
    desk.post(_url(key.api_key, "change"), _settings(key, permission="read", allowed_networks='["127.0.0.1/8"]'))
    assert Program(key.secret).send("post", "/v2/projects", {"name": "web"}).status_code == 403
    event = AuditEvent.objects.get(event=Event.API_KEY_CHANGED)
    assert event.actor_label == "operator@example.com"
    assert event.changes == {"permission": ["read_write", "read"], "allowed_networks": [[], ["127.0.0.0/8"]]}
    desk.post(_url(key.api_key, "change"), _settings(key))
    assert AuditEvent.objects.filter(event=Event.API_KEY_WIDENED).count() == 1


@pytest.mark.parametrize(
    "changes", [{"rate_limit": "fast"}, {"allowed_networks": '["nowhere"]'}, {"allowed_networks": '"10.0.0.0/8"'}]
)
def test_impossible_settings_are_refused_at_the_field(desk: Browser, key: Issued, changes: dict[str, str]) -> None:
    answer = desk.post(_url(key.api_key, "change"), _settings(key, **changes))
    assert list(changes) == list(answer.context["adminform"].errors)


def test_an_expiry_in_the_past_is_refused_at_its_field(desk: Browser, key: Issued) -> None:
    past = _settings(key, expires_at_0="2020-01-01", expires_at_1="00:00:00")
    answer = desk.post(_url(key.api_key, "change"), past)
    assert answer.context["adminform"].errors == {"expires_at": ["Enter a time in the future."]}


def test_a_key_is_neither_created_nor_deleted_in_admin(desk: Browser, key: Issued) -> None:
    assert desk.get(_url(APIKey, "add")).status_code == 403
    assert desk.post(_url(key.api_key, "delete"), {"post": "yes"}).status_code == 403
    _act(desk, "delete_selected", key.api_key, post="yes")
    assert APIKey.objects.filter(pk=key.api_key.pk).exists()


def test_a_revoked_key_can_only_be_viewed(desk: Browser, key: Issued) -> None:
    _act(desk, "revoke", key.api_key, sure="yes")
    assert desk.post(_url(key.api_key, "change"), _settings(key, name="Back")).status_code == 403


def test_a_key_is_disabled_enabled_and_revoked_as_the_operator(desk: Browser, key: Issued) -> None:
    program = Program(key.secret)
    assert _told(_act(desk, "disable", key.api_key)) == ["1 disabled."]
    assert program.get("/v2").json() == {"Message": "API key is disabled!"}
    assert _told(_act(desk, "enable", key.api_key)) == ["1 enabled."]
    assert program.get("/v2").status_code == 200
    assert _told(_act(desk, "revoke", key.api_key, sure="yes")) == ["1 revoked."]
    assert program.get("/v2").json() == {"Message": "API key has been revoked!"}
    events = AuditEvent.objects.filter(target_id=key.api_key.id, actor_label="operator@example.com")
    assert {event.event for event in events} == {"api_key.disabled", "api_key.enabled", "api_key.revoked"}
    assert {(event.actor_kind, event.address) for event in events} == {("person", "127.0.0.1")}


def test_revoking_asks_for_confirmation_and_names_the_keys(desk: Browser, key: Issued) -> None:
    asked = _act(desk, "revoke", key.api_key).content.decode()
    assert "Deploys" in asked
    assert 'name="sure"' in asked
    assert APIKey.objects.get().state == State.ACTIVE


def test_an_action_that_does_not_apply_to_a_key_shows_an_error(desk: Browser, key: Issued) -> None:
    assert _told(_act(desk, "enable", key.api_key)) == ["Deploys is active."]


def test_an_operator_with_view_permission_has_no_actions(desk: Browser, operator: User, key: Issued) -> None:
    from django.contrib.auth.models import Permission

    operator.is_superuser = False
    operator.save()
    operator.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    listed = desk.get(_url(key.api_key, "changelist"))
    assert listed.status_code == 200
    assert "Revoke for good" not in listed.content.decode()
    _act(desk, "revoke", key.api_key, sure="yes")
    assert APIKey.objects.get().state == State.ACTIVE


# Maintenance ------------------------------------------------------------------------------------


def test_maintenance_is_one_row(desk: Browser) -> None:
    sent = {"on": "on", "message": "Back at noon.", "retry_after": "60"}
    assert desk.post(_url(Maintenance, "add"), sent).status_code == 302
    assert Maintenance.objects.get().on
    assert desk.get(_url(Maintenance, "add")).status_code == 403
    desk.post(_url(Maintenance.objects.get(), "change"), {"message": "Back at noon.", "retry_after": "60"})
    assert not Maintenance.objects.get().on


def test_maintenance_is_never_deleted(desk: Browser) -> None:
    state = Maintenance.objects.create()
    assert desk.post(_url(state, "delete"), {"post": "yes"}).status_code == 403


def test_a_wait_of_zero_seconds_is_refused(desk: Browser) -> None:
    answer = desk.post(_url(Maintenance, "add"), {"on": "on", "message": "Back at noon.", "retry_after": "0"})
    assert "retry_after" in answer.context["adminform"].form.errors


# Invitations and signing in ---------------------------------------------------------------------


def test_an_invitation_is_withdrawn(desk: Browser, cast: Cast) -> None:
    invitation = factories.make_invitation(cast.account).invitation
    assert _told(_act(desk, "withdraw", invitation)) == ["1 withdrawn."]
    assert Invitation.objects.get().state == Invitation.State.WITHDRAWN
    assert _told(_act(desk, "withdraw", invitation)) == ["This invitation was already accepted or withdrawn."]


def test_the_token_of_an_invitation_is_not_shown(desk: Browser, cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    page = desk.get(_url(sent.invitation, "change")).content.decode()
    assert sent.token not in page
    assert sent.invitation.token_digest not in page


def test_an_operator_with_two_factor_has_to_use_it(browser: Browser, operator: User) -> None:
    form = {"username": operator.email, "password": factories.PASSWORD, "next": "/admin/"}
    admin_login = browser.post("/admin/login/", form)
    assert admin_login.headers["Location"].startswith(reverse("account_login"))
    sign_in = {"login": operator.email, "password": factories.PASSWORD, "next": "/admin/"}
    assert browser.post(reverse("account_login"), sign_in).headers["Location"] == reverse("mfa_authenticate")
    assert browser.get("/admin/").status_code == 302


# The second factor ------------------------------------------------------------------------------


@pytest.fixture
def newcomer(db: None, browser: Browser) -> Browser:
    """The browser of an operator who has no second factor."""
    return browser.as_(User.objects.create_superuser("first@example.com", factories.PASSWORD))


def test_the_first_operator_is_redirected_to_set_up_two_factor_and_back(
    db: None, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", factories.PASSWORD)
    call_command("createsuperuser", email="first@example.com", interactive=False, verbosity=0)
    people = _url(User, "changelist")
    led = browser.get(people, follow=True).redirect_chain[-1][0]
    assert led.startswith(reverse("account_login"))
    signed_in = browser.post(led, {"login": "first@example.com", "password": factories.PASSWORD, "next": people})
    assert signed_in.headers["Location"] == people
    told = browser.get(people, follow=True)
    assert told.redirect_chain[-1][0].startswith(reverse("mfa_index"))
    assert "Django admin requires two-factor authentication" in told.content.decode()
    assert "Go to Django admin" not in told.content.decode()

    set_up(browser)
    assert f'href="{reverse("admin:login")}">Go to Django admin' in browser.get(reverse("mfa_index")).content.decode()
    back = browser.get(reverse("admin:login"), follow=True)
    assert back.status_code == 200
    assert back.redirect_chain == [(people, 302)]


def _admin_pages(patterns: Any) -> Iterator[Any]:
    for entry in patterns:
        yield from _admin_pages(entry.url_patterns) if hasattr(entry, "url_patterns") else [entry]


def test_no_page_of_admin_opens_without_a_second_factor(newcomer: Browser) -> None:
    urls = {
        "/admin/" + re.sub(r"<[^>]*>|\(\?P.*", "1", str(page.pattern)).lstrip("^")
        for page in _admin_pages(admin.site.get_urls())
    }
    models = {_url(model, page) for model in admin.site._registry for page in ("changelist", "add")}
    for url in urls | models:
        for method in (newcomer.get, newcomer.post):
            answer = method(url, {"q": "a"}, follow=True)
            assert "admin/css" not in answer.content.decode(), url
            assert answer.redirect_chain[-1][0].startswith((reverse("mfa_index"), "/auth/")), url


def test_recovery_codes_alone_are_not_a_second_factor(newcomer: Browser) -> None:
    RecoveryCodes.activate(User.objects.get())
    assert newcomer.get("/admin/").status_code == 302


def test_a_passkey_opens_admin(newcomer: Browser) -> None:
    operator = User.objects.get()
    Authenticator.objects.create(user=operator, type="webauthn", data={"name": "Key", "credential": {}})
    assert newcomer.get("/admin/login/").headers["Location"].startswith(reverse("mfa_reauthenticate_webauthn"))
    assert newcomer.as_(operator).get("/admin/").status_code == 200


def test_a_session_older_than_the_factor_has_to_enter_it(db: None, browser: Browser) -> None:
    operator = User.objects.create_superuser("first@example.com", factories.PASSWORD)
    stolen = Browser()
    for session in (browser, stolen):
        session.post(reverse("account_login"), {"login": operator.email, "password": factories.PASSWORD})
    secret = set_up(browser)
    assert browser.get("/admin/").status_code == 200
    assert stolen.get("/admin/").status_code == 302
    people = _url(User, "changelist")
    asked = stolen.get(people, follow=True)
    assert asked.redirect_chain[-1][0].startswith(reverse("mfa_reauthenticate"))
    asked = stolen.post(asked.redirect_chain[-1][0], {"code": code(secret), "next": people}, follow=True)
    assert asked.redirect_chain[-1][0] == people
    assert asked.status_code == 200


def test_admins_own_sign_in_form_is_not_used(browser: Browser, operator: User, cast: Cast) -> None:
    for person in (operator, cast.owner):
        form = {"username": person.email, "password": factories.PASSWORD, "next": "/admin/"}
        assert browser.post("/admin/login/", form).headers["Location"].startswith(reverse("account_login"))
        assert browser.get("/admin/").status_code == 302
    browser.as_(cast.owner)
    assert browser.post("/admin/login/", form).status_code == 403


def test_admin_redirects_to_no_other_host(desk: Browser) -> None:
    assert desk.get("/admin/login/?next=https://evil.example/").headers["Location"] == "/admin/"


def test_no_page_of_admin_shows_second_factors(desk: Browser, operator: User) -> None:
    secret = Authenticator.objects.get(user=operator).data["secret"]
    assert Authenticator not in admin.site._registry
    for page in ("/admin/", "/admin/mfa/", _url(operator, "change"), _url(operator, "delete")):
        assert secret not in desk.get(page).content.decode()
    assert desk.get("/admin/mfa/authenticator/").status_code == 404


def test_an_operators_reset_of_two_factor_is_recorded(desk: Browser, cast: Cast) -> None:
    factories.give_second_factor(cast.user)
    theirs = Browser()
    theirs.as_(cast.user).get(reverse("accounts:profile"))
    assert _told(_act(desk, "reset_two_factor", cast.user, cast.admin)) == [
        "admin@example.com has no two-factor authentication.",
        "1 reset.",
    ]
    assert not Authenticator.objects.filter(user=cast.user).exists()
    assert theirs.get(reverse("accounts:profile")).status_code == 302
    event = AuditEvent.objects.get(event=Event.MEMBER_TWO_FACTOR_RESET)
    assert (event.account, event.actor_label, event.target_label) == (
        cast.account,
        "operator@example.com",
        "user@example.com",
    )


# Sessions ---------------------------------------------------------------------------------------


def _session_of(person: User) -> UserSession:
    Browser().as_(person).get(reverse("accounts:profile"))
    session: UserSession = UserSession.objects.get(user=person)
    return session


def test_a_sessions_key_is_neither_shown_nor_searched(desk: Browser, cast: Cast) -> None:
    session = _session_of(cast.user)
    for page in (_url(session, "changelist"), _url(session, "change"), _url(session, "delete")):
        answer = desk.get(page)
        assert answer.status_code == 200
        assert session.session_key not in answer.content.decode()
    assert desk.get(_url(session, "changelist"), {"q": "user@example.com"}).context["cl"].result_count == 1
    assert desk.get(_url(session, "changelist"), {"q": session.session_key}).context["cl"].result_count == 0
    for lookup in ("session_key", "session_key__startswith", "data__contains"):
        assert desk.get(_url(session, "changelist"), {lookup: session.session_key[:3]}).status_code == 400


def test_a_deleted_session_has_ended(desk: Browser, cast: Cast) -> None:
    theirs = Browser()
    theirs.as_(cast.user).get(reverse("accounts:profile"))
    assert desk.post(_url(UserSession.objects.get(user=cast.user), "delete"), {"post": "yes"}).status_code == 302
    assert theirs.get(reverse("accounts:profile")).status_code == 302
    session = _session_of(cast.admin)
    _act(desk, "delete_selected", session, post="yes")
    assert not Session.objects.filter(session_key=session.session_key).exists()


def test_admin_is_closed_to_members_who_are_not_operators(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    assert browser.get("/admin/", follow=True).status_code == 403
