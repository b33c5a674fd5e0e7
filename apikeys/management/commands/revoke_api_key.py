"""`manage.py revoke_api_key`: revokes a key, given by its id or, if that is unknown, by its secret."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import policy
from apikeys import services, tokens
from apikeys.models import APIKey


class Command(BaseCommand):
    help = "Revoke an API key. It stops working immediately."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "key",
            metavar="ID_OR_KEY",
            help="The key's ID, such as key_…, or the key itself. Use - to read it from "
            "standard input, so that it stays out of the shell history.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sent = (sys.stdin.readline() if options["key"] == "-" else options["key"]).strip()
        api_key = _find(sent)
        if api_key is None:
            raise CommandError("Unknown API key.")
        if api_key.revoked_at is not None:
            self.stdout.write(f"{api_key} of {api_key.account} was already revoked.")
            return
        services.revoke_api_key(actor=policy.system(api_key.account.ref, "Command line"), api_key=api_key)
        self.stdout.write(f"API key {api_key} of {api_key.account} revoked")


def _find(sent: str) -> APIKey | None:
    """The key with that id, or else the key with that secret, which may be an imported key."""
    if not sent.isprintable():
        return None
    keys = APIKey.objects.select_related("account")
    found = keys.filter(pk=sent).first()
    if found is None and tokens.may_be_a_key(sent):
        found = keys.filter(digest=tokens.digest(sent)).first()
    return found
