"""`manage.py maintenance`: offline on purpose, and back."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from atatus_dash import maintenance
from atatus_dash.models import Maintenance


class Command(BaseCommand):
    help = "Switch maintenance on or off. Every process obeys within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("state", choices=["on", "off"])
        parser.add_argument("--guard", action="store_true", help="For gateways and the services behind them, too.")
        parser.add_argument("--message", default=Maintenance.MESSAGE, help="What people and programs are told.")
        parser.add_argument(
            "--retry-after",
            type=int,
            default=Maintenance.RETRY_AFTER,
            metavar="SECONDS",
            help="When they are told to come back. Default: %(default)s.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        on, message, retry_after = options["state"] == "on", options["message"].strip(), options["retry_after"]
        try:
            Maintenance._meta.get_field("message").clean(message, None)
        except ValidationError as error:
            raise CommandError(f"--message: {' '.join(error.messages)}") from None
        if not 1 <= retry_after <= Maintenance.MAX_RETRY_AFTER:
            raise CommandError(f"--retry-after is a number of seconds from 1 to {Maintenance.MAX_RETRY_AFTER}.")
        maintenance.switch(on=on, guard=on and options["guard"], message=message, retry_after=retry_after)
        self.stdout.write(
            f"Maintenance is {options['state']}{', for services too' if on and options['guard'] else ''}."
        )
