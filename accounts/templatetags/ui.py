"""Template tags and filters of all pages: icons, times, form controls, audit log entries."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from django import forms, template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.forms import BoundField
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import escape, format_html, linebreaks
from django.utils.safestring import SafeString, mark_safe

from .. import audit, links, times
from ..policy import KeyPermission, Role

register = template.Library()

SPRITE = "vendor/tabler-icons@3.51.0/sprite.svg"

#: Labels of the values that an event stores for roles and permissions.
LABELS = {
    **{permission.value: permission.label for permission in KeyPermission},
    **{role.value: role.label for role in Role},
}
LABELLED = ("permission", "role")

#: An event stores two values of a field: before and after.
PAIR = 2


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """An icon of the sprite. Decoration only: text beside it, or an `aria-label`, gives the meaning."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true"><use href="{}#{}"/></svg>',
        size and f"icon-{size}",
        static(SPRITE),
        name,
    )


@register.simple_tag
def public_url(name: str, *args: Any) -> str:
    """As `url`, for mail: with the host. Empty without `PUBLIC_URL`, because mail has no request."""
    return links.in_mail(reverse(name, args=args))


@register.filter
def ago(when: datetime) -> SafeString:
    """A past time in its largest unit, such as "2 days ago", with the exact time in the title."""
    largest, comma, _ = naturaltime(when).partition(",")
    return _time(when, f"{largest} ago" if comma else "just now" if largest == "now" else largest)


@register.filter
def until(when: datetime) -> SafeString:
    """A future time, such as "in 3 days", with the exact time in the title."""
    minutes = (when - timezone.now()).total_seconds() / 60
    hours = minutes / 60
    if minutes < 1:
        text = "within a minute"
    elif minutes < 59.5:
        text = f"in {minutes:.0f}\N{NO-BREAK SPACE}min"
    elif hours < 47.5:
        text = f"in {hours:.0f}\N{NO-BREAK SPACE}h"
    else:
        text = f"in {hours / 24:.0f}\N{NO-BREAK SPACE}days"
    return _time(when, text)


@register.filter
def day(when: datetime) -> SafeString:
    """The date of a time, with the year unless it is the current one, and the exact time in the title."""
    local = timezone.localtime(when)
    return _time(
        when, f"{local.day} {local:%b}" if local.year == timezone.localtime().year else f"{local.day} {local:%b %Y}"
    )


def _time(when: datetime, text: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', when.isoformat(timespec="minutes"), times.format_moment(when), text
    )


@register.filter
def exact(when: datetime, clock: str = "%H:%M") -> str:
    """Date and time in full, in the user's time zone. `clock` is the format of the time."""
    return times.format_moment(when, clock)


@register.filter
def control(field: BoundField) -> SafeString:
    """The field's control in our style. The first control with an error gets the focus."""
    widget = field.field.widget
    # allauth's forms repeat the label as placeholder; ours have examples only.
    attrs: dict[str, Any] = {"placeholder": widget.attrs.get("data-example", False), "data-example": False}
    if not isinstance(widget, forms.CheckboxInput):
        attrs["class"] = "form-select" if isinstance(widget, forms.Select) else "form-control"
    attrs["autofocus"] = is_first_refused(field) or (widget.attrs.get("autofocus", False) and not field.form.errors)
    return field.as_widget(attrs=attrs)


@register.filter
def focused(field: BoundField) -> BoundField:
    """The field with the focus when the page opens, for a page that has only this form."""
    field.field.widget.attrs["autofocus"] = True
    return field


@register.filter
def is_first_refused(field: BoundField) -> bool:
    return field.name == next((other.name for other in field.form.visible_fields() if other.errors), None)


@register.filter
def hidden_initial(field: BoundField) -> SafeString:
    """The hidden input with the value that the user of a `ChangeForm` sees."""
    return field.as_hidden(only_initial=True)


@register.filter
def is_checkbox(field: BoundField) -> bool:
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.filter
def paragraphs(text: str) -> SafeString:
    """A text as HTML. A URL becomes a link only if it is a whole line, so not in a name."""
    lines = [_linked(escape(str(line))) for line in text.splitlines()]
    return mark_safe(linebreaks("\n".join(lines)))  # noqa: S308  escaped line by line


def _linked(line: str) -> str:
    return f'<a href="{line}">{line}</a>' if re.fullmatch(r"https?://\S+", line) else line


@register.filter
def initials(name: str) -> str:
    """Two letters for an avatar."""
    return name[:2].upper()


class EventWords(NamedTuple):
    """A sentence's words before and after its target, if it names one."""

    before: str
    names_target: bool
    after: str


@register.filter
def event_words(event: str) -> EventWords:
    """The words after the actor: for `api_key.created`, "created API key" and then the target."""
    before, target, after = audit.words(event).partition("{}")
    return EventWords(before, bool(target), after)


@register.filter
def label(field: str) -> str:
    """A field's name for people."""
    return field.replace("_", " ").capitalize()


@register.filter
def changes_in_words(changes: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """An audit event's changes for people: field, value before (empty for a new item) and after.

    A newer version may have recorded something other than a pair, which is shown unchanged.
    """
    return [
        (label(field), "" if before is None else plain(field, before), plain(field, after))
        for field, values in changes.items()
        for before, after in [values if isinstance(values, list) and len(values) == PAIR else (None, values)]
    ]


def plain(field: str, value: Any) -> str:
    """A field's value for people."""
    if value is None or value in ("", []):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if not isinstance(value, str):
        return str(value)
    if field in LABELLED:
        return LABELS.get(value, value)
    if field.endswith("_at"):
        with suppress(ValueError, OverflowError):  # an invalid time, or one that doesn't exist in the user's time zone
            return times.format_moment(moment) if (moment := parse_datetime(value)) else value
    return value


#: Comments, strings and words of curl, Python, JavaScript and JSON.
_CODE = re.compile(
    r"""(?P<c>^\#.*$)|(?P<s>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<k>\b(?:import|curl|fetch|const|await|for|while|def|return|if)\b)""",
    re.MULTILINE,
)


@register.filter
def highlight(text: str, marked: Iterable[str] = ()) -> SafeString:
    """Code with its strings, words and comments as elements. A reader has to replace the `marked` texts."""
    parts, position = [], 0
    for found in _CODE.finditer(text):
        kind = str(found.lastgroup)
        parts += [escape(text[position : found.start()]), format_html('<span class="{}">{}</span>', kind, found[0])]
        position = found.end()
    html = "".join([*parts, escape(text[position:])])
    for one in marked:
        html = html.replace(escape(one), format_html("<mark>{}</mark>", one))
    return mark_safe(html)  # noqa: S308  escaped piece by piece
