"""API keys, their usage, notices about them, and services."""

from .keys import APIKey, APIKeyQuerySet, Retirement, State
from .notices import Notice
from .services import Service, ServiceQuerySet
from .usage import AccountUsage, KeyOrigin, KeyUsage, KeyUsageQuerySet, Usage, UsageQuerySet

__all__ = [
    "APIKey",
    "APIKeyQuerySet",
    "AccountUsage",
    "KeyOrigin",
    "KeyUsage",
    "KeyUsageQuerySet",
    "Notice",
    "Retirement",
    "Service",
    "ServiceQuerySet",
    "State",
    "Usage",
    "UsageQuerySet",
]
