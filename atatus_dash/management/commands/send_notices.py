"""`manage.py send_notices`: creates notices about keys that expire, and sends all mail that is due."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import outbox
from atatus_dash import jobs, scheduler


class Command(BaseCommand):
    help = (
        "Send all mail that is due. It is safe to run it twice: no mail is sent twice. "
        "Servers do this automatically. If one is running the job, this command waits."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        scheduler.run_and_wait(jobs.EXPIRY_NOTICES, self.stderr.write)
        try:
            sent = scheduler.run_and_wait(jobs.MAIL, self.stderr.write)
        except outbox.ServerUnreachable as error:
            raise CommandError(f"{error}. All mail stays in the outbox and is tried again.") from None
        for what, number in sent.items():
            self.stdout.write(f"{number} {what}")
