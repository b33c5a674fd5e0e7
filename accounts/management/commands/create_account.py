"""`manage.py create_account`: create the first account of an installation, or another one."""

import getpass
import sys
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse

from accounts import links, policy, services
from accounts.models import Account, User
from accounts.services.members import is_registered
from accounts.validators import no_secret


class Command(BaseCommand):
    help = (
        "Create an account and, if needed, its Owner. The Owner's password comes from "
        "ACCOUNT_OWNER_PASSWORD or is asked for. The last word of the last line is the account's slug."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The account's name.")
        parser.add_argument("--owner", required=True, metavar="EMAIL", help="The Owner's e-mail address.")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"].strip()
        try:
            Account._meta.get_field("name").clean(name, None)
        except ValidationError as error:
            raise CommandError(f"The account's name: {' '.join(error.messages)}") from None
        email = User.objects.normalize_email(options["owner"])
        owner = User.objects.filter(email=email).first()
        if owner is None:
            if is_registered(email):
                raise CommandError(f"{email} is a secondary address of another user. Use their primary address.")
            owner = User(email=email)
            password = _password_for(owner)
        elif not owner.is_active:
            raise CommandError(f"The user {email} is disabled and can't own an account.")
        if owner.pk is not None:
            self.stdout.write(f"The user {email} already exists. The password doesn't change.")
        if Account.objects.filter(name=name).exists():
            self.stdout.write(f"Another account is also named {name}.")
        with transaction.atomic():
            if owner.pk is None:
                owner = User.objects.create_user(email, password)
            account = services.create_account(
                name=name, owner=owner, by=services.Initiator(policy.ActorKind.SYSTEM, "", "Command line")
            )
        if settings.PUBLIC_URL:
            self.stdout.write(f"Sign in at {links.in_mail(reverse('account_login'))}")
        self.stdout.write(f"{account.name} belongs to {owner.email}. Its slug is {account.slug}")


def _password_for(owner: User) -> str:
    """A password that the validators accept. Raises `CommandError`."""
    try:
        validate_email(owner.email)
    except ValidationError:
        raise CommandError(f"“{owner.email}” is not an e-mail address.") from None
    try:
        no_secret(owner.email)
    except ValidationError as error:
        raise CommandError(f"--owner: {error.message}") from None
    password = settings.ACCOUNT_OWNER_PASSWORD or _prompt_password(owner)
    try:
        validate_password(password, owner)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    return str(password)


def _prompt_password(owner: User) -> str:
    if not sys.stdin.isatty():
        raise CommandError("Set ACCOUNT_OWNER_PASSWORD, or run this in a terminal to be asked for a password.")
    password = getpass.getpass(f"Password for {owner.email}: ")
    if getpass.getpass("Password again: ") != password:
        raise CommandError("The passwords don't match.")
    return password
