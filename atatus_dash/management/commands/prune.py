"""`manage.py prune`: deletes what is older than it has to be kept, as the scheduled job does."""

from typing import Any

from django.core.management.base import BaseCommand

from atatus_dash import jobs, scheduler


class Command(BaseCommand):
    help = (
        "Delete old usage, notices and mail, accounts 30 days after their closing, and sessions that have ended. "
        "A server does so by itself once a day; while it does, this waits."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for what, number in scheduler.run_and_wait(jobs.PRUNE, self.stderr.write).items():
            self.stdout.write(f"{number} {what}")
