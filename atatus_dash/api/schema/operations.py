"""Describes one method of a view."""

import inspect
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent, build_parameter_type, get_doc
from rest_framework import serializers

from accounts.policy import GRANTS, KeyPermission, KeyRole, Permission
from apikeys.credentials import FIELD

from ..pagination import Pagination
from ..serializers import BodySerializer, EachField, FilterSerializer, JSONField, ModelSerializer, StrictSerializer
from . import components, patterns
from .components import JSON, Schema
from .fields import meaning

#: The module of each resource with its tag, in reading order. The module's docstring describes the tag.
TAGS = {
    "whoami": "API key check",
    "account": "Account",
    "projects": "Projects",
    "deployments": "Deployments",
    "api_keys": "API keys",
    "api_keys_bulk": "API keys",
    "services": "Services",
    "members": "Members",
    "invitations": "Invitations",
    "audit_events": "Audit events",
    "usage": "Usage",
    "leaked_keys": "Leaked keys",
    "openapi": "OpenAPI",
}

#: What each id in a path is.
PATH_PARAMETERS = {
    "project_id": "A project's id.",
    "deployment_id": "A deployment's id.",
    "key_id": "An API key's id. It is not the key.",
    "service_id": "A service's id.",
    "member_id": "A member's id.",
    "invitation_id": "An invitation's id.",
    "event_id": "An audit event's id.",
}

_PAGE_PARAMETERS = [
    build_parameter_type(
        name="limit",
        location="query",
        schema={"type": "integer", "minimum": 1, "maximum": Pagination.max_page_size, "default": Pagination.page_size},
        description="How many items to return.",
    ),
    build_parameter_type(
        name="cursor",
        location="query",
        schema={"type": "string", "pattern": "^[0-9A-Za-z_-]*={0,2}$"},
        description="Where the page begins, from `next` of the page before. Follow `next` instead of building it.",
    ),
]

_PRECONDITIONS = [
    build_parameter_type(
        name="If-Match",
        location="header",
        schema={"type": "string", "pattern": patterns.ENTITY_TAGS, "examples": ["*"]},
        description="An `ETag` that the client has, or `*` for any. If it is no longer current, the response is 412.",
    ),
    build_parameter_type(
        name="If-None-Match",
        location="header",
        schema={"type": "string"},
        description="An `ETag` that the client has. If it is still current, GET is 304, and a change is 412.",
    ),
]

_IDEMPOTENCY_KEY = build_parameter_type(
    name="Idempotency-Key",
    location="header",
    schema={"type": "string", "pattern": "^[!-~]{1,255}$"},
    description="A text that names this request, such as a UUID. Sent again within 24 hours, it has no further effect, "
    "and the response is repeated without secrets.",
)


class OperationSchema(AutoSchema):
    """Describes a method by what its view states: operations, permissions, serializers, filters and statuses."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> Schema:
        self.path, self.path_regex, self.path_prefix, self.method = path, path_regex, path_prefix, method
        self.registry = registry
        view = cast(Any, self.view)
        summary, _, description = get_doc(getattr(view, method.lower())).partition("\n\n")
        permission = view.permissions[method]
        operation: Schema = {
            "operationId": view.operations[method],
            "tags": [tag(type(view))],
            "summary": " ".join(summary.split()).rstrip("."),
            "description": "\n\n".join(filter(None, [description, self._who_may()])),
            "security": components.ANY_SCHEME if view.needs_key() else [],
        }
        if parameters := self._parameters():
            operation["parameters"] = parameters
        if body := self._body():
            operation["requestBody"] = body
        operation["responses"] = {**self._success(), **components.refusals(self._refusals())}
        if view.needs_key():
            operation["x-permission"] = permission
            operation["x-key-permission"] = None if permission is None else key_permission(permission)
            operation["x-administrators-only"] = is_for_administrators(permission)
        return operation

    def _who_may(self) -> str:
        """The keys that may call it, as a sentence."""
        view = cast(Any, self.view)
        permission: Permission | None = view.permissions[self.method]
        if not view.needs_key():
            return "Needs no key."
        if permission is None:
            return "Any key may call this, whatever its permission and access."
        label = key_permission(permission).label
        if is_for_administrators(permission):
            return f"Administrators only: the key needs the {label} permission and administrator access."
        return f"The key needs the {label} permission."

    # Request ------------------------------------------------------------------------------------

    def _parameters(self) -> list[Schema]:
        view = cast(Any, self.view)
        names = [name for name in PATH_PARAMETERS if f"{{{name}}}" in self.path]
        parameters = cast(list[Schema], self._resolve_path_parameters(sorted(names, key=self.path.index)))
        for parameter in parameters:
            parameter["description"] = PATH_PARAMETERS[parameter["name"]]
        if view.lists and self.method == "GET":
            filters = self._map_serializer(view.filter_serializer, "request").get("properties", {})
            for (name, schema), field in zip(filters.items(), view.filter_serializer().fields.values(), strict=True):
                description = schema.pop("description", "")
                if schema.pop("minLength", None) and (pattern := patterns.of(field)):
                    schema["pattern"] = f"^$|{pattern}"  # an empty parameter is none
                parameter = build_parameter_type(name=name, location="query", schema=schema, description=description)
                parameters.append({**parameter, "allowEmptyValue": True})
            parameters += _PAGE_PARAMETERS
        if view.has_etag:
            parameters += _PRECONDITIONS
        if self.method in view.idempotent_methods:
            parameters.append(_IDEMPOTENCY_KEY)
        for name, description in view.request_headers.items():
            parameters.append(
                build_parameter_type(name=name, location="header", schema={"type": "string"}, description=description)
            )
        return parameters

    def _body(self) -> Schema | None:
        view = cast(Any, self.view)
        kind = view.request_serializers.get(self.method)
        if kind is None:
            return None
        serializer = kind(partial=self.method == "PATCH")
        component = self.resolve_serializer(serializer, "request")
        json, form = component.ref, self._form(component, serializer)
        media_types = [parser.media_type for parser in view.parser_classes]
        needs_some = any(field.required and not field.read_only for field in serializer.fields.values())
        return {
            "required": needs_some and self.method != "PATCH",
            "content": {media: {"schema": json if media == JSON else form} for media in media_types},
        }

    def _form(self, component: ResolvedComponent, serializer: Any) -> Schema:
        """The same fields as a form sends them.

        It is always a component of its own: generated clients choose the media type by the class of the body.
        """
        schema: Schema = component.schema
        properties = {
            name: _in_form(serializer.fields[name], property) if name in serializer.fields else property
            for name, property in schema.get("properties", {}).items()
        }
        form = ResolvedComponent(
            name=f"{component.name}Form",
            type=ResolvedComponent.SCHEMA,
            object=type(serializer),
            schema={**schema, "properties": properties},
        )
        self.registry.register_on_missing(form)
        return form.ref

    def _get_serializer_name(self, serializer: Any, direction: str, bypass_extensions: bool = False) -> str:
        name = type(serializer).__name__.removesuffix("Serializer")
        if direction == "request":
            return f"{name}Changes" if serializer.partial else f"{name}Request"
        return name

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Schema:
        schema = cast(Schema, super()._map_basic_serializer(serializer, direction))
        schema.pop("description", None)  # the docstring, which is for those who read the code
        properties: dict[str, Schema] = schema.setdefault("properties", {})
        for property in properties.values():
            for name in ("title", "x-spec-enum-id"):
                property.pop(name, None)
        if direction == "response":
            schema["properties"] = _in_response(serializer, properties)
            schema["required"] = [name for name in properties if _is_always_there(serializer, name)]
        elif isinstance(serializer, BodySerializer):
            for name, field in serializer.fields.items():
                if not field.read_only:
                    properties[name] = _in_request(field, properties[name])
            if not serializer.fields:
                del schema["type"]  # nothing but a key is read
            if isinstance(serializer, StrictSerializer):
                schema["additionalProperties"] = False
            elif cast(Any, self.view).needs_key():
                properties[FIELD] = components.KEY_FIELD
        _describe(serializer, schema["properties"])
        return schema

    # Response -----------------------------------------------------------------------------------

    def _success(self) -> Schema:
        view = cast(Any, self.view)
        status = view.statuses.get(self.method, 200)
        names = [*components.ALWAYS]
        if view.needs_key():
            names += components.OF_KEY
        kind = view.response_serializers.get(self.method)
        schema = self.resolve_serializer(kind, "response").ref if kind else None
        if view.lists and self.method == "GET":
            names.append("Link")
            schema = self._page(cast(Schema, schema))
        if status == 201:
            names.append("Location")
        if self.method in view.idempotent_methods:
            names.append("Idempotent-Replayed")
        if view.has_etag and schema is not None:
            names.append("ETag")
        response: Schema = {"description": HTTPStatus(status).phrase, "headers": components.headers(names)}
        if schema is not None:
            response["content"] = {JSON: {"schema": schema}}
        responses = {str(status): response}
        if view.has_etag and self.method == "GET":
            responses["304"] = {
                "description": "`If-None-Match` names the current version.",
                "headers": components.headers(names),
            }
        return responses

    def _page(self, item: Schema) -> Schema:
        """A page of items, as a component."""
        component = ResolvedComponent(
            name=item["$ref"].rpartition("/")[2] + "Page",
            type=ResolvedComponent.SCHEMA,
            object=type(self.view),
            schema={
                "type": "object",
                "properties": {
                    "results": {
                        "type": "array",
                        "description": "The items of this page.",
                        "items": item,
                        "maxItems": Pagination.max_page_size,
                    },
                    "next": {
                        "type": ["string", "null"],
                        "format": "uri",
                        "description": "The URL of the next page; null on the last one.",
                    },
                },
                "required": ["results", "next"],
            },
        )
        self.registry.register_on_missing(component)
        return component.ref

    def _refusals(self) -> set[int]:
        """The statuses of the errors that this operation can answer with."""
        view = cast(Any, self.view)
        reads_body = self.method in view.request_serializers
        statuses = {400, 403, 411, 431, 500, 503}
        if view.needs_key():
            statuses |= {401, 413, 429}  # 413: the body is searched for a key
        if "{" in self.path:
            statuses.add(404)
        if reads_body:
            statuses |= {408, 413, 415, 429}
        if self.method in view.idempotent_methods:
            statuses |= {409, 422}
        if view.has_etag:
            statuses.add(412)
        return statuses | set(view.refusals)


def tag(view: type[Any]) -> str:
    return TAGS[view.__module__.rpartition(".")[2]]


def tag_description(view: type[Any]) -> str:
    return inspect.getdoc(inspect.getmodule(view)) or ""


def key_permission(permission: Permission) -> KeyPermission:
    """The permission of a key that the operation needs."""
    return KeyPermission.READ if permission.reads else KeyPermission.WRITE


def is_for_administrators(permission: Permission | None) -> bool:
    return permission is not None and permission not in GRANTS[KeyRole.KEY]


def _in_response(serializer: Any, properties: Mapping[str, Schema]) -> dict[str, Schema]:
    """The fields of a response, without what is about requests. Some are null for some callers."""
    fields = {}
    for name, schema in properties.items():
        fields[name] = {key: value for key, value in schema.items() if key not in ("readOnly", "default")}
        if list(fields[name]) == ["allOf"]:  # a reference that had `readOnly` beside it
            (fields[name],) = schema["allOf"]
    if isinstance(serializer, ModelSerializer) and serializer.fields_shown_to_all is not None:
        for name in fields.keys() - serializer.fields_shown_to_all:
            types = fields[name]["type"]
            fields[name]["type"] = types if isinstance(types, list) else [types, "null"]
    return fields


def _is_always_there(serializer: Any, name: str) -> bool:
    """Whether a response always has the field. Those of models leave out none."""
    field = serializer.fields[name]
    return isinstance(serializer, ModelSerializer) or bool(field.read_only or field.required)


def _describe(serializer: serializers.Serializer[Any], properties: dict[str, Schema]) -> None:
    """Say what each field means."""
    for name, property in properties.items():
        if not isinstance(serializer, FilterSerializer) and (text := meaning(type(serializer), name)):
            property["description"] = text


def _in_request(field: serializers.Field[Any, Any, Any, Any], schema: Schema) -> Schema:
    """The schema of a field in a request, with its default.

    Where a field may be empty, null and an empty string mean the same (`BodySerializer`).
    """
    parent = cast(Any, field.parent)
    is_lenient = not isinstance(parent, StrictSerializer)
    if "format" not in schema and (pattern := patterns.of(field)):
        schema = {name: value for name, value in schema.items() if name != "minLength"} | {"pattern": pattern}
    if isinstance(field, serializers.ListField) and (pattern := patterns.of(field.child)):
        schema = {**schema, "items": {**schema["items"], "pattern": pattern}}
    schema = _with_empty(schema, field) if (is_lenient and not field.required) or _may_be_empty(field) else {**schema}
    if isinstance(field, EachField):  # which accepts any item, and refuses those that don't match in their results
        schema["items"] = {"anyOf": [schema["items"], {"description": "Anything else is refused by itself."}]}
    if is_lenient and isinstance(field, serializers.CharField):
        types = schema["type"]
        schema["type"] = [*([types] if isinstance(types, str) else types), "number"]
    if parent.partial:
        schema.pop("default", None)
    elif "default" not in schema and not field.required and (model := getattr(parent, "Meta", None)):
        default = _default_of(model.model, str(field.source))
        if default is not None:
            schema["default"] = default
    return schema


def _may_be_empty(field: serializers.Field[Any, Any, Any, Any]) -> bool:
    return not isinstance(field, JSONField) and bool(field.allow_null or getattr(field, "allow_blank", False))


def _with_empty(schema: Schema, field: serializers.Field[Any, Any, Any, Any]) -> Schema:
    """The schema, or null, or an empty string."""
    if isinstance(field, serializers.JSONField):
        return {}  # anything
    description = {"description": schema["description"]} if "description" in schema else {}
    if isinstance(field, serializers.CharField) and "format" not in schema:
        pattern = {"pattern": patterns.or_blank(schema["pattern"])} if "pattern" in schema else {}
        schema = {name: value for name, value in schema.items() if name != "minLength"}
        return {**schema, "type": ["string", "null"], **pattern}
    value = {name: value for name, value in schema.items() if name != "description"}
    if isinstance(types := value["type"], list):
        (value["type"],) = [name for name in types if name != "null"]
    return {"anyOf": [value, {"type": "null"}, {"type": "string", "maxLength": 0}], **description}


def _in_form(field: serializers.Field[Any, Any, Any, Any], schema: Schema) -> Schema:
    """The schema of a field in a form, which has no null, and sends an empty list as one empty text."""
    if isinstance(field, JSONField):
        content = {name: value for name, value in schema.items() if name not in ("description", "default")}
        description = {"description": schema["description"]} if "description" in schema else {}
        return {"type": "string", "contentMediaType": JSON, "contentSchema": content, **description}
    if isinstance(field, serializers.ListField) and "minItems" not in schema:
        return {**schema, "items": {"anyOf": [schema["items"], {"type": "string", "maxLength": 0}]}}
    if "anyOf" in schema:
        return {**schema, "anyOf": [each for each in schema["anyOf"] if each != {"type": "null"}]}
    if isinstance(types := schema.get("type"), list):
        left = [name for name in types if name != "null"]
        return {**schema, "type": left[0] if len(left) == 1 else left}
    return schema


def _default_of(model: type[Model], name: str) -> Any:
    """The default of a model's field. None if it has none."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:  # a property
        return None
    if not isinstance(field, Field) or not (field.has_default() or field.blank):
        return None
    return field.get_default()
