"""Forms for keys and services."""

from .keys import APIKeyForm, EditKeyForm, ImportForm, KeyFilter, KeySettingsForm, RotateForm
from .requests import DescribedRequestForm
from .services import EditServiceForm, HostForm, ServiceForm
from .summary import summary_of

__all__ = [
    "APIKeyForm",
    "DescribedRequestForm",
    "EditKeyForm",
    "EditServiceForm",
    "HostForm",
    "ImportForm",
    "KeyFilter",
    "KeySettingsForm",
    "RotateForm",
    "ServiceForm",
    "summary_of",
]
