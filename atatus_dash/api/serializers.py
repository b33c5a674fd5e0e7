"""Base serializers: read items from JSON and forms alike, and mark the fields that a client may set."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import ProhibitNullCharactersValidator
from django.db import models
from django.utils.datastructures import MultiValueDict
from rest_framework import serializers
from rest_framework.fields import empty

from accounts import fields
from accounts.validators import LINE, unix_lines

from .parsers import RefusedJSONError, parse_json

M = TypeVar("M", bound=models.Model)


class BodySerializer(serializers.Serializer[Any]):
    """Reads a form like the equivalent JSON object, and an empty value as null where the field allows null.

    DRF reads a boolean that a form omits as an unchecked checkbox. Programs have no checkboxes, so an omitted field
    gets its default. A list is a field sent several times, or once and empty. In JSON only `[]` is an empty list: a
    program that sends null or an empty string by mistake must not remove a key's restriction to networks.
    A form sends a `JSONField` as the text of JSON, either the whole list or one item each time; an empty string is an
    error. The length of a text is what was sent, with the spaces around it, which are removed.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            data = self.plain(data)
            if too_long := {name: [error] for name, value in data.items() if (error := self._too_long(name, value))}:
                raise serializers.ValidationError(too_long)
        return super().to_internal_value(data)

    def plain(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(data, MultiValueDict):
            data = {name: self._from_form(name, data.getlist(name)) for name in data}
        return {name: self._or_empty(name, value) for name, value in data.items()}

    def meaning(self, data: Any) -> Any:
        """The fields as this serializer reads them, before validation: the same for a form and for the equivalent JSON.

        The result doesn't depend on the time. A value that a field can't read is unchanged.
        """
        if not isinstance(data, Mapping):
            return data
        return {name: self._meaning(name, value) for name, value in self.plain(data).items()}

    def _meaning(self, name: str, value: Any) -> Any:
        field = self.fields.get(name)
        if field is None or field.read_only or value is None:
            return value
        child = getattr(field, "child", None)
        if isinstance(child, BodySerializer) and isinstance(value, list):  # `to_internal_value` would validate
            return [child.meaning(item) for item in value]
        try:
            return field.to_internal_value(value)
        except (serializers.ValidationError, ValidationError):
            return value

    def _from_form(self, name: str, values: list[Any]) -> Any:
        field = self.fields.get(name)
        if isinstance(field, JSONField):
            return field.of_texts([str(value) for value in values])
        if isinstance(field, serializers.ListField):
            return [value for value in values if value != ""]
        if field is not None and len(values) > 1:
            raise serializers.ValidationError({name: ["Send this field once."]})
        if isinstance(field, BooleanField):
            return field.of_text(str(values[-1]))
        return values[-1] if values else ""

    def _or_empty(self, name: str, value: Any) -> Any:
        """The value, or for null and an empty string the field's empty value: null or an empty string."""
        field = self.fields.get(name)
        if field is None or value not in (None, "") or isinstance(field, JSONField):
            return value
        if field.allow_null:
            return None
        return "" if getattr(field, "allow_blank", False) else value

    def _too_long(self, name: str, value: Any) -> str | None:
        """The error for a text that is too long, or for a list with such a text."""
        field: Any = self.fields.get(name)
        texts = [value]
        if isinstance(field, serializers.ListField):
            field, texts = field.child, value if isinstance(value, list) else []
        length = field.max_length if isinstance(field, serializers.CharField) else None
        if length is None or not any(isinstance(text, str) and len(text) > length for text in texts):
            return None
        return str(field.error_messages["max_length"]).format(max_length=length)


class JSONField(serializers.Field[Any, Any, Any, Any]):
    """A list of objects, which a form sends as the text of JSON."""

    def of_texts(self, texts: Sequence[str]) -> Any:
        values = [self._of_text(text) for text in texts]
        return values[0] if len(values) == 1 and (values[0] is None or isinstance(values[0], list)) else values

    def _of_text(self, text: str) -> Any:
        try:
            return parse_json(text.encode())
        except RefusedJSONError as error:
            sentence = str(error) or "Send this as JSON, such as null or []."
            raise serializers.ValidationError({str(self.field_name): [sentence]}) from None


class BooleanField(serializers.BooleanField):
    """True or false, which forms and query strings send as text.

    DRF would read many texts and numbers as booleans, in JSON too. There, a text is a program's mistake, and may mean
    the opposite of what DRF reads.
    """

    #: `True` and `False` are what Python writes.
    TEXTS: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("true", "True", "1", "on"), True),
        **dict.fromkeys(("false", "False", "0", "off"), False),
    }
    default_error_messages = {"invalid": "Send true or false."}

    def of_text(self, text: str) -> bool | str:
        """The boolean that the text stands for. Any other text is returned unchanged, and then refused."""
        return self.TEXTS.get(text, text)

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class StrictSerializer(BodySerializer):
    """Refuses unknown and read-only fields, by name, and numbers where a text is expected."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := [str(name) for name in data if name not in writable]:
                raise serializers.ValidationError({name: ["This field is unknown here."] for name in unknown[:20]})
            if numbers := [name for name, value in data.items() if _is_number_for_text(self.fields[name], value)]:
                raise serializers.ValidationError({name: ["Send this as text, in quotes."] for name in numbers})
        return super().to_internal_value(data)


def _is_number_for_text(field: Any, value: Any) -> bool:
    """Whether DRF would read a number as text, in this field or in a list of such fields."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return any(_is_number_for_text(field.child, item) for item in value)
    return isinstance(field, serializers.CharField) and isinstance(value, int | float) and not isinstance(value, bool)


class FilterSerializer(serializers.Serializer[Any]):
    """Reads the filters of a list from its query string, as `base.APIView.filters` passes it.

    An unknown parameter is refused, as an unknown field is: a misspelled filter would select everything, and a program
    may revoke all the keys that it gets.
    """

    def to_internal_value(self, data: Any) -> Any:
        if unknown := [name for name in data if name not in self.fields]:
            raise serializers.ValidationError({name: ["This parameter is unknown here."] for name in unknown})
        return super().to_internal_value({name: self._plain(name, text) for name, text in data.items()})

    def _plain(self, name: str, text: str) -> Any:
        field = self.fields[name]
        return field.of_text(text) if isinstance(field, BooleanField) else text


#: This is the length of the longest label of an actor or a target.
MAX_FILTER_LENGTH = 254


class TextFilter(serializers.CharField):
    """Text to search for. An API key is refused: proxies log URLs, and `next` would repeat it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_FILTER_LENGTH, validators=LINE, required=False, **kwargs)


class Writable(str):
    """The name of a field that a client may set."""

    __slots__ = ()


def writable(*names: str) -> list[str]:
    """Marks the fields in `Meta.fields` that a client may set."""
    return [Writable(name) for name in names]


class TextField(serializers.CharField):
    """Text of several lines, each ending in a line feed."""

    def run_validation(self, data: Any = empty) -> Any:
        text = super().run_validation(data)
        return unix_lines(text) if isinstance(text, str) else text


class ModelSerializer(serializers.ModelSerializer[M]):
    """Fields are read-only unless `Meta.fields` marks them `writable`."""

    #: Fields that only the first answer has: they are null in a repeated answer.
    secret_fields: ClassVar[Sequence[str]] = ()
    #: The only fields that some callers see: the others are null for them. None if all callers see all fields.
    fields_shown_to_all: ClassVar[Sequence[str] | None] = None
    #: Fields that change with each use of the item, and so don't count for its ETag.
    volatile_fields: ClassVar[Sequence[str]] = ()

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        fields.TextField: TextField,
        models.BooleanField: BooleanField,
    }

    def get_fields(self) -> dict[str, Any]:
        """Copies of the fields, which take half the time in which DRF makes them from the model."""
        return deepcopy(_fields(type(self)))

    def get_field_names(self, *args: Any) -> list[str]:
        return [str(name) for name in super().get_field_names(*args)]  # orjson accepts no subclass of str as a key

    def get_extra_kwargs(self) -> dict[str, Any]:
        extra: dict[str, Any] = super().get_extra_kwargs()
        for name in self.Meta.fields:
            if not isinstance(name, Writable):
                extra.setdefault(name, {})["read_only"] = True
        return extra


@cache
def _fields(serializer: type[ModelSerializer[Any]]) -> dict[str, Any]:
    return super(ModelSerializer, serializer()).get_fields()


class PatternField(serializers.CharField):
    """A text that the serializer or the service checks. The pattern is only for the schema."""

    def __init__(self, pattern: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern


class ShortListField(serializers.ListField):
    """A list whose length is checked first: DRF validates all items before it refuses a list for its length."""

    max_length: int

    def run_child_validation(self, data: Any) -> list[Any]:
        if len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().run_child_validation(data)


class EachField(JSONField, ShortListField):
    """A list of objects, each validated by itself: the result has its value or its `ValidationError`."""

    def of_texts(self, texts: Sequence[str]) -> Any:
        values = [self._of_text_or_itself(text) for text in texts]
        return values[0] if len(values) == 1 and isinstance(values[0], list) else values

    def _of_text_or_itself(self, text: str) -> Any:
        try:
            return self._of_text(text)
        except serializers.ValidationError:
            return text  # not an object, so it is refused by itself

    def run_child_validation(self, data: Any) -> list[Any]:
        if len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return [self._value_or_error(item) for item in data]

    def _value_or_error(self, item: Any) -> Any:
        try:
            return self.child.run_validation(item)
        except serializers.ValidationError as error:
            return error


class AnyTextField(serializers.CharField):
    """A text that is looked up and not stored. If it names nothing, that is a result, not an error."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_blank=True, **kwargs)
        self.validators = [each for each in self.validators if not isinstance(each, ProhibitNullCharactersValidator)]
