"""Who may do what: the table that pages, API, commands and admin use. Pure: imports no models."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .context import NO_REQUEST, RequestContext
from .errors import PermissionMissing


class Permission(StrEnum):
    """One thing that may be allowed, as `resource:action`. Every action except `read` changes something."""

    ACCOUNT_READ = "account:read"
    ACCOUNT_CHANGE = "account:change"
    ACCOUNT_TRANSFER = "account:transfer"
    ACCOUNT_CLOSE = "account:close"
    PROJECT_READ = "project:read"
    PROJECT_CHANGE = "project:change"
    DEPLOYMENT_READ = "deployment:read"
    DEPLOYMENT_CHANGE = "deployment:change"
    USAGE_READ = "usage:read"
    MEMBER_READ = "member:read"
    MEMBER_CHANGE = "member:change"
    SERVICE_READ = "service:read"
    SERVICE_CHANGE = "service:change"
    API_KEY_READ = "api_key:read"
    API_KEY_CHANGE = "api_key:change"
    AUDIT_READ = "audit:read"

    @property
    def reads(self) -> bool:
        return self.value.endswith(":read")

    @property
    def words(self) -> str:
        """What it allows, for people."""
        return _PERMISSION_WORDS[self]


_PERMISSION_WORDS = {
    Permission.ACCOUNT_READ: "See the account and its settings",
    Permission.PROJECT_READ: "See projects",
    Permission.DEPLOYMENT_READ: "See deployments",
    Permission.SERVICE_READ: "See services",
    Permission.USAGE_READ: "See usage",
    Permission.MEMBER_READ: "See members",
    Permission.PROJECT_CHANGE: "Create, change and delete projects",
    Permission.DEPLOYMENT_CHANGE: "Record deployments",
    Permission.API_KEY_READ: "See API keys",
    Permission.API_KEY_CHANGE: "Create, import, change, rotate and revoke API keys",
    Permission.SERVICE_CHANGE: "Create, change and delete services",
    Permission.MEMBER_CHANGE: "Invite, change and remove members",
    Permission.AUDIT_READ: "See and export the audit log",
    Permission.ACCOUNT_CHANGE: "Change the account's settings",
    Permission.ACCOUNT_TRANSFER: "Transfer the account to another member",
    Permission.ACCOUNT_CLOSE: "Close and reopen the account",
}


class Role(StrEnum):
    """A member's role in an account."""

    OWNER = "owner"
    ADMIN = "admin"
    USER = "user"

    @property
    def label(self) -> str:
        return self.value.capitalize()


#: The roles of which an account can require two-factor authentication: those that can create keys.
TWO_FACTOR_ROLES = (Role.OWNER, Role.ADMIN)


class KeyRole(StrEnum):
    """A key's role in its account: with or without administrator access."""

    KEY = "key"
    ADMINISTRATOR = "administrator"


class KeyPermission(StrEnum):
    """The permission of a key, as the Atatus page names it: "Read", "Write" or "Read & Write"."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read_write"

    @property
    def label(self) -> str:
        return _KEY_PERMISSION_LABELS[self]

    def covers(self, other: "KeyPermission") -> bool:
        """Whether a key with this permission can do everything that a key with `other` can."""
        return self in (other, KeyPermission.READ_WRITE)


_KEY_PERMISSION_LABELS = {
    KeyPermission.READ: "Read",
    KeyPermission.WRITE: "Write",
    KeyPermission.READ_WRITE: "Read & Write",
}

_VIEW = frozenset(
    {
        Permission.ACCOUNT_READ,
        Permission.PROJECT_READ,
        Permission.DEPLOYMENT_READ,
        Permission.SERVICE_READ,
        Permission.USAGE_READ,
    }
)
_EDIT = frozenset({Permission.PROJECT_CHANGE, Permission.DEPLOYMENT_CHANGE})
_ADMINISTER = frozenset(
    {
        Permission.MEMBER_READ,
        Permission.MEMBER_CHANGE,
        Permission.API_KEY_READ,
        Permission.API_KEY_CHANGE,
        Permission.SERVICE_CHANGE,
        Permission.AUDIT_READ,
        Permission.ACCOUNT_CHANGE,
    }
)

GRANTS: dict[Role | KeyRole, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: _VIEW | _EDIT | _ADMINISTER,
    Role.USER: _VIEW | {Permission.MEMBER_READ},
    KeyRole.KEY: _VIEW | _EDIT,
    KeyRole.ADMINISTRATOR: _VIEW | _EDIT | _ADMINISTER,
}


#: The message to a caller without administrator access.
ADMINISTRATORS_ONLY = "This item is for administrators only."


def role_table() -> list[tuple[str, list[bool]]]:
    """What each role may do, in words: a row for each permission, a column for each `Role`."""
    return [(each.words, [each in GRANTS[role] for role in Role]) for each in _PERMISSION_WORDS]


def _only(permissions: Iterable[Permission], allowed: KeyPermission) -> frozenset[Permission]:
    wanted = {KeyPermission.READ: (True,), KeyPermission.WRITE: (False,), KeyPermission.READ_WRITE: (True, False)}
    return frozenset(permission for permission in permissions if permission.reads in wanted[allowed])


#: A key's power: its role's GRANTS, limited by its permission. Read allows reading, Write everything else.
KEY_GRANTS: dict[tuple[KeyRole, str], frozenset[Permission]] = {
    (role, permission.value): _only(GRANTS[role], permission) for role in KeyRole for permission in KeyPermission
}


class AccountRef(NamedTuple):
    """The part of an account that an actor needs to scope queries and to name it."""

    id: int
    slug: str
    name: str


class ActorKind(StrEnum):
    PERSON = "person"
    KEY = "key"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something in one account: a person, a key or the system.

    `context` is the request, for the audit log. `bounds` names a key's limits that a person doesn't have, such as
    "expires", or is empty. `renew` locks the key's row and returns an up-to-date actor: `services.lock_actor`
    calls it.
    """

    kind: ActorKind
    id: str
    label: str
    account: AccountRef
    permissions: frozenset[Permission]
    role: Role | KeyRole | None = None
    context: RequestContext = NO_REQUEST
    bounds: str = ""
    renew: "Callable[[Actor], Actor] | None" = field(default=None, repr=False, compare=False)

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    @property
    def is_operator(self) -> bool:
        """Whether this is the operator, in admin or at the command line, who has no role in the account."""
        return self.role is None


def person(*, id: str, label: str, account: AccountRef, role: Role, context: RequestContext) -> Actor:
    """A member of the account."""
    return Actor(ActorKind.PERSON, id, label, account, GRANTS[role], role, context)


def system(account: AccountRef, label: str = "System", *, context: RequestContext = NO_REQUEST) -> Actor:
    """The operator at the command line, or a scheduled job."""
    return Actor(ActorKind.SYSTEM, "", label, account, frozenset(Permission), context=context)


def require(actor: Actor, permission: Permission) -> None:
    """Raise `PermissionMissing` with its reason unless the actor has the permission."""
    if sentence := missing(permission, actor.permissions, actor.role):
        raise PermissionMissing(sentence)


def not_covered(needed: KeyPermission, permission: str) -> str | None:
    """The message if a key's permission doesn't cover the needed one, else None."""
    return None if permission in (needed, KeyPermission.READ_WRITE) else _lacks(needed)


def _lacks(needed: KeyPermission) -> str:
    return f"This API key does not have the {needed.label} permission."


def missing(permission: Permission, granted: frozenset[Permission], role: Role | KeyRole | None) -> str | None:
    """The message if the permission is not granted, else None."""
    if permission in granted:
        return None
    if isinstance(role, KeyRole) and permission in GRANTS[role]:
        return _lacks(KeyPermission.READ if permission.reads else KeyPermission.WRITE)
    return ADMINISTRATORS_ONLY if permission in GRANTS[Role.ADMIN] else "This item is for the Owner only."
