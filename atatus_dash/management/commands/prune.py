"""`manage.py prune`: deletes data after its retention, as the scheduled job does."""

from typing import Any

from django.core.management.base import BaseCommand

from atatus_dash import jobs, scheduler


class Command(BaseCommand):
    help = (
        "Delete old usage, notices, answers to Idempotency-Keys and mail, accounts 30 days after they were closed, and "
        "sessions that have ended. Servers do this automatically once a day. If one is running the job, this command "
        "waits."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for what, number in scheduler.run_and_wait(jobs.PRUNE, self.stderr.write).items():
            self.stdout.write(f"{number} {what}")
