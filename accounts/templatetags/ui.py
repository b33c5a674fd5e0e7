"""What templates say again and again: an icon, a time, a form control."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms, template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.forms import BoundField
from django.templatetags.static import static
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..policy import KeyPermission, Role

register = template.Library()

SPRITE = "vendor/tabler-icons@3.51.0/sprite.svg"

#: Verbs of events that read better in other words.
VERBS = {"widened": "gave more power to"}
#: What stands in an event for something with a name of its own.
LABELS = {
    **{permission.value: permission.label for permission in KeyPermission},
    **{role.value: role.label for role in Role},
}
LABELLED = ("permission", "role")


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """An icon of the sprite. Decoration only: the words beside it, or an `aria-label`, name the thing."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true"><use href="{}#{}"/></svg>',
        size and f"icon-{size}",
        static(SPRITE),
        name,
    )


@register.filter
def ago(when: datetime) -> SafeString:
    """A past time as people say it, in its largest unit, the exact time in the title."""
    largest, comma, _ = naturaltime(when).partition(",")
    return _time(when, f"{largest} ago" if comma else largest)


@register.filter
def until(when: datetime) -> SafeString:
    """A time to come as people say it, the exact time in the title."""
    hours = int((when - timezone.now()).total_seconds() // 3600)
    if hours < 1:
        text = "within the hour"
    elif hours < 48:
        text = f"in {hours} h"
    else:
        text = f"in {hours // 24} days"
    return _time(when, text)


@register.filter
def day(when: datetime) -> SafeString:
    """The day of a time, with the year unless it is this one, the exact time in the title."""
    return _time(when, f"{when.day} {when:%b}" if when.year == timezone.now().year else f"{when.day} {when:%b %Y}")


def _time(when: datetime, text: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', when.isoformat(), f"{when.day} {when:%B %Y, %H:%M} UTC", text
    )


@register.filter
def control(field: BoundField) -> SafeString:
    """The field's control, in our look. The first one that was refused gets the focus."""
    widget = field.field.widget
    # A placeholder is an example and never a second label, which allauth's forms make of it.
    attrs: dict[str, Any] = {"placeholder": widget.attrs.get("data-example", False), "data-example": False}
    if not isinstance(widget, forms.CheckboxInput):
        attrs["class"] = "form-select" if isinstance(widget, forms.Select) else "form-control"
    attrs["autofocus"] = is_first_refused(field) or (widget.attrs.get("autofocus", False) and not field.form.errors)
    return field.as_widget(attrs=attrs)


@register.filter
def is_first_refused(field: BoundField) -> bool:
    return field.name == next((other.name for other in field.form.visible_fields() if other.errors), None)


@register.filter
def is_checkbox(field: BoundField) -> bool:
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.filter
def initials(name: str) -> str:
    """Two letters for an avatar."""
    return name[:2].upper()


@register.filter
def deed(event: str) -> str:
    """An event's name as words between actor and target: `api_key.created` reads "created API key"."""
    subject, _, verb = event.partition(".")
    return f"{VERBS.get(verb, verb)} {subject.replace('_', ' ')}".replace("api key", "API key")


@register.filter
def label(field: str) -> str:
    """A field's name for people."""
    return field.replace("_", " ").capitalize()


@register.filter
def in_words(changes: Mapping[str, list[Any]]) -> list[tuple[str, str, str]]:
    """An audit event's changes for people: field, before (empty for what is new) and after."""
    return [
        (label(field), "" if before is None else _plain(field, before), _plain(field, after))
        for field, (before, after) in changes.items()
    ]


def _plain(field: str, value: Any) -> str:
    if value is None or value in ("", []):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if field in LABELLED:
        return LABELS.get(value, str(value))
    if field.endswith("_at") and (moment := parse_datetime(value)):
        return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
    return str(value)
