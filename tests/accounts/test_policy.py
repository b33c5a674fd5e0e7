from dataclasses import FrozenInstanceError, replace
from typing import Any, cast

import pytest

from accounts import policy
from accounts.context import RequestContext
from accounts.errors import NotPermitted
from accounts.policy import GRANTS, AccountRef, Actor, ActorKind, KeyPermission, KeyRole, Permission, Role

ACCOUNT = AccountRef(1, "acme", "Acme")
CONTEXT = RequestContext("203.0.113.7")

LOOK = {
    Permission.ACCOUNT_READ,
    Permission.PROJECT_READ,
    Permission.DEPLOYMENT_READ,
    Permission.SERVICE_READ,
    Permission.USAGE_READ,
}
WORK = {Permission.PROJECT_CHANGE, Permission.DEPLOYMENT_CHANGE}
ADMINISTER = {
    Permission.MEMBER_CHANGE,
    Permission.API_KEY_READ,
    Permission.API_KEY_CHANGE,
    Permission.SERVICE_CHANGE,
    Permission.AUDIT_READ,
    Permission.ACCOUNT_CHANGE,
}
OWN = {Permission.ACCOUNT_TRANSFER, Permission.ACCOUNT_CLOSE}
MEMBERS = {Permission.MEMBER_READ}

# The documented table of who may do what, row by row.
TABLE = {
    Role.OWNER: LOOK | WORK | MEMBERS | ADMINISTER | OWN,
    Role.ADMIN: LOOK | WORK | MEMBERS | ADMINISTER,
    Role.USER: LOOK | MEMBERS,
    KeyRole.KEY: LOOK | WORK,
    KeyRole.ADMINISTRATOR: LOOK | WORK | MEMBERS | ADMINISTER,
}


@pytest.mark.parametrize("role", [*Role, *KeyRole])
@pytest.mark.parametrize("permission", Permission)
def test_the_table_grants_exactly_what_is_documented(role: KeyRole | Role, permission: Permission) -> None:
    assert (permission in GRANTS[role]) == (permission in TABLE[role])


def test_the_table_knows_every_permission() -> None:
    assert set().union(*TABLE.values()) == set(Permission)


@pytest.mark.parametrize("role", KeyRole)
def test_a_read_key_only_reads_and_a_write_key_only_changes(role: KeyRole) -> None:
    assert all(permission.reads for permission in policy.KEY_GRANTS[role, "read"])
    assert not any(permission.reads for permission in policy.KEY_GRANTS[role, "write"])
    assert policy.KEY_GRANTS[role, "read_write"] == GRANTS[role]


def key(role: KeyRole, permission: KeyPermission) -> Actor:
    return Actor(ActorKind.KEY, "key_1", "Deploys", ACCOUNT, policy.KEY_GRANTS[role, permission.value], role)


def test_a_key_is_told_which_permission_it_lacks() -> None:
    with pytest.raises(NotPermitted, match="does not have the Write permission"):
        policy.require(key(KeyRole.KEY, KeyPermission.READ), Permission.PROJECT_CHANGE)
    with pytest.raises(NotPermitted, match="does not have the Read permission"):
        policy.require(key(KeyRole.KEY, KeyPermission.WRITE), Permission.PROJECT_READ)


def test_a_key_without_administrator_access_is_told_that_the_item_is_for_administrators() -> None:
    with pytest.raises(NotPermitted, match="for administrators only"):
        policy.require(key(KeyRole.KEY, KeyPermission.READ_WRITE), Permission.API_KEY_READ)


def test_the_labels_are_those_of_the_source_page() -> None:
    assert [role.label for role in Role] == ["Owner", "Admin", "User"]
    assert [permission.label for permission in KeyPermission] == ["Read", "Write", "Read & Write"]


def test_stored_and_sent_values_stay_as_they_are() -> None:
    assert list(Role) == ["owner", "admin", "user"]
    assert list(KeyRole) == ["key", "administrator"]
    assert list(KeyPermission) == ["read", "write", "read_write"]
    assert list(ActorKind) == ["person", "key", "system"]
    for permission in Permission:
        resource, _, action = permission.name.rpartition("_")
        assert permission == f"{resource}:{action}".lower()
        assert permission.reads == (action == "READ")


def test_only_roles_that_can_create_keys_can_be_required_to_use_two_factor_authentication() -> None:
    assert set(policy.TWO_FACTOR_ROLES) == {role for role in Role if Permission.API_KEY_CHANGE in GRANTS[role]}


def test_the_table_of_roles_has_each_permission_once_and_a_column_for_each_role() -> None:
    rows = dict(policy.role_table())
    assert len(policy.role_table()) == len(rows) == len(Permission)
    for permission in Permission:
        assert rows[permission.words] == [permission in TABLE[role] for role in Role]


def test_only_an_actor_without_a_role_is_the_operator() -> None:
    operator = policy.system(ACCOUNT)
    owner = policy.person(id="1", label="owner@example.com", account=ACCOUNT, role=Role.OWNER, context=CONTEXT)
    assert operator == Actor(ActorKind.SYSTEM, "", "System", ACCOUNT, frozenset(Permission), None)
    assert owner == Actor(ActorKind.PERSON, "1", "owner@example.com", ACCOUNT, GRANTS[Role.OWNER], Role.OWNER, CONTEXT)
    assert policy.system(ACCOUNT, "Plain HTTP", context=CONTEXT).context is CONTEXT
    assert not operator.bounds
    assert operator.may(Permission.ACCOUNT_CLOSE)
    assert not replace(owner, permissions=frozenset()).may(Permission.ACCOUNT_CLOSE)
    assert [each.is_operator for each in (operator, owner, key(KeyRole.KEY, KeyPermission.READ))] == [
        True,
        False,
        False,
    ]


def test_renewing_an_actor_is_no_part_of_what_it_is() -> None:
    actor = policy.system(ACCOUNT)
    assert actor == replace(actor, renew=lambda old: old)
    assert "renew" not in repr(actor)
    with pytest.raises(FrozenInstanceError):
        cast(Any, actor).permissions = frozenset(Permission)
    with pytest.raises(AttributeError):
        object.__setattr__(actor, "permission", "read")


def test_an_admin_is_told_that_an_item_is_for_the_owner() -> None:
    admin = policy.person(id="1", label="admin@example.com", account=ACCOUNT, role=Role.ADMIN, context=CONTEXT)
    with pytest.raises(NotPermitted, match="for the Owner only"):
        policy.require(admin, Permission.ACCOUNT_CLOSE)
    user = replace(admin, role=Role.USER, permissions=GRANTS[Role.USER])
    with pytest.raises(NotPermitted, match="for administrators only"):
        policy.require(user, Permission.API_KEY_READ)
    with pytest.raises(NotPermitted, match="for administrators only"):
        policy.require(user, Permission.PROJECT_CHANGE)


@pytest.mark.parametrize("permission", KeyPermission)
@pytest.mark.parametrize("needed", KeyPermission)
def test_a_permission_covers_itself_and_read_and_write_covers_all(
    permission: KeyPermission, needed: KeyPermission
) -> None:
    covers = permission == needed or permission == "read_write"
    assert permission.covers(needed) is covers
    lacks = f"This API key does not have the {needed.label} permission."
    assert policy.not_covered(needed, permission.value) == (None if covers else lacks)
