"""What people type about keys."""

from .keys import APIKeyForm, EditKeyForm, ImportForm, KeyFilter, RotateForm

__all__ = ["APIKeyForm", "EditKeyForm", "ImportForm", "KeyFilter", "RotateForm"]
