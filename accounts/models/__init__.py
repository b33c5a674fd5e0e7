"""Users, accounts, and what an account owns except its keys and services."""

from .audit import AuditEvent, AuditEventQuerySet
from .mail import OutgoingMail
from .membership import Account, Invitation, Membership
from .owned import AccountOwnedQuerySet, HasAccountId
from .people import User
from .projects import Deployment, Project

__all__ = [
    "Account",
    "AccountOwnedQuerySet",
    "AuditEvent",
    "AuditEventQuerySet",
    "Deployment",
    "HasAccountId",
    "Invitation",
    "Membership",
    "OutgoingMail",
    "Project",
    "User",
]
