"""What people type about keys."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from accounts import ids
from accounts.policy import KeyPermission

from . import networks, rates
from .models import APIKeyQuerySet, State

AT = "at"


class APIKeyForm(forms.Form):
    """A new key. It carries the key's id from the start, so that sending it twice makes one key."""

    id = forms.RegexField(r"^key_[0-9A-Za-z]{16}\Z", required=False, initial=ids.new_key_id, widget=forms.HiddenInput)
    name = forms.CharField(
        label="API Key Name",
        max_length=100,
        widget=forms.TextInput({"autofocus": True, "autocomplete": "off"}),
        help_text="Say who or what will use it, so that you recognise it in a year.",
    )
    permission = forms.ChoiceField(
        label="Permission",
        choices=[(permission.value, permission.label) for permission in KeyPermission],
        widget=forms.RadioSelect,
        error_messages={"required": "Choose what the key may do."},
    )
    description = forms.CharField(required=False, max_length=1000, widget=forms.Textarea({"rows": 2}))
    expiry = forms.ChoiceField(
        label="Expires",
        required=False,
        choices=[("", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year"), (AT, "On a date")],
    )
    expires_at = forms.DateTimeField(
        label="Expires on",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="In UTC.",
    )
    allowed_networks = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "data-example": "203.0.113.0/24", "spellcheck": "false"}),
        help_text="One a line. Left empty, the key works from everywhere.",
    )
    rate_limit = forms.CharField(
        label="Own rate limit",
        required=False,
        widget=forms.TextInput({"data-example": "100/minute", "autocomplete": "off"}),
        help_text="Requests per second, minute, hour or day. Left empty, the server's limit holds.",
    )
    administrator = forms.BooleanField(
        label="Administrator access",
        required=False,
        help_text="Opens members, API keys, the audit log and the account itself to the key.",
    )

    #: What stands under "More options".
    OPTIONS = ("description", "expiry", "expires_at", "allowed_networks", "rate_limit", "administrator")

    @property
    def has_options(self) -> bool:
        """Whether anything under "More options" is set or refused, and has to be seen."""
        return any(self[name].value() or self[name].errors for name in self.OPTIONS)

    @property
    def terms(self) -> dict[str, Any]:
        """What `services.issue` is told."""
        terms = {name: value for name, value in self.cleaned_data.items() if name != "expiry"}
        return {**terms, "permission": KeyPermission(terms["permission"])}

    def clean_id(self) -> str:
        return self.cleaned_data["id"] or ids.new_key_id()

    def clean_allowed_networks(self) -> list[str]:
        lines = [line for line in self.cleaned_data["allowed_networks"].split() if line]
        try:
            return list(dict.fromkeys(str(networks.parse_network(line)) for line in lines))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_rate_limit(self) -> str | None:
        if not (rate := self.cleaned_data["rate_limit"]):
            return None
        try:
            rates.parse(rate)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return str(rate)

    def clean(self) -> None:
        expiry = self.cleaned_data.get("expiry")
        if expiry == AT:
            self._check_expires_at()
        else:
            days = int(expiry) if expiry else None
            self.cleaned_data["expires_at"] = timezone.now() + timedelta(days=days) if days else None

    def _check_expires_at(self) -> None:
        if "expires_at" in self.errors:
            return
        when = self.cleaned_data["expires_at"]
        if when is None:
            self.add_error("expires_at", "Say when the key expires.")
        elif when <= timezone.now():
            self.add_error("expires_at", "This is in the past.")


class KeyFilter(forms.Form):
    """The search and the filter of the list, as they stand in its address. What can't be read filters nothing."""

    STATES = {
        "": ("All", ()),
        "active": ("Active", (State.ACTIVE,)),
        "disabled": ("Disabled", (State.DISABLED,)),
        "ended": ("Ended", (State.REVOKED, State.EXPIRED)),
    }

    q = forms.CharField(required=False, max_length=100)
    state = forms.ChoiceField(required=False, choices=[(value, label) for value, (label, _) in STATES.items()])

    def apply(self, keys: APIKeyQuerySet) -> APIKeyQuerySet:
        self.is_valid()
        if text := self.cleaned_data.get("q"):
            keys = keys.search(text)
        if states := self.STATES[self.cleaned_data.get("state", "")][1]:
            keys = keys.in_state(*states)
        return keys
