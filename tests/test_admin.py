"""Django admin: every table, changed through services or read-only."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from accounts import policy, services
from accounts.audit import Event
from accounts.models import Account, AuditEvent, Deployment, Invitation, Membership, OutgoingMail, Project, User
from accounts.policy import Role
from apikeys.models import APIKey, KeyOrigin, KeyUsage, Service, State
from apikeys.services import Issued
from atatus_dash import scheduler
from atatus_dash.models import Maintenance, ScheduledJob

from . import factories
from .admin_pages import act, admin_url, told
from .clones import Clone
from .conftest import Browser, Cast, Program
from .html_forms import filled

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
def key(cast: Cast) -> Issued:
    return factories.make_key(cast.account)


def _rows() -> None:
    """A row in every table."""
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


ROWS = Clone(_rows)


@pytest.fixture
def rows(db: None) -> None:
    ROWS.get()


# All tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TABLES)
def test_every_table_exists_and_is_listed_and_searched(desk: Browser, rows: None, model: Any) -> None:
    listed = desk.get(admin_url(model, "changelist"))
    assert listed.status_code == 200
    assert listed.context["cl"].result_count >= 1
    assert desk.get(admin_url(model, "changelist"), {"q": "nothing like it"}).status_code == 200


@pytest.mark.parametrize("model", TABLES)
def test_every_item_has_a_page(desk: Browser, rows: None, model: Any) -> None:
    assert desk.get(admin_url(model.objects.first(), "change")).status_code == 200


@pytest.mark.parametrize("model", TABLES)
def test_every_filter_of_a_list_works(desk: Browser, rows: None, model: Any) -> None:
    listed = desk.get(admin_url(model, "changelist"))
    for spec in listed.context["cl"].filter_specs:
        for choice in spec.choices(listed.context["cl"]):
            assert desk.get(admin_url(model, "changelist") + choice["query_string"]).status_code == 200


@pytest.mark.parametrize("model", READ_ONLY)
def test_some_tables_are_read_only(desk: Browser, rows: None, model: Any) -> None:
    item = model.objects.first()
    assert desk.get(admin_url(model, "add")).status_code == 403
    assert desk.post(admin_url(item, "change"), {"name": "Other"}).status_code == 403
    assert desk.post(admin_url(item, "delete"), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in desk.get(admin_url(model, "changelist")).content.decode()
    act(desk, "delete_selected", item, post="yes")
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
    assert desk.post(admin_url(User, "add"), sent).status_code == 302
    desk.logout()
    assert desk.post("/auth/login/", {"login": "new@example.com", "password": password})["Location"] == "/"


@pytest.mark.parametrize("email", ["owner@example.com", "OWNER@example.com", "second@example.com"])
def test_an_address_that_is_taken_is_refused_at_the_field(desk: Browser, cast: Cast, email: str) -> None:
    EmailAddress.objects.create(user=cast.owner, email="second@example.com", verified=True)
    password = "a fine long password"
    answer = desk.post(admin_url(User, "add"), {"email": email, "password1": password, "password2": password})
    assert answer.context["adminform"].form.errors == {"email": ["A person with this address exists."]}


def test_a_users_password_is_changed_in_a_separate_form(desk: Browser, cast: Cast) -> None:
    url = reverse("admin:auth_user_password_change", args=[cast.user.pk])
    password = "another fine password"
    assert desk.post(url, {"password1": password, "password2": password, "usable_password": "true"}).status_code == 302
    cast.user.refresh_from_db()
    assert cast.user.check_password(password)


def test_a_changed_address_replaces_the_old_one(desk: Browser, cast: Cast) -> None:
    desk.post(admin_url(cast.user, "change"), {"email": "moved@example.com", "name": "", "is_active": "on"})
    addresses = EmailAddress.objects.filter(user=cast.user).values_list("email", "verified", "primary")
    assert list(addresses) == [("moved@example.com", True, True)]


def test_the_owner_of_an_account_can_not_be_deleted(desk: Browser, cast: Cast) -> None:
    answer = desk.post(admin_url(cast.owner, "delete"), {"post": "yes"})
    assert answer.status_code == 200
    assert "Owner of Acme" in answer.content.decode()
    act(desk, "delete_selected", cast.owner, cast.user, post="yes")
    assert User.objects.filter(pk__in=[cast.owner.pk, cast.user.pk]).count() == 2


def test_deleting_a_user_is_recorded_in_their_accounts(desk: Browser, cast: Cast) -> None:
    assert desk.post(admin_url(cast.user, "delete"), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=cast.user.pk).exists()
    event = AuditEvent.objects.get(event=Event.MEMBER_REMOVED)
    assert (event.target_label, event.actor_label) == ("user@example.com", "operator@example.com")


def test_users_who_are_deleted_together_leave_their_accounts_on_record_too(desk: Browser, cast: Cast) -> None:
    act(desk, "delete_selected", cast.admin, cast.user, post="yes")
    assert not User.objects.filter(pk__in=[cast.admin.pk, cast.user.pk]).exists()
    removed = AuditEvent.objects.filter(event=Event.MEMBER_REMOVED).values_list("target_label", flat=True)
    assert set(removed) == {"admin@example.com", "user@example.com"}


# Accounts and members ---------------------------------------------------------------------------


def test_an_account_is_added_with_its_owner(desk: Browser, cast: Cast) -> None:
    assert desk.post(admin_url(Account, "add"), {"name": "Second", "owner": cast.user.pk}).status_code == 302
    membership = Membership.objects.get(account__slug="second")
    assert (membership.user, membership.role) == (cast.user, Role.OWNER)
    event = AuditEvent.objects.get(account=membership.account, event=Event.ACCOUNT_CREATED)
    assert event.actor_label == "operator@example.com"


def test_an_account_without_an_owner_is_not_added(desk: Browser, cast: Cast) -> None:
    assert "owner" in desk.post(admin_url(Account, "add"), {"name": "Second"}).context["adminform"].form.errors


def test_a_renamed_account_keeps_its_slug_and_records_it(desk: Browser, cast: Cast) -> None:
    desk.post(admin_url(cast.account, "change"), {"name": "Acme Ltd", "slug": "other"})
    cast.account.refresh_from_db()
    assert (cast.account.name, cast.account.slug) == ("Acme Ltd", "acme")
    assert AuditEvent.objects.get(event=Event.ACCOUNT_CHANGED).changes == {"name": ["Acme", "Acme Ltd"]}


def test_no_account_is_deleted(desk: Browser, cast: Cast) -> None:
    assert desk.post(admin_url(cast.account, "delete"), {"post": "yes"}).status_code == 403
    act(desk, "delete_selected", cast.account, post="yes")
    assert Account.objects.filter(pk=cast.account.pk).exists()


def test_an_account_is_suspended_and_resumed(desk: Browser, cast: Cast, program: Program) -> None:
    assert told(act(desk, "suspend", cast.account)) == ["1 suspended."]
    assert program.get("/v2").json() == {"Message": "This account is suspended."}
    assert told(act(desk, "suspend", cast.account)) == ["Acme is already suspended."]
    assert told(act(desk, "resume", cast.account)) == ["1 resumed."]
    assert program.get("/v2").status_code == 200


def test_a_closed_account_is_found_and_reopened(desk: Browser, cast: Cast, program: Program) -> None:
    assert told(act(desk, "reopen", cast.account)) == ["Acme is not closed."]
    services.close_account(actor=policy.system(cast.account.ref), name="Acme")
    accounts = admin_url(Account, "changelist")
    shown = {
        state: [account.name for account in desk.get(accounts, {"state": state}).context["cl"].result_list]
        for state in ("in_use", "closed", "suspended")
    }
    assert shown == {"in_use": ["Elsewhere"], "closed": ["Acme"], "suspended": []}
    assert told(act(desk, "reopen", cast.account)) == ["1 reopened."]
    assert program.get("/v2").status_code == 200
    assert AuditEvent.objects.get(event=Event.ACCOUNT_REOPENED).actor_label == "operator@example.com"


def _member(cast: Cast, person: User) -> Membership:
    return Membership.objects.get(account=cast.account, user=person)


def test_a_member_is_added_and_recorded(desk: Browser, cast: Cast) -> None:
    sent = {"account": cast.account.pk, "user": cast.stranger.pk, "role": "admin"}
    assert desk.post(admin_url(Membership, "add"), sent).status_code == 302
    assert _member(cast, cast.stranger).role == Role.ADMIN
    event = AuditEvent.objects.filter(event=Event.MEMBER_ADDED, account=cast.account).first()
    assert event
    assert (event.target_label, event.actor_label) == ("stranger@example.com", "operator@example.com")


def test_a_person_is_a_member_once(desk: Browser, cast: Cast) -> None:
    sent = {"account": cast.account.pk, "user": cast.user.pk, "role": "admin"}
    assert desk.post(admin_url(Membership, "add"), sent).context["adminform"].form.non_field_errors()


def test_a_second_owner_is_refused(desk: Browser, cast: Cast) -> None:
    sent = {"account": cast.account.pk, "user": cast.stranger.pk, "role": "owner"}
    assert "role" in desk.post(admin_url(Membership, "add"), sent).context["adminform"].form.errors
    promoted = desk.post(admin_url(_member(cast, cast.admin), "change"), {"role": "owner"})
    assert "role" in promoted.context["adminform"].form.errors
    assert Membership.objects.filter(account=cast.account, role=Role.OWNER).count() == 1


def test_a_role_is_changed_and_recorded(desk: Browser, cast: Cast) -> None:
    assert desk.post(admin_url(_member(cast, cast.user), "change"), {"role": "admin"}).status_code == 302
    assert _member(cast, cast.user).role == Role.ADMIN
    assert AuditEvent.objects.get(event=Event.MEMBER_CHANGED).changes == {"role": ["user", "admin"]}


def test_the_owner_is_neither_demoted_nor_removed(desk: Browser, cast: Cast) -> None:
    owner = _member(cast, cast.owner)
    assert desk.post(admin_url(owner, "change"), {"role": "user"}).status_code == 403
    assert desk.post(admin_url(owner, "delete"), {"post": "yes"}).status_code == 403
    refused = act(desk, "delete_selected", owner, _member(cast, cast.user), post="yes")
    assert "Cannot delete members" in refused.content.decode()
    assert Membership.objects.filter(account=cast.account).count() == 3


def test_a_removed_member_is_recorded(desk: Browser, cast: Cast) -> None:
    act(desk, "delete_selected", _member(cast, cast.user), _member(cast, cast.admin), post="yes")
    assert list(Membership.objects.filter(account=cast.account).values_list("user", flat=True)) == [cast.owner.pk]
    assert AuditEvent.objects.filter(event=Event.MEMBER_REMOVED, actor_label="operator@example.com").count() == 2


# What accounts own ------------------------------------------------------------------------------


def test_creating_renaming_and_deleting_a_project_is_recorded(desk: Browser, cast: Cast) -> None:
    desk.post(admin_url(Project, "add"), {"account": cast.account.pk, "name": "web"})
    project = Project.objects.get()
    desk.post(admin_url(project, "change"), {"name": "site"})
    project.refresh_from_db()
    assert project.name == "site"
    desk.post(admin_url(project, "delete"), {"post": "yes"})
    assert not Project.objects.exists()
    recorded = AuditEvent.objects.filter(event__startswith="project.", actor_label="operator@example.com")
    assert {event.event for event in recorded} == {"project.created", "project.changed", "project.deleted"}


def test_deleting_a_deployment_is_recorded_and_it_never_changes(desk: Browser, cast: Cast) -> None:
    deployment = factories.make_deployment(factories.make_project(cast.account))
    assert desk.post(admin_url(deployment, "change"), {"revision": "other"}).status_code == 403
    act(desk, "delete_selected", deployment, post="yes")
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
    assert desk.post(admin_url(Service, "add"), sent).status_code == 302
    service = Service.objects.get()
    assert (service.shared, service.reading_methods, service.gateways) == (True, ["GET"], ["10.0.0.5/32"])
    page = filled(desk.get(admin_url(service, "change")), "name", name="Climate API", preflight="on")
    assert desk.post(admin_url(service, "change"), page).status_code == 302
    service.refresh_from_db()
    assert (service.name, service.preflight, service.shared) == ("Climate API", True, True)
    assert desk.post(admin_url(service, "delete"), {"post": "yes"}).status_code == 302
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
    answer = desk.post(admin_url(Service, "add"), {**sent, field: value})
    assert list(answer.context["adminform"].form.errors) == [field]


# Keys -------------------------------------------------------------------------------------------


def test_a_key_is_shown_only_as_its_mask(desk: Browser, key: Issued) -> None:
    for page in (admin_url(key.api_key, "changelist"), admin_url(key.api_key, "change")):
        text = desk.get(page).content.decode()
        assert key.api_key.mask in text
        assert key.secret not in text
        assert key.api_key.digest not in text


def _settings(key: Issued, **changes: str) -> dict[str, str]:
    sent = {"name": "Deploys", "permission": "read_write", "allowed_networks": "[]", "rate_limit": ""}
    return {**sent, "accepts_query": "on", "accepts_body": "on", **changes}


def test_only_the_settings_of_a_key_can_be_changed(desk: Browser, key: Issued) -> None:
    page = desk.get(admin_url(key.api_key, "change")).content.decode()
    form = page[page.index('id="apikey_form"') :]
    typed = set(re.findall(r'<(?:input|textarea|select)[^>]* name="([a-z_0-9]+)"', form))
    assert not typed & {"digest", "mask", "account", "created_by", "disabled_at", "revoked_at", "last_used_at"}
    assert {"name", "permission", "administrator", "rate_limit"} <= typed


def test_a_keys_settings_change_through_the_service(desk: Browser, key: Issued) -> None:
    desk.post(admin_url(key.api_key, "change"), _settings(key, permission="read", allowed_networks='["127.0.0.1/8"]'))
    assert Program(key.secret).send("post", "/v2/projects", {"name": "web"}).status_code == 403
    event = AuditEvent.objects.get(event=Event.API_KEY_CHANGED)
    assert event.actor_label == "operator@example.com"
    assert event.changes == {"permission": ["read_write", "read"], "allowed_networks": [[], ["127.0.0.0/8"]]}
    desk.post(admin_url(key.api_key, "change"), _settings(key))
    assert AuditEvent.objects.filter(event=Event.API_KEY_WIDENED).count() == 1


@pytest.mark.parametrize(
    "changes", [{"rate_limit": "fast"}, {"allowed_networks": '["nowhere"]'}, {"allowed_networks": '"10.0.0.0/8"'}]
)
def test_impossible_settings_are_refused_at_the_field(desk: Browser, key: Issued, changes: dict[str, str]) -> None:
    answer = desk.post(admin_url(key.api_key, "change"), _settings(key, **changes))
    assert list(changes) == list(answer.context["adminform"].errors)


def test_an_expiry_in_the_past_is_refused_at_its_field(desk: Browser, key: Issued) -> None:
    past = _settings(key, expires_at_0="2020-01-01", expires_at_1="00:00:00")
    answer = desk.post(admin_url(key.api_key, "change"), past)
    assert answer.context["adminform"].errors == {"expires_at": ["Enter a time in the future."]}


def test_a_key_is_neither_created_nor_deleted_in_admin(desk: Browser, key: Issued) -> None:
    assert desk.get(admin_url(APIKey, "add")).status_code == 403
    assert desk.post(admin_url(key.api_key, "delete"), {"post": "yes"}).status_code == 403
    act(desk, "delete_selected", key.api_key, post="yes")
    assert APIKey.objects.filter(pk=key.api_key.pk).exists()


def test_a_revoked_key_can_only_be_viewed(desk: Browser, key: Issued) -> None:
    act(desk, "revoke", key.api_key, sure="yes")
    assert desk.post(admin_url(key.api_key, "change"), _settings(key, name="Back")).status_code == 403


def test_a_key_is_disabled_enabled_and_revoked_as_the_operator(desk: Browser, key: Issued) -> None:
    program = Program(key.secret)
    assert told(act(desk, "disable", key.api_key)) == ["1 disabled."]
    assert program.get("/v2").json() == {"Message": "API key is disabled!"}
    assert told(act(desk, "enable", key.api_key)) == ["1 enabled."]
    assert program.get("/v2").status_code == 200
    assert told(act(desk, "revoke", key.api_key, sure="yes")) == ["1 revoked."]
    assert program.get("/v2").json() == {"Message": "API key has been revoked!"}
    events = AuditEvent.objects.filter(target_id=key.api_key.id, actor_label="operator@example.com")
    assert {event.event for event in events} == {"api_key.disabled", "api_key.enabled", "api_key.revoked"}
    assert {(event.actor_kind, event.address) for event in events} == {("person", "127.0.0.1")}


def test_revoking_asks_for_confirmation_and_names_the_keys(desk: Browser, key: Issued) -> None:
    asked = act(desk, "revoke", key.api_key).content.decode()
    assert "Deploys" in asked
    assert 'name="sure"' in asked
    assert APIKey.objects.get().state == State.ACTIVE


def test_an_action_that_does_not_apply_to_a_key_shows_an_error(desk: Browser, key: Issued) -> None:
    assert told(act(desk, "enable", key.api_key)) == ["Deploys is active."]


def test_an_operator_with_view_permission_has_no_actions(desk: Browser, operator: User, key: Issued) -> None:
    from django.contrib.auth.models import Permission

    operator.is_superuser = False
    operator.save()
    operator.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    listed = desk.get(admin_url(key.api_key, "changelist"))
    assert listed.status_code == 200
    assert "Revoke for good" not in listed.content.decode()
    act(desk, "revoke", key.api_key, sure="yes")
    assert APIKey.objects.get().state == State.ACTIVE


# Maintenance ------------------------------------------------------------------------------------


def test_maintenance_is_one_row(desk: Browser) -> None:
    sent = {"on": "on", "message": "Back at noon.", "retry_after": "60"}
    assert desk.post(admin_url(Maintenance, "add"), sent).status_code == 302
    assert Maintenance.objects.get().on
    assert desk.get(admin_url(Maintenance, "add")).status_code == 403
    desk.post(admin_url(Maintenance.objects.get(), "change"), {"message": "Back at noon.", "retry_after": "60"})
    assert not Maintenance.objects.get().on


def test_maintenance_is_never_deleted(desk: Browser) -> None:
    state = Maintenance.objects.create()
    assert desk.post(admin_url(state, "delete"), {"post": "yes"}).status_code == 403


def test_a_wait_of_zero_seconds_is_refused(desk: Browser) -> None:
    answer = desk.post(admin_url(Maintenance, "add"), {"on": "on", "message": "Back at noon.", "retry_after": "0"})
    assert "retry_after" in answer.context["adminform"].form.errors


# Invitations and signing in ---------------------------------------------------------------------


def test_an_invitation_is_withdrawn(desk: Browser, cast: Cast) -> None:
    invitation = factories.make_invitation(cast.account).invitation
    assert told(act(desk, "withdraw", invitation)) == ["1 withdrawn."]
    assert Invitation.objects.get().state == Invitation.State.WITHDRAWN
    assert told(act(desk, "withdraw", invitation)) == ["This invitation was already accepted or withdrawn."]


def test_the_token_of_an_invitation_is_not_shown(desk: Browser, cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    page = desk.get(admin_url(sent.invitation, "change")).content.decode()
    assert sent.token not in page
    assert sent.invitation.token_digest not in page


def test_an_operator_with_two_factor_has_to_use_it(browser: Browser, operator: User) -> None:
    form = {"username": operator.email, "password": factories.PASSWORD, "next": "/admin/"}
    admin_login = browser.post("/admin/login/", form)
    assert admin_login.headers["Location"].startswith(reverse("account_login"))
    sign_in = {"login": operator.email, "password": factories.PASSWORD, "next": "/admin/"}
    assert browser.post(reverse("account_login"), sign_in).headers["Location"] == reverse("mfa_authenticate")
    assert browser.get("/admin/").status_code == 302


# Sessions ---------------------------------------------------------------------------------------


def _session_of(person: User) -> UserSession:
    Browser().as_(person).get(reverse("accounts:profile"))
    session: UserSession = UserSession.objects.get(user=person)
    return session


def test_a_sessions_key_is_neither_shown_nor_searched(desk: Browser, cast: Cast) -> None:
    session = _session_of(cast.user)
    for page in (admin_url(session, "changelist"), admin_url(session, "change"), admin_url(session, "delete")):
        answer = desk.get(page)
        assert answer.status_code == 200
        assert session.session_key not in answer.content.decode()
    assert desk.get(admin_url(session, "changelist"), {"q": "user@example.com"}).context["cl"].result_count == 1
    assert desk.get(admin_url(session, "changelist"), {"q": session.session_key}).context["cl"].result_count == 0
    for lookup in ("session_key", "session_key__startswith", "data__contains"):
        assert desk.get(admin_url(session, "changelist"), {lookup: session.session_key[:3]}).status_code == 400


def test_a_deleted_session_has_ended(desk: Browser, cast: Cast) -> None:
    theirs = Browser()
    theirs.as_(cast.user).get(reverse("accounts:profile"))
    assert desk.post(admin_url(UserSession.objects.get(user=cast.user), "delete"), {"post": "yes"}).status_code == 302
    assert theirs.get(reverse("accounts:profile")).status_code == 302
    session = _session_of(cast.admin)
    act(desk, "delete_selected", session, post="yes")
    assert not Session.objects.filter(session_key=session.session_key).exists()


def test_admin_is_closed_to_members_who_are_not_operators(cast: Cast, browser: Browser) -> None:
    browser.as_(cast.owner)
    assert browser.get("/admin/", follow=True).status_code == 403
