"""Creating, changing and deleting services."""

from collections.abc import Collection
from copy import copy
from typing import Any, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit, policy
from accounts.audit import Event
from accounts.errors import Invalid, NotFound, NotPermitted
from accounts.policy import Actor, Permission
from accounts.services import apply_changes, initial_changes, invalid_fields, lock_actor

from .. import networks, scopes, validators
from ..models import Service
from ..usage import problems


class ServiceSettings(TypedDict, total=False):
    """The settings of a service. Only the operator changes `shared`."""

    name: str
    reading_methods: list[str]
    reading_paths: list[str]
    preflight: bool
    query_keys: bool
    gateways: list[str]
    upstream: str
    shared: bool


SERVICE_SETTINGS = tuple(ServiceSettings.__annotations__)

_READING = ("reading_methods", "reading_paths")

#: The settings that are lists, with the function that normalizes each.
_LISTS = {
    "reading_methods": validators.method_list,
    "reading_paths": validators.path_list,
    "gateways": validators.gateway_list,
}


@transaction.atomic
def create_service(*, actor: Actor, **settings: Unpack[ServiceSettings]) -> Service:
    """Create a service in the actor's account.

    Raises `Invalid` for what `validators` refuses, by field, and `NotPermitted` if the actor may not do this: only the
    operator shares a service with every account.
    """
    actor = lock_actor(actor, Permission.SERVICE_CHANGE)
    service = Service(account_id=actor.account.id, created_by=actor.label, **_normalized(settings))
    _require_may_share(actor, was=False, will=service.shared)
    _require_valid(service, {"name", *settings})
    service.save()
    audit.record(
        actor=actor,
        event=Event.SERVICE_CREATED,
        target=service.target,
        changes=initial_changes(service, SERVICE_SETTINGS),
    )
    return service


@transaction.atomic
def change_service(*, actor: Actor, service: Service, **settings: Unpack[ServiceSettings]) -> Service:
    """Change settings of a service. They apply to the next authorization request.

    A change that allows more is recorded as `service.widened`, because it widens every key with access to the service.
    Raises `NotFound` for a service that no longer exists, and the errors of `create_service`. A key with only Write
    can't change what counts as reading, because then it could grant itself more.
    """
    actor = lock_actor(actor, Permission.SERVICE_CHANGE)
    service = _locked(actor, service)
    before = copy(service)
    changes = apply_changes(service, **_normalized(settings))
    _require_may_share(actor, was=before.shared, will=service.shared)
    if not changes.keys().isdisjoint(_READING):
        policy.require(actor, Permission.SERVICE_READ)
    _require_valid(service, changes)
    if changes:
        saved = [*changes]
        unlisted = problems.unlisted_in(service.problem)
        if unlisted and networks.is_within(unlisted, service.gateways):
            service.problem = ""
            saved.append("problem")
        service.save(update_fields=saved)
        event = Event.SERVICE_WIDENED if _is_wider(service, than=before) else Event.SERVICE_CHANGED
        audit.record(actor=actor, event=event, target=service.target, changes=changes)
    return service


def widens_service(service: Service, **settings: Unpack[ServiceSettings]) -> bool:
    """Whether these settings would allow requests that the service refuses now."""
    wanted = copy(service)
    apply_changes(wanted, **_normalized(settings))
    return _is_wider(wanted, than=service)


@transaction.atomic
def delete_service(*, actor: Actor, service: Service) -> None:
    """Delete a service. The service's gateways are refused immediately, and its id is never used again."""
    actor = lock_actor(actor, Permission.SERVICE_CHANGE)
    service = _locked(actor, service)
    target = service.target
    service.delete()
    audit.record(actor=actor, event=Event.SERVICE_DELETED, target=target)


def require_may_change(actor: Actor, service: Service) -> None:
    """Raise `NotPermitted` for a shared service of another account."""
    if service.account_id != actor.account.id:
        raise NotPermitted("This service belongs to another account. Only that account can change it.")


# Rules ------------------------------------------------------------------------------------------


def _locked(actor: Actor, service: Service) -> Service:
    """The service as it is now, locked. Raises `NotFound` if it no longer exists or the actor can't see it."""
    locked = Service.objects.visible_to(actor.account).select_for_update().filter(pk=service.pk).first()
    if locked is None:
        raise NotFound("This service no longer exists.")
    require_may_change(actor, locked)
    return locked


def _require_may_share(actor: Actor, *, was: bool, will: bool) -> None:
    """Raise `NotPermitted` if anyone but the operator changes whether a service is shared."""
    if will != was and not actor.is_operator:
        raise NotPermitted("Only the operator can change whether a service is shared with every account.")


def _normalized(settings: ServiceSettings) -> dict[str, Any]:
    """The settings with normalized lists. Raises `Invalid` for the fields."""
    normalized: dict[str, Any] = dict(settings)
    errors: dict[str, list[str]] = {}
    for name in _LISTS.keys() & normalized.keys():
        try:
            normalized[name] = _LISTS[name](normalized[name])
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise Invalid.of_fields(errors)
    return normalized


def _require_valid(service: Service, fields: Collection[str]) -> None:
    """Validate these fields. Raises `Invalid` for the fields."""
    if errors := invalid_fields(service, fields):
        raise Invalid.of_fields(errors)


def _is_wider(service: Service, *, than: Service) -> bool:
    """Whether a service allows any request that the other refuses.

    Reading doesn't need Write, and keys with only Write may send requests that no longer count as reading. Without
    reading paths, ambiguous paths are allowed too.
    """
    return (
        set(service.reading_methods) != set(than.reading_methods)
        or not scopes.covers_patterns(than.reading_paths, service.reading_paths)
        or not scopes.covers_patterns(service.reading_paths, than.reading_paths)
        or not all(than.gateways and networks.covers(than.gateways, [gateway]) for gateway in service.gateways)
        or any(getattr(service, name) and not getattr(than, name) for name in ("preflight", "query_keys", "shared"))
    )
