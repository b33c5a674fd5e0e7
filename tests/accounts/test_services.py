from collections.abc import Callable
from unittest import mock

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.test import RequestFactory

from accounts import audit, policy, services
from accounts.audit import Event
from accounts.context import REQUEST_ID, RequestContext
from accounts.decorators import actor_for
from accounts.errors import Invalid, InvalidState, NotFound, NotPermitted
from accounts.models import Account, AuditEvent, Deployment, Membership, Project, User
from accounts.policy import GRANTS, Actor, ActorKind, KeyRole, Role
from tests import factories
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


def actor_of(user: User, account: Account, rf: RequestFactory) -> Actor:
    request = rf.get("/", REMOTE_ADDR="203.0.113.7")
    request.user, request.META[REQUEST_ID] = user, "req-1"
    return actor_for(request, Membership.objects.get(user=user, account=account))


# Accounts and people ----------------------------------------------------------------------------


def test_an_account_is_created_with_its_owner_and_both_are_recorded() -> None:
    owner = factories.make_user("owner@example.com")
    account = services.create_account(name=" Acme ", owner=owner)
    assert (account.name, account.slug) == ("Acme", "acme")
    assert Membership.objects.get().role == Role.OWNER
    assert set(AuditEvent.objects.values_list("event", flat=True)) == {"account.created", "member.added"}


def test_accounts_with_the_same_name_get_different_slugs() -> None:
    assert [factories.make_account("Acme").slug for _ in range(3)] == ["acme", "acme-2", "acme-3"]


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("日本", "account"),
        ("A" * 100, "a" * 50),
        ("A" * 49 + " B", "a" * 49),
        ("a/b & c", "ab-c"),
        ("New", "new-2"),  # /accounts/new/ is a page
    ],
)
def test_any_name_gives_a_slug(name: str, slug: str) -> None:
    assert factories.make_account(name).slug == slug


def test_a_slug_that_is_taken_at_the_last_moment_is_replaced() -> None:
    factories.make_account("Acme")
    with mock.patch("accounts.services.accounts._free_slug", side_effect=["acme", "acme-2"]):
        assert factories.make_account("Acme").slug == "acme-2"


def test_an_account_needs_a_name() -> None:
    with pytest.raises(Invalid) as refused:
        services.create_account(name="  ", owner=factories.make_user())
    assert refused.value.errors == {"name": ["This field may not be blank."]}


def test_who_creates_an_account_is_recorded() -> None:
    owner, context = factories.make_user(), RequestContext("203.0.113.7", "req-1")
    services.create_account(name="Acme", owner=owner)
    services.create_account(
        name="Other", owner=owner, by=services.Initiator(ActorKind.PERSON, "7", "olivia@example.com", context)
    )
    who = ("account__name", "actor_kind", "actor_id", "actor_label", "address", "request_id")
    assert set(AuditEvent.objects.values_list(*who)) == {
        ("Acme", "system", "", "System", None, ""),
        ("Other", "person", "7", "olivia@example.com", "203.0.113.7", "req-1"),
    }


def test_a_key_can_not_change_whether_two_factor_is_required(cast: Cast) -> None:
    permissions = GRANTS[KeyRole.ADMINISTRATOR]
    key = Actor(ActorKind.KEY, "key_1", "Deploys", cast.account.ref, permissions, KeyRole.ADMINISTRATOR)
    with pytest.raises(NotPermitted, match="two-factor"):
        services.change_account(actor=key, requires_two_factor=True)
    assert services.change_account(actor=key, name="Other").name == "Other"


def test_the_database_refuses_a_second_owner_and_a_second_membership(cast: Cast) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        factories.make_member(cast.account, Role.OWNER)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(account=cast.account, user=cast.user, role=Role.ADMIN)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(user=cast.user).update(role="king")


def test_an_address_belongs_to_one_user_in_any_case() -> None:
    User.objects.create_user(email="Some.One@Example.COM")
    assert User.objects.get_by_natural_key("SOME.ONE@example.com").email == "some.one@example.com"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user(email="some.one@example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=factories.make_user().pk).update(email="SOME.ONE@example.com")


def test_a_user_created_by_code_has_a_verified_address(cast: Cast) -> None:
    address = cast.owner.emailaddress_set.get()
    assert (address.email, address.verified, address.primary) == ("owner@example.com", True, True)


def test_a_user_needs_an_address() -> None:
    with pytest.raises(ValueError, match="e-mail"):
        User.objects.create_user(email="")


def test_suspending_twice_is_refused(cast: Cast) -> None:
    operator = policy.system(cast.account.ref)
    assert services.suspend_account(actor=operator).suspended_at is not None
    with pytest.raises(InvalidState, match="already suspended"):
        services.suspend_account(actor=operator)
    services.resume_account(actor=operator)
    with pytest.raises(InvalidState, match="not suspended"):
        services.resume_account(actor=operator)


# Audit ------------------------------------------------------------------------------------------


def test_an_event_records_actor_target_and_address(cast: Cast, rf: RequestFactory) -> None:
    project = services.create_project(actor=actor_of(cast.admin, cast.account, rf), name="web")
    event = AuditEvent.objects.get(event=Event.PROJECT_CREATED)
    assert (event.actor_kind, event.actor_id, event.actor_label) == ("person", str(cast.admin.pk), "admin@example.com")
    assert (event.target_kind, event.target_id, event.target_label) == ("project", project.id, "web")
    assert (event.address, event.request_id) == ("203.0.113.7", "req-1")


def test_a_change_without_effect_records_no_event(cast: Cast, rf: RequestFactory) -> None:
    services.change_account(actor=actor_of(cast.owner, cast.account, rf), name="Acme")
    assert not AuditEvent.objects.filter(event=Event.ACCOUNT_CHANGED).exists()


def test_an_event_outlives_its_actor_and_its_target(cast: Cast, rf: RequestFactory) -> None:
    actor = actor_of(cast.admin, cast.account, rf)
    services.delete_project(actor=actor, project=services.create_project(actor=actor, name="web"))
    cast.admin.delete()
    event = AuditEvent.objects.get(event=Event.PROJECT_DELETED)
    assert (event.actor_label, event.target_label) == ("admin@example.com", "web")


def test_an_event_can_not_be_changed_or_deleted(cast: Cast) -> None:
    event = AuditEvent.objects.latest("at")
    with pytest.raises(TypeError):
        event.save()
    with pytest.raises(TypeError):
        event.delete()
    with pytest.raises(TypeError):
        AuditEvent.objects.update(actor_label="nobody")
    with pytest.raises(TypeError):
        AuditEvent.objects.bulk_update([event], ["actor_label"])
    with pytest.raises(TypeError):
        AuditEvent.objects.all().delete()
    with pytest.raises(ProtectedError):
        Account.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_a_transaction_is_refused(cast: Cast) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        audit.record(actor=policy.system(cast.account.ref), event=Event.ACCOUNT_CHANGED, target=cast.account.target)


# Changes ----------------------------------------------------------------------------------------


def test_only_the_item_that_is_named_changes(cast: Cast, rf: RequestFactory) -> None:
    first, second, third = (factories.make_project(cast.account, name) for name in ("one", "two", "three"))
    services.change_project(actor=actor_of(cast.owner, cast.account, rf), project=second, name="other")
    assert [Project.objects.get(pk=each.pk).name for each in (first, second, third)] == ["one", "other", "three"]


def test_only_a_kept_id_that_is_taken_is_the_callers_mistake(cast: Cast, rf: RequestFactory) -> None:
    actor = actor_of(cast.owner, cast.account, rf)
    with mock.patch.object(Project.objects, "create", side_effect=IntegrityError):
        with pytest.raises(IntegrityError):
            services.create_project(actor=actor, name="web")
        with pytest.raises(Invalid):
            services.create_project(actor=actor, name="web", kept_id="0" * 24)


def test_a_deployment_goes_to_production_unless_it_says_otherwise(cast: Cast, rf: RequestFactory) -> None:
    project = factories.make_project(cast.account)
    deployment = services.create_deployment(
        actor=actor_of(cast.owner, cast.account, rf), project=project, revision="4f2a91c"
    )
    assert (deployment.release_stage, deployment.changes, deployment.user) == ("production", "", "")


def test_only_what_is_deleted_is_gone(cast: Cast, rf: RequestFactory) -> None:
    actor = actor_of(cast.owner, cast.account, rf)
    project, other = factories.make_project(cast.account), factories.make_project(cast.account)
    first, second, of_other = (factories.make_deployment(each) for each in (project, project, other))
    services.delete_deployment(actor=actor, deployment=first)
    assert set(Deployment.objects.all()) == {second, of_other}
    services.delete_project(actor=actor, project=project)
    assert set(Project.objects.all()) == {other}
    assert set(Deployment.objects.all()) == {of_other}


def test_of_a_new_item_what_differs_from_the_defaults_is_a_change_besides_its_name() -> None:
    account = Account(name="Acme", max_key_lifetime_days=30)
    changes = services.initial_changes(account, ("name", "max_key_lifetime_days", "accepts_query"))
    assert changes == {"max_key_lifetime_days": (None, 30)}


def test_only_the_named_fields_are_validated() -> None:
    project = Project(name="", id="x" * 100)
    assert services.invalid_fields(project, {"name"}) == {"name": ["This field cannot be blank."]}
    assert services.invalid_fields(project, {"created_at"}) == {}


# Other accounts ---------------------------------------------------------------------------------


def test_services_find_neither_other_accounts_items_nor_deleted_ones(cast: Cast, rf: RequestFactory) -> None:
    actor = actor_of(cast.stranger, cast.elsewhere, rf)
    project = factories.make_project(cast.account)
    deployment = factories.make_deployment(project)
    calls: list[Callable[[], object]] = [
        lambda: services.change_project(actor=actor, project=project, name="mine"),
        lambda: services.create_deployment(actor=actor, project=project, revision="1"),
        lambda: services.delete_deployment(actor=actor, deployment=deployment),
        lambda: services.delete_project(actor=actor, project=project),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    actor = actor_of(cast.owner, cast.account, rf)
    services.delete_project(actor=actor, project=project)
    for call in calls:
        with pytest.raises(NotFound):
            call()
    assert AuditEvent.objects.filter(event=Event.PROJECT_DELETED).count() == 1


# Permissions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["owner", "admin", "user"])
def test_services_refuse_actors_without_permission_from_every_entry_point(
    cast: Cast, rf: RequestFactory, role: str
) -> None:
    actor = actor_of(getattr(cast, role), cast.account, rf)
    project = factories.make_project(cast.account)
    calls: list[Callable[[], object]] = [
        lambda: services.change_account(actor=actor, name="Other"),
        lambda: services.create_project(actor=actor, name="web"),
        lambda: services.change_project(actor=actor, project=project, name="site"),
        lambda: services.create_deployment(actor=actor, project=project, revision="1"),
        lambda: services.delete_deployment(actor=actor, deployment=factories.make_deployment(project)),
        lambda: services.delete_project(actor=actor, project=project),
    ]
    for call in calls:
        if role == "user":
            with pytest.raises(NotPermitted):
                call()
        else:
            call()
