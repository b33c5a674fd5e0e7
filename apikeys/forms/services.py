"""Forms for services."""

from typing import Any

from django import forms

from accounts.forms import ChangeForm

from .. import validators
from ..models import Service


class ServiceForm(forms.Form):
    """A new service. Lists have one item per line; methods are separated by spaces or commas."""

    name = Service._meta.get_field("name").formfield(
        label="Service name",
        widget=forms.TextInput({"autocomplete": "off", "data-example": "Reports API"}),
    )
    upstream = Service._meta.get_field("upstream").formfield(
        widget=forms.TextInput({"autocomplete": "off", "data-example": "http://10.0.0.8:3000", "spellcheck": "false"}),
        help_text="Where the service listens, without a path. Used to fill in your gateway's configuration. "
        "This server never contacts it.",
    )
    gateways = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "data-example": "10.0.0.5", "spellcheck": "false"}),
        help_text="Addresses or networks of your gateways, one per line. Authorization requests from others are "
        "refused. If you don't know the address, leave this empty: the service's page will show it.",
    )
    reading_methods = forms.CharField(
        required=False,
        initial=", ".join(validators.READING_METHODS),
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
        help_text="Methods that the Read permission covers. Every other method needs Write.",
    )
    reading_paths = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "data-example": "/graphql", "spellcheck": "false"}),
        help_text="Paths where Read covers every method, one per line. /search/* also matches everything below it.",
    )
    preflight = forms.BooleanField(
        label="Allow CORS preflights",
        required=False,
        help_text="Browsers send them without a key before a page calls another site.",
    )
    query_keys = forms.BooleanField(
        label="Accept keys in the query string",
        required=False,
        help_text="The keys then appear in the logs of your gateway and service.",
    )

    #: The fields under "More options".
    OPTIONS = ("reading_methods", "reading_paths", "preflight", "query_keys")

    @property
    def has_options(self) -> bool:
        """Whether a field under "More options" is set or has an error, so that these fields have to be visible."""
        return any(
            self[name].errors or (self[name].value() or "") != (self.fields[name].initial or "")
            for name in self.OPTIONS
        )

    def clean_gateways(self) -> list[str]:
        return validators.gateway_list(self.cleaned_data["gateways"].split())

    def clean_upstream(self) -> str:
        validators.upstream(self.cleaned_data["upstream"])
        return str(self.cleaned_data["upstream"])

    def clean_reading_methods(self) -> list[str]:
        return validators.method_list(self.cleaned_data["reading_methods"].replace(",", " ").split())

    def clean_reading_paths(self) -> list[str]:
        lines = self.cleaned_data["reading_paths"].splitlines()
        return validators.path_list([line.strip() for line in lines if line.strip()])


class HostForm(forms.Form):
    """The host name of a service. It is inserted into configurations and not stored."""

    host = forms.RegexField(
        r"\A[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?\Z",
        label="Host name of your API",
        max_length=200,
        required=False,
        widget=forms.TextInput({"autocomplete": "off", "data-example": "api.example.com", "spellcheck": "false"}),
        error_messages={"invalid": "Enter a host name, such as api.example.com."},
    )

    @classmethod
    def host_in(cls, text: str) -> str:
        """The text if it is a host name, else empty."""
        form = cls({"host": text})
        return str(form.cleaned_data["host"]) if form.is_valid() else ""


class EditServiceForm(ChangeForm, ServiceForm):
    """Settings of an existing service."""

    def __init__(self, *args: Any, service: Service, **kwargs: Any) -> None:
        super().__init__(*args, initial=self.settings_of(service), item=service, **kwargs)

    @staticmethod
    def settings_of(service: Service) -> dict[str, Any]:
        """The form's initial values."""
        same = ("name", "upstream", "preflight", "query_keys")
        return {
            **{name: getattr(service, name) for name in same},
            "gateways": "\n".join(service.gateways),
            "reading_methods": ", ".join(service.reading_methods),
            "reading_paths": "\n".join(service.reading_paths),
        }
