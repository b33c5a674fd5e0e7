"""Text fields. A test makes sure that every column that users or programs can fill has one of these fields.

They refuse secrets and invisible characters (`validators`) in form fields made from them, in API serializers and when
a model is cleaned. Only the model sets the maximum length. A `LineField` is one line even if it is saved without
cleaning, or was saved by an older version. In migrations they are Django's own fields, because the columns are the
same.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.db import models

from . import validators

if TYPE_CHECKING:  # Django's fields are generic in their stubs alone
    _Field = models.Field[str, str]
    _CharField = models.CharField[str, str]
    _EmailField = models.EmailField[str, str]
    _TextField = models.TextField[str, str]
else:
    _Field, _CharField, _EmailField, _TextField = models.Field, models.CharField, models.EmailField, models.TextField


#: The most characters of a user agent that are stored.
AGENT_LENGTH = 200


class _Checked(_Field):
    """In migrations it is the Django field that it extends."""

    #: Validators in addition to those of Django's field.
    extra_validators: ClassVar[Sequence[Callable[[str], None]]]

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        return super().formfield(**{"validators": self.extra_validators, **kwargs})

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        plain = next(kind for kind in type(self).__mro__ if kind.__module__.startswith("django.db.models"))
        return name, f"django.db.models.{plain.__name__}", args, kwargs


class LineField(_Checked, _CharField):
    """Text in one line, such as a name."""

    extra_validators = validators.LINE
    default_validators = [*models.CharField.default_validators, *extra_validators]

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return validators.in_one_line(value) if isinstance(value, str) else value

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return validators.in_one_line(value) if value else value


class EmailField(_Checked, _EmailField):
    """An e-mail address."""

    extra_validators = validators.LINE
    default_validators = [*models.EmailField.default_validators, *extra_validators]


class TextField(_Checked, _TextField):
    """Text of several lines, stored with line feeds."""

    extra_validators = validators.TEXT
    default_validators = [*models.TextField.default_validators, *extra_validators]

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return validators.unix_lines(value) if isinstance(value, str) else value
