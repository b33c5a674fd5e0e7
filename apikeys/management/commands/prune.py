from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from apikeys import pruning


class Command(BaseCommand):
    help = "Delete what is old: usage and notices after 400 days, sessions that have ended. For a timer."

    def handle(self, *args: Any, **options: Any) -> None:
        for what, number in pruning.prune().items():
            self.stdout.write(f"{number} {what} deleted")
        call_command("clearsessions")
