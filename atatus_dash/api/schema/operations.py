"""Describes one method of a view."""

import inspect
from http import HTTPStatus
from typing import Any, cast

from django.db.models import Model
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent, build_parameter_type, get_doc

from accounts import keyset
from accounts.policy import GRANTS, KeyPermission, KeyRole, Permission
from apikeys.credentials import FIELD

from ...form_limits import MAX_PARTS
from ..pagination import Pagination
from ..serializers import BodySerializer, StrictSerializer
from . import components, fields, patterns
from .components import FORM, JSON, MULTIPART, Schema

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
    "key_id": "The id of an API key, not the key itself.",
    "service_id": "A service's id.",
    "member_id": "A member's id.",
    "invitation_id": "An invitation's id.",
    "event_id": "An audit event's id.",
}

_LIMIT = build_parameter_type(
    name="limit",
    location="query",
    schema={"type": "integer", "minimum": 1, "maximum": Pagination.max_page_size, "default": Pagination.page_size},
    description="How many items to return.",
)

_PRECONDITIONS = [
    build_parameter_type(
        name="If-Match",
        location="header",
        schema={
            "anyOf": [{"type": "string", "enum": ["*"]}, {"type": "string", "pattern": patterns.ENTITY_TAGS}],
            "examples": ["*"],
        },
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
    schema={"type": "string", "pattern": patterns.IDEMPOTENCY_KEY},
    description="A text that names this request, such as a UUID. If the request is sent again within 24 hours, it has "
    "no further effect, and the response is repeated without secrets.",
)


def _cursor(model: type[Model]) -> Schema:
    """The parameter of a list. An empty cursor has no effect."""
    return build_parameter_type(
        name="cursor",
        location="query",
        schema={"type": "string", "pattern": patterns.or_empty(keyset.Order.of(model).pattern, spaces=False)},
        description="Where the page begins: the cursor in `next` of the previous page. Follow `next` instead of "
        "building it.",
    )


class OperationSchema(AutoSchema):
    """Describes a method from its view's attributes: operations, permissions, serializers, filters and statuses."""

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
                    schema["pattern"] = patterns.or_empty(pattern, spaces=False)  # an empty one counts as not sent
                parameter = build_parameter_type(name=name, location="query", schema=schema, description=description)
                parameters.append({**parameter, "allowEmptyValue": True})
            parameters += [_LIMIT, _cursor(view.response_serializers["GET"].Meta.model)]
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
        schemas = {
            JSON: component.ref,
            FORM: self._form(component, serializer, max_items=None),
            MULTIPART: self._form(component, serializer, max_items=MAX_PARTS),
        }
        needs_some = any(field.required and not field.read_only for field in serializer.fields.values())
        return {
            "required": needs_some and self.method != "PATCH",
            "content": {parser.media_type: {"schema": schemas[parser.media_type]} for parser in view.parser_classes},
        }

    def _form(self, component: ResolvedComponent, serializer: Any, *, max_items: int | None) -> Schema:
        """How a form sends the same fields, with at most `max_items` items in each list.

        It is always a component of its own: generated clients choose the media type by the class of the body.
        """
        schema: Schema = component.schema
        properties, name = {}, f"{component.name}Form"
        for field, property in schema.get("properties", {}).items():
            if max_items and property.get("maxItems", 0) > max_items:
                property, name = {**property, "maxItems": max_items}, f"{component.name}MultipartForm"
            is_ours = field in serializer.fields
            properties[field] = fields.in_form(serializer.fields[field], property) if is_ours else property
        form = ResolvedComponent(
            name=name,
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
        schema.pop("description", None)  # the docstring, which is for readers of the code
        properties: dict[str, Schema] = schema.setdefault("properties", {})
        for property in properties.values():
            for name in ("title", "x-spec-enum-id"):
                property.pop(name, None)
        if direction == "response":
            schema["properties"] = fields.in_response(serializer, properties)
            schema["required"] = [name for name in properties if fields.is_always_there(serializer, name)]
        elif isinstance(serializer, BodySerializer):
            for name, field in serializer.fields.items():
                if not field.read_only:
                    properties[name] = fields.in_request(field, properties[name])
            if not serializer.fields:
                del schema["type"]  # only a key is read from the body
            if isinstance(serializer, StrictSerializer):
                schema["additionalProperties"] = False
            elif cast(Any, self.view).needs_key():
                properties[FIELD] = components.KEY_FIELD
        fields.describe(serializer, schema["properties"])
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
