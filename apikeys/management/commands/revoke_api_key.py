"""`manage.py revoke_api_key`: ends a key by its id, or by the key itself where that is all one has."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import policy
from apikeys import services, tokens
from apikeys.models import APIKey


class Command(BaseCommand):
    help = "Revoke an API key for good, from the next request on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "key",
            metavar="ID_OR_KEY",
            help="The key's id, such as key_…, or the key itself; - reads it from standard input, where no history is.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sent = (sys.stdin.readline() if options["key"] == "-" else options["key"]).strip()
        lookup = {"digest": tokens.digest(sent)} if tokens.is_well_formed(sent) else {"pk": sent}
        api_key = APIKey.objects.select_related("account").filter(**lookup).first()
        if api_key is None:
            raise CommandError("There is no such key.")
        if api_key.revoked_at is not None:
            self.stdout.write(f"{api_key} of {api_key.account} was revoked before.")
            return
        services.revoke(actor=policy.system(api_key.account.ref, "Command line"), api_key=api_key)
        self.stdout.write(f"{api_key} of {api_key.account} is revoked.")
