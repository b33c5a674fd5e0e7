"""The outbox: every mail is a row, written in the transaction of its cause and sent soon after the commit.

No request connects to the mail server. `deliver` sends what is due. Several processes can run it at once, because
each mail is claimed before it is sent. The server's mail thread runs it soon after a commit. A scheduled job, or
`manage.py send_notices`, retries failures and sends what other processes left. If a process dies after sending a mail
and before recording that, the mail is sent again.

The text may contain a link that sets a password, so it is encrypted, and deleted once it can no longer be sent.
"""

import logging
import re
import smtplib
import threading
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any, NamedTuple

from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce
from django.template.loader import render_to_string
from django.utils import timezone

from . import encryption, redaction, validators
from .deletion import Checkpoint, delete, no_checkpoint
from .models import OutgoingMail

logger = logging.getLogger(__name__)

#: A claim expires after this time, in case its process died.
CLAIM_EXPIRES_AFTER = timedelta(minutes=10)

#: How long to wait after a mail's first failure, its second, and so on.
RETRY_DELAYS = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60)]

#: How long all mail waits if no connection can be made. Short, because one attempt is made for all mail.
UNREACHABLE_DELAY = timedelta(minutes=1)

#: How long a mail is kept without its text, after it was sent or given up.
RETENTION = timedelta(days=30)

#: Rows that are read at a time.
BATCH = 100

_SUBJECT_LENGTH = OutgoingMail._meta.get_field("subject").max_length
_ERROR_LENGTH = OutgoingMail._meta.get_field("error").max_length

TOO_LATE = "It could not be sent in time."

#: Set when this process commits a mail.
pending = threading.Event()


class ServerUnreachable(OSError):
    """No connection to the mail server; all mail waits."""


def wake() -> None:
    """Wake this process's mail thread when the transaction is committed."""
    transaction.on_commit(pending.set)


def add(recipient: str, subject: str, text: str, *, kind: str, lifetime: timedelta, about: str = "") -> None:
    """Mail a text to one address within `lifetime`, or not at all. API keys in it, such as in a name, are masked.

    `about` is the id of its subject, for `withdraw`.
    """
    OutgoingMail.objects.create(
        recipient=recipient,
        subject=redaction.redact(validators.in_one_line(" ".join(subject.split()))[:_SUBJECT_LENGTH]),
        text=encryption.encrypt(redaction.redact(text)),
        kind=kind,
        about=about,
        expires_at=timezone.now() + lifetime,
    )
    wake()


def withdraw(*, kind: str, about: str) -> None:
    """Cancel unsent mail of this kind about this subject, because it is no longer true."""
    OutgoingMail.objects.filter(kind=kind, about=about).exclude(text="").update(
        due_at=None,
        given_up_at=Coalesce("given_up_at", timezone.now()),
        text="",
        error="A newer mail took its place, or it was withdrawn.",
    )


# Delivery ---------------------------------------------------------------------------------------


def deliver(checkpoint: Checkpoint = no_checkpoint) -> int:
    """Send all mail that is due over one connection; return how many were sent. Failed ones are retried later.

    Several processes can do this at once. Raises `ServerUnreachable`.
    """
    _give_up_expired()
    sent = 0
    connection = get_connection()
    with closing(_ClosesQuietly(connection)):
        while batch := list(OutgoingMail.objects.due()[:BATCH]):
            for outgoing in batch:
                checkpoint()
                if not threading.main_thread().is_alive():  # the server is stopping: another process sends the rest
                    return sent
                _open(connection)
                if _claim(outgoing):
                    sent += _send(connection, outgoing)
    return sent


def _open(connection: Any) -> None:
    """Connect unless connected. Otherwise delay all mail that is due and raise `ServerUnreachable`."""
    try:
        connection.open()
    except OSError as error:
        reason = _reason(error)
        OutgoingMail.objects.due().update(due_at=timezone.now() + UNREACHABLE_DELAY, error=reason)
        raise ServerUnreachable(f"The mail server can't be reached: {reason}") from error


class _ClosesQuietly(NamedTuple):
    connection: Any

    def close(self) -> None:
        with suppress(OSError):
            self.connection.close()


def _claim(outgoing: OutgoingMail) -> bool:
    """Claim the mail for this process, until the claim expires. False if another process claimed it first."""
    unclaimed = OutgoingMail.objects.filter(pk=outgoing.pk, due_at=outgoing.due_at)
    outgoing.tries += 1
    return unclaimed.update(due_at=timezone.now() + CLAIM_EXPIRES_AFTER, tries=F("tries") + 1) == 1


def _send(connection: Any, outgoing: OutgoingMail) -> bool:
    """Send one mail and record the result. Its failure doesn't stop the others."""
    row, now = OutgoingMail.objects.filter(pk=outgoing.pk), timezone.now()
    wanted = row.filter(given_up_at=None)  # not withdrawn or expired in the meantime
    try:
        message = compose(outgoing.recipient, outgoing.subject, encryption.decrypt(outgoing.text))
        connection.send_messages([message])
    except Exception as error:
        reason = _reason(error)
        if not isinstance(error, OSError):
            logger.exception("Mail %s (%s) could not be sent.", outgoing.pk, outgoing.kind)
        elif _is_refused_for_good(error):
            logger.warning("Mail %s (%s) to %s was refused: %s", outgoing.pk, outgoing.kind, outgoing.recipient, reason)
            wanted.update(due_at=None, given_up_at=timezone.now(), error=reason)
            return False
        else:
            logger.warning("Mail %s (%s) could not be sent yet: %s", outgoing.pk, outgoing.kind, reason)
        # The connection's state is unknown after a failure.
        _ClosesQuietly(connection).close()
        wait = RETRY_DELAYS[min(outgoing.tries, len(RETRY_DELAYS)) - 1]
        wanted.update(due_at=timezone.now() + wait, error=reason)
        return False
    row.update(due_at=None, given_up_at=None, sent_at=now, text="", error="")
    return True


def compose(address: str, subject: str, text: str) -> EmailMultiAlternatives:
    """A mail in plain text and in HTML."""
    message = EmailMultiAlternatives(subject, text, to=[address])
    html = render_to_string("accounts/mail/base.html", {"subject": subject, "text": text})
    message.attach_alternative(html, "text/html")
    return message


def _is_refused_for_good(error: OSError) -> bool:
    """Whether the server refused this recipient or this text permanently (RFC 5321, 4.2.1).

    A refused sender is not permanent: the operator can correct the address.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500


def _reason(error: Exception) -> str:
    """The error in one line, without links, because a server may quote the refused mail."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        text = " ".join(f"{code} {_text(said)}" for code, said in error.recipients.values())
    elif isinstance(error, smtplib.SMTPResponseException):
        text = f"{error.smtp_code} {_text(error.smtp_error)}"
    else:
        text = str(error) or type(error).__name__
    text = re.sub(r"https?://\S+", "(link)", text, flags=re.IGNORECASE)
    return redaction.redact(validators.in_one_line(" ".join(text.split())))[:_ERROR_LENGTH]


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _give_up_expired() -> None:
    """Give up expired mail and delete its texts."""
    now = timezone.now()
    late = OutgoingMail.objects.filter(expires_at__lte=now).exclude(text="")
    late.filter(error="").update(error=TOO_LATE)
    late.update(due_at=None, given_up_at=Coalesce("given_up_at", Value(now)), text="")


# The operator -----------------------------------------------------------------------------------


def send_again(mails: "QuerySet[OutgoingMail]") -> int:
    """Retry mail that was given up and has not expired. Returns how many."""
    now = timezone.now()
    again = mails.filter(given_up_at__isnull=False, expires_at__gt=now).exclude(text="")
    number = again.update(given_up_at=None, due_at=now, tries=0)
    wake()
    return number


def prune(checkpoint: Checkpoint = no_checkpoint) -> int:
    """Delete mail that was sent or given up long ago. Returns how many."""
    return delete(OutgoingMail.objects.filter(due_at=None, created_at__lt=timezone.now() - RETENTION), checkpoint)


class Rewritten(NamedTuple):
    changed: int
    unreadable: list[OutgoingMail]


def reencrypt() -> Rewritten:
    """Encrypt waiting texts with the newest key. Texts that can't be decrypted stay unchanged."""
    changed, unreadable = 0, []
    for outgoing in OutgoingMail.objects.exclude(text="").order_by("pk").iterator(chunk_size=BATCH):
        if encryption.is_current(outgoing.text):
            continue
        try:
            text = encryption.encrypt(encryption.decrypt(outgoing.text))
        except encryption.Unreadable:
            unreadable.append(outgoing)
            continue
        # Not if it was sent meanwhile, and its text deleted.
        changed += OutgoingMail.objects.filter(pk=outgoing.pk, text=outgoing.text).update(text=text)
    return Rewritten(changed, unreadable)
