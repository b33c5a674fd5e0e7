"""Every change to an account and what it owns: the pages, the API, the commands and admin all come here.

A service takes an actor, checks that it may, checks the state, changes and records, in one transaction.
"""

from .accounts import (
    GRACE_PERIOD,
    AccountSettings,
    change_account,
    close_account,
    create_account,
    prune_closed,
    reopen_account,
    resume_account,
    suspend_account,
)
from .changes import changed
from .members import (
    INVITATION_LASTS,
    Link,
    accept_invitation,
    accept_ownership,
    add_member,
    change_invitation,
    change_role,
    find_invitation,
    has_address,
    invite,
    is_known,
    join,
    leave,
    offer_ownership,
    remove_member,
    resend_invitation,
    withdraw_invitation,
    withdraw_ownership,
)
from .projects import change_project, create_deployment, create_project, delete_deployment, delete_project

__all__ = [
    "GRACE_PERIOD",
    "INVITATION_LASTS",
    "AccountSettings",
    "Link",
    "accept_invitation",
    "accept_ownership",
    "add_member",
    "change_account",
    "change_invitation",
    "change_project",
    "change_role",
    "changed",
    "close_account",
    "create_account",
    "create_deployment",
    "create_project",
    "delete_deployment",
    "delete_project",
    "find_invitation",
    "has_address",
    "invite",
    "is_known",
    "join",
    "leave",
    "offer_ownership",
    "prune_closed",
    "remove_member",
    "reopen_account",
    "resend_invitation",
    "resume_account",
    "suspend_account",
    "withdraw_invitation",
    "withdraw_ownership",
]
