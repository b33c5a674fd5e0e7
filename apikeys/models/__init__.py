"""API keys, their usage, notices about them, answers stored for `Idempotency-Key`s, and services."""

from .idempotency import ANSWERS_KEPT, IdempotencyKey, IdempotencyKeyQuerySet
from .keys import APIKey, APIKeyQuerySet, Retirement, State
from .notices import Notice
from .services import Service, ServiceQuerySet
from .usage import AccountUsage, KeyOrigin, KeyUsage, KeyUsageQuerySet, Usage, UsageQuerySet

__all__ = [
    "ANSWERS_KEPT",
    "APIKey",
    "APIKeyQuerySet",
    "AccountUsage",
    "IdempotencyKey",
    "IdempotencyKeyQuerySet",
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
