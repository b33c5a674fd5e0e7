"""Factories: plain functions with defaults for everything that a test doesn't care about."""

import itertools
from datetime import date
from typing import Any

from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

from accounts import policy
from accounts.models import Account, Deployment, Membership, Project, User
from accounts.policy import KeyPermission, Role
from accounts.services import create_account, invite
from accounts.services.members import SentInvitation
from apikeys import scopes, services
from apikeys.models import AccountUsage, APIKey, KeyUsage, Service
from apikeys.services import Issued

PASSWORD = "correct horse battery staple"

_number = itertools.count(1)


def make_user(email: str | None = None, **fields: Any) -> User:
    return User.objects.create_user(email=email or f"person{next(_number)}@example.com", password=PASSWORD, **fields)


def give_second_factor(user: User) -> User:
    """An authenticator app, which Django admin requires."""
    TOTP.activate(user, generate_totp_secret())
    return user


def make_operator(email: str = "operator@example.com") -> User:
    return give_second_factor(User.objects.create_superuser(email, PASSWORD))


def make_account(name: str = "Acme", owner: User | None = None) -> Account:
    return create_account(name=name, owner=owner or make_user())


def make_member(account: Account, role: Role, email: str | None = None) -> User:
    user = make_user(email)
    Membership.objects.create(account=account, user=user, role=role.value)
    return user


def make_key(
    account: Account, name: str = "Deploys", permission: KeyPermission = KeyPermission.READ_WRITE, **fields: Any
) -> Issued:
    """A key with its secret. `fields` that a service would refuse, such as a past expiry, are updated afterwards."""
    past = {name: fields.pop(name) for name in ("expires_at", "disabled_at", "revoked_at") if name in fields}
    issued = services.create_api_key(actor=policy.system(account.ref), name=name, permission=permission, **fields)
    for field, value in past.items():
        setattr(issued.api_key, field, value)
    issued.api_key.save()
    return issued


def make_project(account: Account, name: str = "web", **fields: Any) -> Project:
    return Project.objects.create(account=account, name=name, **fields)


def make_service(account: Account, name: str = "Reports API", **fields: Any) -> Service:
    return services.create_service(actor=policy.system(account.ref), name=name, **fields)


def make_deployment(project: Project, revision: str = "4f2a91c", **fields: Any) -> Deployment:
    return Deployment.objects.create(project=project, revision=revision, **fields)


def make_invitation(
    account: Account, email: str = "new@example.com", role: Role = Role.USER, **fields: Any
) -> SentInvitation:
    """An invitation with its token. `fields` such as a past expiry are updated afterwards."""
    tokens: list[str] = []

    def link(token: str) -> str:
        tokens.append(token)
        return f"https://testserver/invitations/{token}/"

    invitation = invite(actor=policy.system(account.ref), email=email, role=role, link=link)
    for field, value in fields.items():
        setattr(invitation, field, value)
    invitation.save()
    return SentInvitation(invitation, tokens[0])


def make_usage(api_key: APIKey, day: date, service: str = scopes.API, **counts: int) -> None:
    """A key's usage of a service on a day, as a flush writes it: by key and by account."""
    counts.setdefault("requests", sum(counts.values()))
    KeyUsage.objects.create(api_key=api_key, day=day, service=service, **counts)
    total, _ = AccountUsage.objects.get_or_create(account_id=api_key.account_id, day=day)
    for name, number in counts.items():
        setattr(total, name, getattr(total, name) + number)
    total.save()
