"""`manage.py maintenance`: switches maintenance mode on or off."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from atatus_dash import maintenance
from atatus_dash.models import Maintenance


class Command(BaseCommand):
    help = "Turn maintenance mode on or off. Every process follows within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("state", choices=["on", "off"])
        parser.add_argument("--guard", action="store_true", help="Also for gateways and the services behind them.")
        parser.add_argument("--message", default=Maintenance.MESSAGE, help="Message to people and programs.")
        parser.add_argument(
            "--retry-after",
            type=int,
            default=Maintenance.RETRY_AFTER,
            metavar="SECONDS",
            help="Seconds after which they should try again. Default: %(default)s.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        on, message, retry_after = options["state"] == "on", options["message"].strip(), options["retry_after"]
        try:
            Maintenance._meta.get_field("message").clean(message, None)
        except ValidationError as error:
            raise CommandError(f"--message: {' '.join(error.messages)}") from None
        if not 1 <= retry_after <= Maintenance.MAX_RETRY_AFTER:
            raise CommandError(f"--retry-after must be a number of seconds from 1 to {Maintenance.MAX_RETRY_AFTER}.")
        maintenance.switch(on=on, guard=on and options["guard"], message=message, retry_after=retry_after)
        self.stdout.write(
            f"Maintenance mode is {options['state']}{', also for services' if on and options['guard'] else ''}."
        )
