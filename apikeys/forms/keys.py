"""Forms for keys."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from django import forms
from django.db.models import F, OrderBy
from django.http import QueryDict
from django.utils import timezone

from accounts import ids, times
from accounts.errors import DomainError, Invalid
from accounts.forms import ChangeForm, field_of
from accounts.models import Account
from accounts.policy import KeyPermission
from accounts.validators import LINE, unix_lines

from .. import imports, scopes, validators
from ..models import APIKey, APIKeyQuerySet, Service, State
from ..services import ImportedKey, Overlap
from .access import AccessField

AT, KEEP, NEVER = "at", "keep", ""
LIFETIMES = {30: "In 30 days", 90: "In 90 days", 365: "In a year"}

#: The most lines of a file whose errors are shown.
ERRORS_SHOWN = 20


class KeySettingsForm(forms.Form):
    """The settings of a key. `account` limits its lifetime."""

    name = APIKey._meta.get_field("name").formfield(
        label="API Key Name",
        widget=forms.TextInput({"autocomplete": "off"}),
        help_text="Which program will use it, so that you recognise it later.",
    )
    permission = forms.ChoiceField(
        label="Permission",
        choices=[(permission.value, permission.label) for permission in KeyPermission],
        widget=forms.RadioSelect,
        error_messages={"required": "Select a permission."},
    )
    access = AccessField(required=False)
    description = APIKey._meta.get_field("description").formfield(widget=forms.Textarea({"rows": 2}))
    expiry = forms.ChoiceField(label="Expires", required=False)
    expires_at = forms.DateTimeField(
        label="Expires on",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    allowed_networks = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "data-example": "203.0.113.0/24", "spellcheck": "false"}),
        help_text="One per line. Leave empty to allow any address.",
    )
    rate_limit = forms.CharField(
        label="Rate limit",
        required=False,
        empty_value=None,
        validators=[validators.rate_limit],
        widget=forms.TextInput({"data-example": "100/minute", "autocomplete": "off"}),
        help_text="Requests per second, minute, hour or day. Leave empty for the default.",
    )
    accepts_query = forms.BooleanField(
        label="Accept in the query string",
        required=False,
        initial=True,
        help_text="URLs are often logged.",
    )
    accepts_body = forms.BooleanField(label="Accept in the body", required=False, initial=True)
    administrator = forms.BooleanField(
        label="Administrator access",
        required=False,
        help_text="Gives access to members, API keys, the audit log and account settings.",
    )

    #: The fields under "More options".
    OPTIONS = (
        *("description", "expiry", "expires_at", "allowed_networks", "rate_limit"),
        *("accepts_query", "accepts_body", "administrator"),
    )

    def __init__(self, *args: Any, account: Account, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.longest = account.max_key_lifetime_days
        field_of(self, "access", AccessField).account = account
        self.fields["expires_at"].help_text = f"In your time zone, {timezone.get_current_timezone_name()}."
        choices = [*self.first_choices(), *self._lifetimes(), (AT, "On a date")]
        field_of(self, "expiry", forms.ChoiceField).choices = choices
        if self.longest:
            self.fields["expiry"].help_text = f"The maximum lifetime of keys in {account} is {_days(self.longest)}."

    @classmethod
    def prefilled(cls, typed: QueryDict, initial: dict[str, Any], **about: Any) -> Self:
        """The form with its initial values, or with the values entered before the password was asked for again.

        The URL doesn't contain unchecked boxes. So if the URL contains `expiry`, boxes that it lacks are unchecked.
        """
        initial = {**initial, **typed.dict()}
        if "expiry" in typed:
            boxes = [name for name, field in cls.base_fields.items() if isinstance(field, forms.BooleanField)]
            initial |= {name: name in typed for name in boxes}
        initial["access"] = cls.base_fields["access"].widget.value_from_datadict(typed, {}, "access")
        return cls(initial=initial, **about)

    def first_choices(self) -> list[tuple[str, str]]:
        """The choices shown before the lifetimes."""
        return [] if self.longest else [(NEVER, "Never")]

    def _lifetimes(self) -> list[tuple[str, str]]:
        offered = {days: label for days, label in LIFETIMES.items() if self.longest is None or days <= self.longest}
        if self.longest and self.longest not in offered:
            offered[self.longest] = f"In {_days(self.longest)}"
        return [(str(days), label) for days, label in offered.items()]

    @property
    def has_options(self) -> bool:
        """Whether a field under "More options" is set or has an error, so that these fields have to be visible."""
        return bool(self.longest) or any(
            self[name].errors or (self[name].value() or "") != (self.fields[name].initial or "")
            for name in self.OPTIONS
        )

    def clean_description(self) -> str:
        return unix_lines(self.cleaned_data["description"])

    def clean_allowed_networks(self) -> list[str]:
        return validators.network_list(self.cleaned_data["allowed_networks"].split())

    def clean(self) -> None:
        expiry = self.cleaned_data.get("expiry")
        if expiry is None or expiry == KEEP or (expiry == AT and "expires_at" in self.errors):
            return
        expires_at = self.cleaned_data["expires_at"] if expiry == AT else _days_ahead(expiry)
        if expiry == AT and expires_at is None:
            self.add_error("expires_at", "Enter the date when the key expires.")
            return
        try:
            validators.expiry(expires_at, latest=validators.latest_expiry(self.longest))
        except forms.ValidationError as error:
            self.add_error("expires_at" if expiry == AT else "expiry", error)
        else:
            self.cleaned_data["expires_at"] = expires_at and expires_at.astimezone(UTC)


class APIKeyForm(KeySettingsForm):
    """A new key. The form contains the key's id, so that submitting it twice creates one key."""

    id = forms.RegexField(r"^key_[0-9A-Za-z]{16}\Z", required=False, initial=ids.new_key_id, widget=forms.HiddenInput)
    #: The service whose page links here, and the host name entered there. They are for the first calls with the key.
    for_service = forms.CharField(required=False, validators=LINE, widget=forms.HiddenInput)
    host = forms.CharField(required=False, validators=LINE, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autofocus"] = True
        self.fields["expiry"].initial = str(self.longest) if self.longest else NEVER

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments for `services.create_api_key`."""
        others = ("expiry", "for_service", "host")
        settings = {name: value for name, value in self.cleaned_data.items() if name not in others}
        return {**settings, "permission": KeyPermission(settings["permission"])}

    def clean_id(self) -> str:
        return self.cleaned_data["id"] or ids.new_key_id()


class EditKeyForm(ChangeForm, KeySettingsForm):
    """Settings of an existing key. Its expiry stays unless another one is selected."""

    error_fields = {"expires_at": "expiry"}

    def __init__(self, *args: Any, api_key: APIKey, **kwargs: Any) -> None:
        self.api_key = api_key
        super().__init__(*args, initial=self.settings_of(api_key), item=api_key, **kwargs)

    def first_choices(self) -> list[tuple[str, str]]:
        at = self.api_key.expires_at
        kept = f"Keep: {times.format_moment(at)}" if at else "Keep: never"
        return [(KEEP, kept), *([("never", "Never")] if at and not self.longest else [])]

    @staticmethod
    def settings_of(api_key: APIKey) -> dict[str, Any]:
        """The form's initial values."""
        same = ("name", "permission", "description", "accepts_query", "accepts_body", "administrator")
        return {
            **{name: getattr(api_key, name) for name in same},
            "expiry": KEEP,
            "expires_at": api_key.expires_at,
            "allowed_networks": "\n".join(api_key.allowed_networks),
            "rate_limit": api_key.rate_limit or "",
            "access": api_key.access,
        }

    @property
    def changes(self) -> dict[str, Any]:
        """The arguments for `services.change_api_key`."""
        settings = {name: value for name, value in super().changes.items() if name not in ("expiry", "expires_at")}
        return settings if self._is_kept else {**settings, "expires_at": self.cleaned_data["expires_at"]}

    @property
    def changed_data(self) -> list[str]:
        """A selected lifetime changes the expiry. A date counts only if "On a date" is selected."""
        names = [name for name in super().changed_data if name not in ("expiry", "expires_at")]
        return names if self._is_kept else [*names, "expires_at"]

    def has_conflict(self, name: str) -> bool:
        return self.was_changed(name) if name == "expires_at" else super().has_conflict(name)

    def value_in_words(self, name: str) -> str:
        return ", ".join(scopes.in_short(self.api_key.access)) if name == "access" else super().value_in_words(name)

    @property
    def _is_kept(self) -> bool:
        return self["expiry"].data in (None, "", KEEP)

    def clean_expiry(self) -> str:
        chosen = str(self.cleaned_data["expiry"])
        return {"never": NEVER, "": KEEP}.get(chosen, chosen)


class RotateForm(forms.Form):
    """How long the old key keeps working. The form contains the new key's id, so that two submits create one key."""

    id = forms.RegexField(r"^key_[0-9A-Za-z]{16}\Z", required=False, initial=ids.new_key_id, widget=forms.HiddenInput)
    overlap = forms.ChoiceField(
        choices=[
            (Overlap.NONE.value, "No overlap"),
            (Overlap.HOUR.value, "1 hour"),
            (Overlap.DAY.value, "24 hours"),
            (Overlap.WEEK.value, "7 days"),
        ],
        initial=Overlap.DAY.value,
        widget=forms.RadioSelect,
        error_messages={"required": "Select how long to keep the old key working."},
    )

    def clean_id(self) -> str:
        return self.cleaned_data["id"] or ids.new_key_id()

    def ends(self, api_key: APIKey) -> dict[str, datetime | None]:
        """When the old key would stop working, for each choice. None means immediately."""
        now = timezone.now()
        ends: dict[str, datetime | None] = {Overlap.NONE.value: None}
        for overlap in (Overlap.HOUR, Overlap.DAY, Overlap.WEEK):
            end = now + overlap.length
            ends[overlap.value] = min(end, api_key.expires_at) if api_key.expires_at else end
        return ends


class ImportForm(forms.Form):
    """Keys of another system, as a file or as pasted text."""

    file = forms.FileField(
        label="CSV file", required=False, widget=forms.ClearableFileInput({"accept": ".csv,text/csv,text/plain"})
    )
    text = forms.CharField(
        label="Or paste it here",
        required=False,
        widget=forms.Textarea({"rows": 6, "spellcheck": "false", "autocomplete": "off"}),
    )

    #: nginx accepts 2 MiB, and the form's other fields need some of it.
    MAXIMUM_BYTES = 1_900 * 1024

    rows: list[ImportedKey]

    def clean(self) -> None:
        file, text = self.cleaned_data.get("file"), self.cleaned_data.get("text")
        if self.errors:
            return
        if bool(file) == bool(text):
            self.add_error("file", "Choose a file or paste its lines, not both.")
            return
        try:
            self.rows = imports.read(self._content(file) if file else str(text))
        except Invalid as error:
            self.refuse(error)

    def refuse(self, error: DomainError) -> None:
        """Show the errors of the first `ERRORS_SHOWN` lines at the field that has them."""
        lines = [f"{line.capitalize()}: {' '.join(sentences)}" for line, sentences in (error.errors or {}).items()]
        if len(lines) > ERRORS_SHOWN:
            lines[ERRORS_SHOWN:] = [f"And {len(lines) - ERRORS_SHOWN:,} more lines."]
        self.add_error("file" if self.cleaned_data.get("file") else "text", [error.message, *lines])

    def _content(self, file: Any) -> str:
        if file.size > self.MAXIMUM_BYTES:
            raise Invalid("The file is larger than 1.9 MB. Import it in parts, or use manage.py import_api_keys.")
        try:
            return str(file.read().decode("utf-8"))
        except UnicodeDecodeError:
            raise Invalid("The file is not UTF-8 text.") from None


class Order(NamedTuple):
    """A column's heading: the order that a click selects, and the current direction for `aria-sort`."""

    next: str
    direction: str


class KeyFilter(forms.Form):
    """Search, filter and order of the list, from its URL. Invalid values are ignored."""

    STATES = {
        "": "All",
        "active": "Active",
        "expiring": "Expiring",
        "disabled": "Disabled",
        "ended": "Revoked or expired",
    }
    #: The field of each order, and whether the first click sorts in descending order, as for newest and last used.
    ORDERS = {
        "name": ("name", False),
        "created": ("created_at", True),
        "used": ("last_used_at", True),
        "expires": ("expires_at", False),
    }
    NEWEST = "-created"

    q = forms.CharField(required=False, max_length=APIKey._meta.get_field("name").max_length)
    state = forms.ChoiceField(required=False, choices=list(STATES.items()))
    #: The id of a service that the keys can access.
    service = forms.CharField(required=False, max_length=Service._meta.get_field("id").max_length, validators=LINE)
    sort = forms.ChoiceField(required=False, choices=[(sign + name, name) for name in ORDERS for sign in ("", "-")])

    def apply(self, keys: APIKeyQuerySet) -> APIKeyQuerySet:
        self.is_valid()
        if text := self.cleaned_data.get("q"):
            keys = keys.search(text)
        if service := self.cleaned_data.get("service"):
            keys = keys.with_access_to(service)
        match self.cleaned_data.get("state"):
            case "active":
                keys = keys.in_state(State.ACTIVE)
            case "expiring":
                keys = keys.expiring()
            case "disabled":
                keys = keys.in_state(State.DISABLED)
            case "ended":
                keys = keys.in_state(State.REVOKED, State.EXPIRED)
        return keys.order_by(self._order(), self._tie_breaker())

    @property
    def sorted_by(self) -> str:
        return self.cleaned_data.get("sort") or self.NEWEST

    @property
    def orders(self) -> dict[str, Order]:
        """The headings of the sortable columns."""
        headings = {}
        for name, (_, descending_first) in self.ORDERS.items():
            ascending, descending = name, f"-{name}"
            direction = {ascending: "ascending", descending: "descending"}.get(self.sorted_by, "")
            first, second = (descending, ascending) if descending_first else (ascending, descending)
            headings[name] = Order(second if self.sorted_by == first else first, direction)
        return headings

    def _order(self) -> OrderBy:
        column = F(self.ORDERS[self.sorted_by.removeprefix("-")][0])
        return column.desc(nulls_last=True) if self.sorted_by.startswith("-") else column.asc(nulls_last=True)

    def _tie_breaker(self) -> str:
        return "-id" if self.sorted_by.startswith("-") else "id"


def _days_ahead(days: str) -> datetime | None:
    return timezone.now() + timedelta(days=int(days)) if days else None


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number:,} days"
