"""`manage.py demo`: creates a demonstration account, for `make run`."""

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import policy, services
from accounts.models import Account, User
from accounts.policy import KeyPermission, Role
from apikeys.models import Notice
from apikeys.services import create_api_key, create_service

PEOPLE = {Role.OWNER: "Olivia Owner", Role.ADMIN: "Adam Admin", Role.USER: "Uma User"}
PROJECTS = {
    "Shop": [("9c1f2e7", "production", "Checkout asks for the postcode first"), ("4b80d5a", "staging", "")],
    "Billing": [("v2.14.0", "production", "Invoices in three currencies"), ("v2.13.2", "production", "Rounding fixed")],
    "Status page": [("e07ab11", "production", "")],
}
KEYS = {
    "Deploys from CI": KeyPermission.WRITE,
    "Nightly report": KeyPermission.READ,
    "Chat bot": KeyPermission.READ_WRITE,
}
SERVICES = {"Reports API": "http://127.0.0.1:3000"}

INITIATOR = services.Initiator(policy.ActorKind.SYSTEM, "", "Demonstration")


class Command(BaseCommand):
    help = "Create a demonstration account with Owner, Admin and User, and print how to sign in."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if Account.objects.exists():
            raise CommandError("The database already has an account. The demonstration needs an empty database.")
        # Generated for each database, so that a demonstration that stays in use has no well-known password.
        passwords = {role: secrets.token_urlsafe(9) for role in PEOPLE}
        people = {
            role: User.objects.create_user(f"{role}@example.com", passwords[role], name=name)
            for role, name in PEOPLE.items()
        }
        account = services.create_account(name="Acme", owner=people[Role.OWNER], by=INITIATOR)
        actor = policy.system(account.ref, INITIATOR.label)
        for role in (Role.ADMIN, Role.USER):
            services.add_member(actor=actor, user=people[role], role=role)
        _fill(actor)
        # Mail about these keys is useless, and on the console it would hide how to sign in.
        Notice.objects.all().delete()
        self.stdout.write("Sign in as one of:\n\n")
        for role, person in people.items():
            self.stdout.write(f"  {role.label:<6} {person.email:<18} password {passwords[role]}")
        self.stdout.write("\nMail, such as an invitation, is printed where the server runs.")


def _fill(actor: policy.Actor) -> None:
    for name, deployments in PROJECTS.items():
        project = services.create_project(actor=actor, name=name)
        for revision, stage, changes in reversed(deployments):
            services.create_deployment(
                actor=actor, project=project, revision=revision, release_stage=stage, changes=changes, user="ci"
            )
    for name, permission in KEYS.items():
        create_api_key(actor=actor, name=name, permission=permission)
    for name, upstream in SERVICES.items():
        create_service(actor=actor, name=name, gateways=["127.0.0.1"], upstream=upstream)
