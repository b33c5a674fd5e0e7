"""What the key in a form can and cannot do. Shown beside the form while it is filled in."""

from collections.abc import Iterator
from typing import NamedTuple

from django.conf import settings

from accounts.policy import KeyPermission

from .access import BoundAccess, Row
from .keys import NEVER, KeySettingsForm

#: The most services named that the key cannot access. Others are counted.
MAX_NAMED = 3
_VERBS = {
    KeyPermission.READ: ("read", "read"),
    KeyPermission.WRITE: ("write", "write to"),
    KeyPermission.READ_WRITE: ("read and write", "read and write to"),
}


class Ability(NamedTuple):
    """`verb` `paths` at `place`, or `verb` `place`, followed by `note`."""

    verb: str
    place: str
    paths: tuple[str, ...] = ()
    note: str = ""


class KeySummary(NamedTuple):
    #: Empty while no permission is selected.
    can: list[Ability]
    cannot: list[str]
    limits: str


def summary_of(form: KeySettingsForm) -> KeySummary:
    """The summary of the form's values, valid or not."""
    permission = form["permission"].value()
    access = form["access"]
    assert isinstance(access, BoundAccess)
    if permission not in _VERBS:
        return KeySummary([], [], _limits(form))
    is_administrator = bool(form["administrator"].value())
    can = list(_can(KeyPermission(permission), access, is_administrator=is_administrator))
    cannot = list(_cannot(KeyPermission(permission), access, is_administrator=is_administrator))
    return KeySummary(can, cannot, _limits(form))


def _can(permission: KeyPermission, access: BoundAccess, *, is_administrator: bool) -> Iterator[Ability]:
    verb, verb_to = _VERBS[permission]
    if not access.is_chosen:
        yield Ability(verb_to, "every service", note=", including services created later")
    for row in _checked(access):
        paths = tuple(path for line in row.paths.splitlines() if (path := line.strip()))
        yield Ability(verb if paths else verb_to, row.name, paths, "" if paths else ", all paths")
    if _opens_api(access):
        yield Ability(verb_to, "this API (/v2)", note=": projects, deployments and usage")
        if is_administrator:
            yield Ability(verb_to, "members, API keys, services, the audit log and the account")
    else:
        yield Ability("call", "/v2", note=", which shows the account and the key")


def _cannot(permission: KeyPermission, access: BoundAccess, *, is_administrator: bool) -> Iterator[str]:
    if permission != KeyPermission.READ_WRITE:
        yield "write anywhere" if permission == KeyPermission.READ else "read anywhere"
    if access.is_chosen:
        names = [row.name for row in access.rows if row.name and not row.is_checked]
        more = len(names) - MAX_NAMED
        named = names[:MAX_NAMED] + ([f"{more} other service{'s' if more > 1 else ''}"] if more > 0 else [])
        yield f"reach {', '.join([*named, ''])}or a service created later" if named else "reach a service created later"
    if not _opens_api(access):
        yield "use the rest of this API (/v2)"
    elif not is_administrator:
        yield "reach members, API keys, the audit log and account settings"


def _limits(form: KeySettingsForm) -> str:
    networks = str(form["allowed_networks"].value() or "").split()
    rate = form["rate_limit"].value() or settings.API_RATE_LIMIT
    parts = [f"From {_places(networks)}", str(rate), *_end(str(form["expiry"].value() or NEVER))]
    return f"{', '.join(parts)}."


def _places(networks: list[str]) -> str:
    match networks:
        case []:
            return "any address"
        case [network]:
            return f"{network} only"
    return f"{len(networks)} networks only"


def _end(expiry: str) -> list[str]:
    """When it expires, if the form changes that."""
    match expiry:
        case "" | "never":
            return ["until it is revoked"]
        case "keep":
            return []
        case "at":
            return ["until the date below"]
    return [f"for {expiry} days"]


def _checked(access: BoundAccess) -> list[Row]:
    return [row for row in access.rows if row.name and row.is_checked]


def _opens_api(access: BoundAccess) -> bool:
    return not access.is_chosen or access.is_api_checked
