"""`manage.py import_api_keys`: imports keys of another system, by their digests."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import policy
from accounts.errors import Invalid
from apikeys import imports, services
from apikeys.management.accounts import account_named


class Command(BaseCommand):
    help = f"Import API keys of another system from CSV with the columns {', '.join(imports.COLUMNS)}."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the CSV file, or - for standard input")
        parser.add_argument("--account", required=True, metavar="SLUG", help="the account that gets the keys")

    def handle(self, *args: Any, **options: Any) -> None:
        account = account_named(options["account"])
        try:
            text = sys.stdin.read() if options["file"] == "-" else Path(options["file"]).read_text(encoding="utf-8")
            rows = imports.read(text)
            imported = services.import_api_keys(actor=policy.system(account.ref, "Command line"), rows=rows)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"Can't read the file: {error}") from error
        except Invalid as error:
            lines = [f"{line}: {' '.join(sentences)}" for line, sentences in (error.errors or {}).items()]
            raise CommandError("\n".join([error.message, *lines])) from None
        self.stdout.write(f"{len(imported):,} API key{'' if len(imported) == 1 else 's'} imported")
