"""`manage.py create_api_key`: creates a key for an account."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django.utils import timezone

from accounts import links, policy
from accounts.errors import Invalid
from accounts.policy import KeyPermission
from apikeys import services, validators
from apikeys.management.accounts import account_named

#: The options by field.
OPTIONS = {"name": "--name", "expires_at": "--expires", "rate_limit": "--rate-limit", "access": "--access"}


class Command(BaseCommand):
    help = "Create an API key and print it, alone on the last line. It is not shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", required=True, metavar="SLUG", help="The account that the key belongs to.")
        parser.add_argument("--name", required=True, help="What the key is for.")
        parser.add_argument("--permission", required=True, choices=[permission.value for permission in KeyPermission])
        parser.add_argument("--administrator", action="store_true", help="Give the key administrator access.")
        parser.add_argument("--expires", type=int, metavar="DAYS", help="Days until the key expires. Default: never.")
        parser.add_argument("--rate-limit", metavar="RATE", help="Such as 100/minute. Default: API_RATE_LIMIT.")
        parser.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="CIDR",
            help="A network that the key may be used from. Repeat for more. Default: any.",
        )
        parser.add_argument(
            "--access",
            action="append",
            default=[],
            metavar="SERVICE[:PATH,…]",
            help="What the key can access: the ID of a service, alone or with paths, or “api” for /v2. Repeat the "
            "option for more. “none” means only /v2 itself. Default: everything.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        account = account_named(options["account"])
        try:
            access = validators.access_of_options(options["access"])
        except ValidationError as error:
            raise CommandError(f"--access: {' '.join(error.messages)}") from None
        try:
            issued = services.create_api_key(
                actor=policy.system(account.ref, "Command line"),
                name=options["name"].strip(),
                permission=KeyPermission(options["permission"]),
                administrator=options["administrator"],
                expires_at=_expiry(options["expires"]),
                allowed_networks=validators.network_list(options["allow"]),
                rate_limit=options["rate_limit"],
                access=access,
            )
        except (ValidationError, Invalid) as error:
            raise CommandError("\n".join(_messages(error))) from None
        self.stdout.write(f"{issued.api_key.id}, {issued.api_key.name}. Store the key now. It is not shown again.")
        if settings.PUBLIC_URL:
            self.stdout.write(links.in_mail(reverse("apikeys:key", args=[account.slug, issued.api_key.id])))
        self.stdout.write(issued.secret)


def _expiry(days: int | None) -> datetime | None:
    if days is None:
        return None
    if not 1 <= days <= validators.MAXIMUM_DAYS:
        raise CommandError(f"--expires must be a number of days from 1 to {validators.MAXIMUM_DAYS}.")
    return timezone.now() + timedelta(days=days)


def _messages(error: ValidationError | Invalid) -> list[str]:
    """The errors, each with its option."""
    if isinstance(error, ValidationError):
        return [f"--allow: {sentence}" for sentence in error.messages]
    return [f"{OPTIONS[field]}: {' '.join(sentences)}" for field, sentences in (error.errors or {}).items()]
