"""`manage.py send_notices`: sends the mail about keys that is due. For a timer."""

from typing import Any

from django.core.management.base import BaseCommand

from apikeys import notices


class Command(BaseCommand):
    help = "Send the mails that are due. For a timer; running it twice, or twice at once, sends nothing twice."

    def handle(self, *args: Any, **options: Any) -> None:
        notices.find_due()
        self.stdout.write(f"{notices.deliver()} notices sent")
