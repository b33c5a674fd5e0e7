"""`manage.py send_notices`: notes what there is to tell about keys, and sends all mail that is due. For a timer."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import outbox
from apikeys import expiry, notices


class Command(BaseCommand):
    help = "Send the mails that are due. For a timer; running it twice, or twice at once, sends nothing twice."

    def handle(self, *args: Any, **options: Any) -> None:
        expiry.find_due()
        notices.mail_pending()
        try:
            sent = outbox.deliver()
        except outbox.ServerAway as error:
            raise CommandError(f"{error}. All mail waits and is tried again.") from None
        self.stdout.write(f"{sent} mails sent")
