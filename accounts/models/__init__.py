"""Users, accounts, and what an account owns except its keys and services."""

from .accounts import Account, Invitation, Membership
from .audit import AuditEvent, AuditEventQuerySet
from .mail import OutgoingMail
from .owned import AccountOwnedQuerySet, HasAccountId
from .projects import Deployment, Project
from .users import User

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
