"""What people type about keys and services."""

from .keys import APIKeyForm, EditKeyForm, ImportForm, KeyFilter, RotateForm
from .services import EditServiceForm, ServiceForm

__all__ = [
    "APIKeyForm",
    "EditKeyForm",
    "EditServiceForm",
    "ImportForm",
    "KeyFilter",
    "RotateForm",
    "ServiceForm",
]
