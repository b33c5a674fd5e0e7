"""The form of "Test a request"."""

from collections.abc import Iterable
from typing import Any

from django import forms

from accounts import validators
from accounts.forms import field_of

from .. import scopes
from ..guard.contracts import MAX_TARGET_LENGTH
from ..models import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class DescribedRequestForm(forms.Form):
    """The path is used as a client would send it. Without an address, a key with allowed networks is refused."""

    method = forms.ChoiceField(choices=[(method, method) for method in METHODS])
    path = forms.CharField(
        initial="/",
        max_length=MAX_TARGET_LENGTH,
        strip=False,
        validators=[validators.no_secret],
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )
    service = forms.ChoiceField()
    address = forms.GenericIPAddressField(
        label="Client address", required=False, widget=forms.TextInput({"autocomplete": "off"})
    )

    def __init__(self, *args: Any, services: Iterable[Service], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names = {**{service.id: service.name for service in services}, scopes.API: "This API (/v2)"}
        field_of(self, "service", forms.ChoiceField).choices = list(self._names.items())

    @property
    def service_name(self) -> str:
        """The name of a valid form's service."""
        return self.name_of(self.cleaned_data["service"])

    def name_of(self, service: str) -> str:
        """The name of a service. Empty if the service is not a choice."""
        return self._names.get(service, "")
