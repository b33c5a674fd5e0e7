"""`manage.py reset_two_factor`: for users whose second factors are lost or can't be decrypted."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import policy, services
from accounts.errors import DomainError
from accounts.models import User


class Command(BaseCommand):
    help = (
        "Delete a user's authenticator app, passkeys and recovery codes and end their sessions. They then sign in with "
        "their password and set up two-factor again. First verify that the request comes from them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="The address that they sign in with.")

    def handle(self, *args: Any, **options: Any) -> None:
        email = User.objects.normalize_email(options["email"])
        user = User.objects.filter(email=email).first()
        if user is None:
            raise CommandError(f"No user signs in with the address {email}.")
        try:
            services.reset_two_factor(user=user, by=services.Initiator(policy.ActorKind.SYSTEM, "", "Command line"))
        except DomainError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"Two-factor authentication of {email} reset, and all their sessions signed out.")
