"""`manage.py reencrypt`: encrypt every stored secret with the newest key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import factors, outbox


class Command(BaseCommand):
    help = (
        "Encrypt the secrets of second factors and unsent mail with the first of ENCRYPTION_KEYS. Safe beside running "
        "servers. Exits with status 1 if some can't be read, and lists their users."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        changed, unreadable = factors.rewrite(factors.with_secrets(), factors.reencrypted)
        mails = outbox.reencrypt()
        total = changed + mails.changed
        self.stdout.write(f"Encrypted with the newest key: {total}. The rest already were.")
        for factor in unreadable:
            self.stdout.write(f"Can't be read: {factor.user.email}, {factor.get_type_display()}")
        for outgoing in mails.unreadable:
            self.stdout.write(f"Can't be decrypted and won't be sent: mail to {outgoing.recipient}, {outgoing.kind}")
        if number := len(unreadable) + len(mails.unreadable):
            raise CommandError(
                f"{number} can't be read with the keys that are set: add the key that is missing to "
                "ENCRYPTION_KEYS or SECRET_KEY_FALLBACKS, or run reset_two_factor for each user."
            )
