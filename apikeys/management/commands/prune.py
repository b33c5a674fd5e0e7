"""`manage.py prune`: lets old data go. For a timer."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from apikeys import pruning


class Command(BaseCommand):
    help = "Delete old usage and notices, accounts 30 days after their closing, and sessions that have ended."

    def handle(self, *args: Any, **options: Any) -> None:
        for what, number in pruning.prune().items():
            self.stdout.write(f"{number} {what} deleted")
        call_command("clearsessions")
