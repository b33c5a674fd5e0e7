"""What people type about keys and services."""

from .keys import APIKeyForm, EditKeyForm, ImportForm, KeyFilter, RotateForm
from .requests import DescribedRequestForm
from .services import EditServiceForm, HostForm, ServiceForm

__all__ = [
    "APIKeyForm",
    "DescribedRequestForm",
    "EditKeyForm",
    "EditServiceForm",
    "HostForm",
    "ImportForm",
    "KeyFilter",
    "RotateForm",
    "ServiceForm",
]
