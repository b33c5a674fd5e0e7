"""Forms of the pages."""

from collections.abc import Mapping
from copy import copy
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar, TypeVar

from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from . import services, times
from .audit import EVENT_CHOICES
from .decorators import initiator_for
from .errors import DomainError
from .models import (
    Account,
    AuditEvent,
    AuditEventQuerySet,
    Deployment,
    Invitation,
    Membership,
    Project,
    User,
)
from .policy import Role
from .templatetags.ui import plain
from .validators import unix_lines
from .widgets import LongSelect

F = TypeVar("F", bound=forms.Field)


PASSWORD_RULES = f"At least {settings.PASSWORD_LENGTH} characters, and hard to guess."


def status_of(form: forms.BaseForm) -> int:
    """422 for a form with errors, which htmx swaps in too; otherwise 200."""
    return 422 if form.errors else 200


def field_of(form: forms.BaseForm, name: str, kind: type[F]) -> F:
    """A field of the form with its declared type, for the type checker."""
    field = form.fields[name]
    assert isinstance(field, kind)
    return field


def add_service_error(form: forms.BaseForm, error: DomainError) -> None:
    """Add a service's error to the fields that it is about, or to the whole form."""
    for field, sentences in (error.errors or {}).items():
        form.add_error(field if field in form.fields else None, list(sentences))
    if not error.errors:
        form.add_error(None, error.message)


class ChangeForm(forms.BaseForm):
    """Changes only the fields that the user changed, and warns if somebody else changed them meanwhile.

    Each field has a hidden input with the value that the user saw (Django's `show_hidden_initial`), so
    `changed_data` names what the user changed, however old the form is. If somebody else changed the same field, the
    form is refused once and shows the current value; saving again replaces that value. A form that is shown again has
    the current values of the other fields. A form sent without hidden inputs is compared with the current values.

    `item` is the row to change; `initial` has its current values, even for a bound form.
    """

    #: Fields whose error is shown at another field.
    error_fields: ClassVar[Mapping[str, str]] = {}

    item: Any

    def __init__(self, *args: Any, item: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.item = item or getattr(self, "instance", None)
        data: Any = copy(self.data)  # a request's QueryDict is immutable, its copy isn't
        for name, field in self.fields.items():
            field.show_hidden_initial = not self.is_bound or self._shown(name) is not None
            if self.is_bound and field.show_hidden_initial:
                # For several inputs (a date and a time), Django looks up their common name. Without it, a form that
                # is shown again would take the user's input for the value that they saw.
                data.setdefault(self.add_initial_prefix(name), "")
        self.data = data

    @property
    def changes(self) -> dict[str, Any]:
        """What the user changed, as arguments for a service."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name in self.cleaned_data}

    def clean(self) -> Any:
        cleaned = super().clean()
        changed = set(self.changed_data)
        for name in [name for name in self.fields if self.was_changed(name)]:
            if name not in changed:
                self._set_input(name, self.fields[name].widget, self.add_prefix(name))
            elif self.has_conflict(name):
                self.add_error(self.error_fields.get(name, name), self._conflict_message(name))
            self._set_input(name, self.fields[name].hidden_widget(), self.add_initial_prefix(name))
        return cleaned

    def has_conflict(self, name: str) -> bool:
        """Whether somebody else changed the field meanwhile, to another value than the user did."""
        return self.was_changed(name) and self.fields[name].has_changed(self._current(name), _text(self[name].data))

    def was_changed(self, name: str) -> bool:
        """Whether the field's current value differs from what the user saw."""
        field = self.fields[name]
        return field.show_hidden_initial and field.has_changed(self._current(name), _text(self._shown(name)))

    def _shown(self, name: str) -> Any:
        """The value of the hidden input; None without one."""
        widget, input_name = self.fields[name].hidden_widget(), self.add_initial_prefix(name)
        if widget.value_omitted_from_data(self.data, self.files, input_name):
            return None
        return widget.value_from_datadict(self.data, self.files, input_name)

    def _current(self, name: str) -> Any:
        return self.get_initial_for_field(self.fields[name], name)

    def _set_input(self, name: str, widget: forms.Widget, input_name: str) -> None:
        """Set an input to the current value, so that a form shown again has it."""
        data: Any = self.data
        value = self.fields[name].prepare_value(self._current(name))
        if isinstance(widget, forms.CheckboxInput):
            data.pop(input_name, None)
            data.update({input_name: "on"} if value else {})
            return
        context = widget.get_context(input_name, value, {})["widget"]
        for part in context["subwidgets"] if isinstance(widget, forms.MultiWidget) else [context]:
            held = part["value"][0] if isinstance(part["value"], list) else part["value"]
            data[part["name"]] = "" if held is None else held

    def _conflict_message(self, name: str) -> str:
        events = AuditEvent.objects.for_account(getattr(self.item, "account", self.item))
        event = events.filter(target_id=self.item.target.id, changes__has_key=name).first()
        who = event.actor_label if event else "Someone"
        return f"{who} changed this in the meantime. It is now: {self.value_in_words(name)}. Save again to replace it."

    def value_in_words(self, name: str) -> str:
        """The field's current value, for people."""
        value = getattr(self.item, name)
        return plain(name, value.isoformat() if isinstance(value, datetime) else value)


def _text(sent: Any) -> Any:
    return unix_lines(sent) if isinstance(sent, str) else sent


class ChangeModelForm(ChangeForm, forms.ModelForm):  # type: ignore[type-arg]  # generic in its stubs alone
    """A `ChangeForm` for the row that is its instance."""


class Theme:
    """Light, dark, or the browser's setting. Stored in a cookie, so that pages start in the right colors."""

    COOKIE = "theme"
    SYSTEM = "system"
    LABELS = {SYSTEM: "System", "light": "Light", "dark": "Dark"}
    FIXED = ("light", "dark")


class Shortcuts:
    """Single-key shortcuts. They can be switched off (WCAG 2.2, 2.1.4). Stored in a cookie too."""

    COOKIE = "shortcuts"
    OFF = "off"


def _name_of_new_account() -> forms.Field | None:
    return Account._meta.get_field("name").formfield(
        label="Account name", help_text="Your company or team. You will be its Owner."
    )


class SignupForm(forms.Form):
    """What sign-up asks for besides e-mail and password: the account that the new user will own."""

    account_name = _name_of_new_account()

    def signup(self, request: HttpRequest, user: User) -> None:
        services.create_account(name=self.cleaned_data["account_name"], owner=user, by=initiator_for(request, user))


class NewAccountForm(forms.Form):
    name = _name_of_new_account()


class AccountForm(ChangeForm, forms.Form):
    name = Account._meta.get_field("name").formfield(
        label="Account name",
        help_text="All members see it. URLs don't change.",
    )


class KeyPolicyForm(ChangeModelForm):
    """Rules for all keys of the account."""

    class Meta:
        model = Account
        fields = ("max_key_lifetime_days", "accepts_query", "accepts_body", "revoke_exposed_keys")
        labels = {
            "max_key_lifetime_days": "Maximum key lifetime, in days",
            "accepts_query": "Accept keys in the query string",
            "accepts_body": "Accept keys in the body",
            "revoke_exposed_keys": "Revoke keys sent over plain HTTP",
        }
        help_texts = {
            "max_key_lifetime_days": "Leave empty for no limit. Existing keys keep their expiry.",
            "accepts_query": "URLs are often logged. If off, requests that send the key there get 403.",
            "accepts_body": "Older clients send it there. If off, requests that send the key there get 403.",
            "revoke_exposed_keys": "If off, Owner and Admins are told here and by e-mail.",
        }


class AuditFilter(forms.Form):
    """The filters of `AuditEventQuerySet.matching` on the page. Days are in the user's time zone, both included."""

    #: At the limits of `datetime`, midnight doesn't exist in every time zone.
    CALENDAR = (MinValueValidator(date(1900, 1, 1)), MaxValueValidator(date(2999, 12, 31)))

    actor = forms.CharField(
        label="Actor",
        required=False,
        max_length=AuditEvent._meta.get_field("actor_label").max_length,
        widget=forms.TextInput({"data-example": "E-mail, key or ID", "data-key": "/"}),
    )
    event = forms.ChoiceField(label="Event", required=False, choices=[("", "All events"), *EVENT_CHOICES])
    target = forms.CharField(
        label="Target",
        required=False,
        max_length=AuditEvent._meta.get_field("target_label").max_length,
        widget=forms.TextInput({"data-example": "Name or ID"}),
    )
    since = forms.DateField(label="From", required=False, validators=CALENDAR, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label="To", required=False, validators=CALENDAR, widget=forms.DateInput({"type": "date"}))

    def apply(self, events: AuditEventQuerySet) -> AuditEventQuerySet:
        """The matching events. An invalid filter is shown on the page and matches nothing."""
        if not self.is_valid():
            return events.none()
        since, until = self.cleaned_data.pop("since"), self.cleaned_data.pop("until")
        return events.matching(
            **self.cleaned_data,
            since=since and _start_of(since),
            until=until and _start_of(until) + timedelta(days=1),
        )

    @property
    def is_set(self) -> bool:
        return any(field.value() for field in self)


def _start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


class ProjectForm(forms.Form):
    name = Project._meta.get_field("name").formfield(
        label="Project name",
        help_text="For example a service, a site or an app.",
    )


class ChangeProjectForm(ChangeForm, ProjectForm):
    """Changes an existing project."""


class DeploymentForm(forms.Form):
    revision = Deployment._meta.get_field("revision").formfield(help_text="A commit, a tag or a version.")
    release_stage = Deployment._meta.get_field("release_stage").formfield(help_text="Such as production or staging.")
    user = Deployment._meta.get_field("user").formfield(label="Deployed by")
    changes = Deployment._meta.get_field("changes").formfield(
        widget=forms.Textarea({"rows": 3}), help_text="What changed in this deployment."
    )

    def clean_changes(self) -> str:
        return unix_lines(self.cleaned_data["changes"])


class ProfileForm(forms.Form):
    name = User._meta.get_field("name").formfield(
        label="Your name",
        widget=forms.TextInput({"autocomplete": "name"}),
        help_text="Shown to the other members of your accounts.",
    )
    time_zone = forms.ChoiceField(
        label="Time zone",
        required=False,
        widget=LongSelect,
        help_text="Times are shown in this time zone. Charts and the API count days in UTC.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        regions = [
            (region, [(name, name.replace("_", " ")) for name in names]) for region, names in times.zones().items()
        ]
        field_of(self, "time_zone", forms.ChoiceField).choices = [("", "Same as browser"), *regions]


class AppearanceForm(forms.Form):
    """How pages look and behave in one browser."""

    theme = forms.ChoiceField(label="Theme", choices=Theme.LABELS, widget=forms.RadioSelect)
    shortcuts = forms.BooleanField(label="Keyboard shortcuts", required=False, help_text="Press ? to see them.")


class RoleForm(forms.Form):
    role = forms.ChoiceField(
        choices=[(role.value, role.label) for role in Role if role != Role.OWNER],
        widget=forms.RadioSelect,
        error_messages={"required": "Choose a role."},
    )


class ChangeRoleForm(ChangeForm, RoleForm):
    """Changes the role of a member or of an invitation."""


class InviteForm(RoleForm):
    email = Invitation._meta.get_field("email").formfield(
        widget=forms.EmailInput({"autofocus": True, "autocomplete": "off"}),
        help_text=f"We send a link that works once, for {services.INVITATION_LIFETIME.days} days.",
    )

    field_order = ("email", "role")


class JoinForm(forms.Form):
    """What a new user enters to accept an invitation. The link has verified the address."""

    name = User._meta.get_field("name").formfield(
        label="Your name",
        widget=forms.TextInput({"autocomplete": "name"}),
    )
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text=PASSWORD_RULES,
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, User(email=self.email, name=self.cleaned_data.get("name", "")))
        return password


class TwoFactorForm(forms.Form):
    requires_two_factor = forms.BooleanField(required=False)


class MemberChoiceField(forms.ModelChoiceField):  # type: ignore[type-arg]  # not subscriptable at run time
    def label_from_instance(self, obj: Any) -> str:
        user = obj.user
        return f"{f'{user.name}, ' if user.name else ''}{user.email} ({obj.get_role_display()})"


class OfferForm(forms.Form):
    """The new Owner, and the account's name, typed to prevent mistakes."""

    member = MemberChoiceField(label="New Owner", queryset=Membership.objects.none(), empty_label="Choose a member")
    name = forms.CharField(label="Account name", widget=forms.TextInput({"autocomplete": "off"}))

    def __init__(self, *args: Any, members: QuerySet[Membership], account: Account, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.account = account
        field_of(self, "member", MemberChoiceField).queryset = members

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.account.name:
            raise forms.ValidationError("Enter the account name exactly as shown.")
        return name


class CloseForm(forms.Form):
    name = forms.CharField(label="Account name", widget=forms.TextInput({"autocomplete": "off"}))
