import pytest

from accounts import policy
from accounts.errors import NotPermitted
from accounts.policy import GRANTS, AccountRef, Actor, ActorKind, KeyPermission, KeyRole, Permission, Role

ACCOUNT = AccountRef(1, "acme", "Acme")

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
OWN = {Permission.ACCOUNT_TRANSFER, Permission.ACCOUNT_CLOSE, Permission.API_KEY_IMPORT}
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
