"""The form field for a key's access: everything, or selected services, each with a checkbox and its paths."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from django import forms
from django.utils.functional import cached_property

from accounts.models import Account

from .. import scopes, validators
from ..models import Service

EVERYTHING, CHOSEN = "everything", "chosen"

#: The most services listed, besides those the key has already. With more, the page would exceed 10 KB.
MAX_SERVICES = 50


class AccessInput(forms.Widget):
    """Two radio buttons, and for each service a checkbox and a text area with one path per line (`_access.html`).

    Its value is the access as entered, as JSON text in the API's form. Such a text is also accepted in place of a radio
    button's value: `ChangeForm` sends the current access this way.
    """

    template_name = "apikeys/_access.html"
    SERVICE = "service"

    @staticmethod
    def paths_of(service: str) -> str:
        """The name of the text area with a service's paths."""
        return f"paths-{service}"

    def value_from_datadict(self, data: Any, files: Any, name: str) -> str | None:  # noqa: ARG002  as Django calls it
        sent: str | None = data.get(name)
        if sent == EVERYTHING:
            return json.dumps(None)
        return sent if sent != CHOSEN else json.dumps([self._entry(service, data) for service in _all(data)])

    def _entry(self, service: str, data: Any) -> dict[str, Any]:
        lines = [line.strip() for line in (data.get(self.paths_of(service)) or "").splitlines()]
        paths = [line for line in lines if line]
        return {"service": service, "paths": paths} if paths else {"service": service}


def _all(data: Any) -> list[str]:
    """The selected services, without duplicates."""
    getlist: Callable[[str], list[str]] = getattr(data, "getlist", data.get)
    return list(dict.fromkeys(getlist(AccessInput.SERVICE) or ()))


class Row(NamedTuple):
    """A service that can be selected. `name` is empty for a deleted one, whose entry can only be removed."""

    id: str
    name: str
    is_shared: bool
    is_checked: bool
    paths: str
    errors: list[str]

    @property
    def paths_name(self) -> str:
        return AccessInput.paths_of(self.id)


class BoundAccess(forms.BoundField):
    """The field, with the values that its template shows."""

    field: "AccessField"

    @property
    def is_chosen(self) -> bool:
        return self._access is not None

    @property
    def is_api_checked(self) -> bool:
        return scopes.API in self._entries

    @property
    def group_errors(self) -> list[str]:
        """The errors that are not about the paths of a service."""
        return self._errors.get("", [])

    @cached_property
    def first_refused(self) -> str:
        """The first service with invalid paths, if the field has no other error."""
        return "" if self.group_errors else next((row.id for row in self.rows if row.errors), "")

    @cached_property
    def rows(self) -> list[Row]:
        """The account's services by name, at most `MAX_SERVICES`, and any others that the key lists."""
        named = [(id, service.name, service.shared) for id, service in self._services.items()]
        deleted = [(id, "", False) for id in self._entries if id != scopes.API and id not in self._services]
        return [
            Row(id, name, shared, id in self._entries, "\n".join(self._entries.get(id, ())), self._errors.get(id, []))
            for id, name, shared in [*named, *deleted]
        ]

    @property
    def has_more(self) -> bool:
        """Whether the account has services that the form doesn't list."""
        return len(self._visible) > MAX_SERVICES

    @cached_property
    def _visible(self) -> list[Service]:
        return list(Service.objects.visible_to(self.field.account).order_by("name", "pk")[: MAX_SERVICES + 1])

    @cached_property
    def _services(self) -> dict[str, Service]:
        listed = {service.pk: service for service in self._visible[:MAX_SERVICES]}
        others = [id for id in self._entries if id != scopes.API and id not in listed]
        return listed | (Service.objects.visible_to(self.field.account).in_bulk(others) if others else {})

    @property
    def _access(self) -> Any:
        return _read(self.value())

    @property
    def _entries(self) -> dict[str, list[str]]:
        """The paths of each selected service."""
        chosen = (_by_service(self._access) or {}).items()
        return {service: [str(path) for path in paths] if isinstance(paths, list) else [] for service, paths in chosen}

    @cached_property
    def _errors(self) -> dict[str, list[str]]:
        """The errors about paths by service; all others are under the empty string."""
        errors: dict[str, list[str]] = {}
        for error in self.form.errors.as_data().get(self.name, []):
            service = error.code if error.code in self._services else ""
            errors.setdefault(str(service), []).extend(error.messages)
        return errors


class AccessField(forms.Field):
    """An access, as stored. If the form sends no access, a new key gets everything and an existing key keeps its own.

    An error about a service's paths has the service's id as its code. The form sets `account`, whose services can be
    selected.
    """

    widget = AccessInput
    account: Account

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> BoundAccess:
        return BoundAccess(form, self, field_name)

    def prepare_value(self, value: str | None) -> str:
        return "null" if value is None else value

    def clean(self, value: str | None) -> str | None:
        access = _read(value)
        errors = []
        for service, paths in (_by_service(access) or {}).items():
            try:
                validators.path_list(paths or [])
            except forms.ValidationError as error:
                errors.append(forms.ValidationError(error.messages[0], code=service))
        if errors:
            raise forms.ValidationError(errors)
        return validators.access(access)

    def has_changed(self, initial: str | None, data: str | None) -> bool:
        if data is None:
            return False
        before, after = _read(initial), _read(data)
        return _by_service(before) != _by_service(after) if isinstance(after, list) else before != after


def _read(text: str | None) -> Any:
    """The access in the API's form. Invalid JSON is returned as text, which `validators` refuses."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _by_service(access: Any) -> dict[str, Any] | None:
    """The paths by service, so that the order doesn't matter. None if the access is everything, or invalid."""
    if not isinstance(access, list):
        return None
    return {str(entry.get("service")): entry.get("paths") for entry in access if isinstance(entry, dict)}
