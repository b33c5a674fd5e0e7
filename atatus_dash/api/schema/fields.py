"""Describes the fields of bodies, beyond what drf-spectacular reads from a serializer."""

from collections.abc import Mapping
from typing import Any, cast

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model
from rest_framework import serializers

from ..serializers import BooleanField, EachField, FilterSerializer, JSONField, ModelSerializer, StrictSerializer
from . import patterns
from .components import Schema
from .meanings import meaning


def in_response(serializer: Any, properties: Mapping[str, Schema]) -> dict[str, Schema]:
    """The fields of a response, without what only concerns requests. Some are null for some callers."""
    fields = {}
    for name, schema in properties.items():
        fields[name] = {key: value for key, value in schema.items() if key not in ("readOnly", "default")}
        if list(fields[name]) == ["allOf"]:  # a reference, without the `readOnly` beside it
            (fields[name],) = schema["allOf"]
    if isinstance(serializer, ModelSerializer) and serializer.fields_shown_to_all is not None:
        for name in fields.keys() - serializer.fields_shown_to_all:
            types = fields[name]["type"]
            fields[name]["type"] = types if isinstance(types, list) else [types, "null"]
    return fields


def is_always_there(serializer: Any, name: str) -> bool:
    """Whether a response always has the field. Responses of models have all fields."""
    field = serializer.fields[name]
    return isinstance(serializer, ModelSerializer) or bool(field.read_only or field.required)


def describe(serializer: serializers.Serializer[Any], properties: dict[str, Schema]) -> None:
    """Say what each field means."""
    for name, property in properties.items():
        if not isinstance(serializer, FilterSerializer) and (text := meaning(type(serializer), name)):
            property["description"] = text


def in_request(field: serializers.Field[Any, Any, Any, Any], schema: Schema) -> Schema:
    """The schema of a field in a request, with its default.

    If a field may be empty, null and an empty string mean the same (`BodySerializer`).
    """
    parent = cast(Any, field.parent)
    is_lenient = not isinstance(parent, StrictSerializer)
    if "format" not in schema and (pattern := patterns.of(field)):
        schema = {name: value for name, value in schema.items() if name != "minLength"} | {"pattern": pattern}
    if isinstance(field, serializers.ListField) and (pattern := patterns.of(field.child)):
        schema = {**schema, "items": {**schema["items"], "pattern": pattern}}
    schema = _with_empty(schema, field) if (is_lenient and not field.required) or _may_be_empty(field) else {**schema}
    if isinstance(field, EachField):  # which accepts any item, and refuses invalid ones in their results only
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
        spaces = field.allow_blank or not isinstance(field.parent, StrictSerializer)
        pattern = {"pattern": patterns.or_empty(schema["pattern"], spaces=spaces)} if "pattern" in schema else {}
        schema = {name: value for name, value in schema.items() if name != "minLength"}
        return {**schema, "type": ["string", "null"], **pattern}
    value = {name: value for name, value in schema.items() if name != "description"}
    if isinstance(types := value["type"], list):
        (value["type"],) = [name for name in types if name != "null"]
    return {"anyOf": [value, {"type": "null"}, {"type": "string", "maxLength": 0}], **description}


def in_form(field: serializers.Field[Any, Any, Any, Any], schema: Schema) -> Schema:
    """The schema of a field in a form. A form has no null, and sends an empty list as one empty text.

    A list that is sent once is one item. The schemas of a `JSONField` are objects, which a form sends as JSON text.
    """
    if isinstance(field, EachField):
        return _or_one_item(schema, {"type": ["object", "string", "number", "boolean", "null"]})
    if isinstance(field, JSONField):
        return schema
    if isinstance(field, BooleanField):
        texts = [text for text in field.TEXTS if text not in ("true", "false")]
        value = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": texts}]}
        return {**value, **{name: value for name, value in schema.items() if name != "type"}}
    if isinstance(field, serializers.ListField):
        if "minItems" in schema:
            item = {**schema["items"], "minLength": 1}
        else:
            item = {"anyOf": [schema["items"], {"type": "string", "maxLength": 0}]}
        return _or_one_item({**schema, "items": item}, item)
    if "anyOf" in schema:
        return {**schema, "anyOf": [each for each in schema["anyOf"] if each != {"type": "null"}]}
    if isinstance(types := schema.get("type"), list):
        left = [name for name in types if name != "null"]
        return {**schema, "type": left[0] if len(left) == 1 else left}
    return schema


def _or_one_item(schema: Schema, item: Schema) -> Schema:
    about = {name: value for name, value in schema.items() if name in ("description", "default")}
    return {"anyOf": [{name: value for name, value in schema.items() if name not in about}, item], **about}


def _default_of(model: type[Model], name: str) -> Any:
    """The default of a model's field. None if it has none."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:  # a property
        return None
    if not isinstance(field, Field) or not (field.has_default() or field.blank):
        return None
    return field.get_default()
