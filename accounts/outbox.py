"""The one way of mail: a row, written in the transaction of what it tells, and sent soon afterwards.

No request meets a mail server. `deliver` sends what is due; several processes may run it at once, because each mail
is claimed before it is sent. A server's mail thread does so soon after the commit; a scheduled job, or `manage.py
send_notices`, for what failed or was left by another process. A process that dies between sending a mail and noting
it lets that one mail be sent again.

The text may hold a link that sets a password: it is encrypted, and kept only for as long as it may be sent.
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

#: A claim that was followed by nothing, because its process died, lapses after this time.
CLAIM_EXPIRES_AFTER = timedelta(minutes=10)

#: When a mail that failed by itself is tried again: after its first failure, its second, and so on.
RETRY_DELAYS = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60)]

#: When all mail is tried again if no connection can be made. Short, for one attempt stands for all of it.
UNREACHABLE_DELAY = timedelta(minutes=1)

#: How long a mail is kept, without its text, once it is sent or given up.
RETENTION = timedelta(days=30)

#: How many rows are read, or written under one lock, at a time.
BATCH = 100

_SUBJECT_LENGTH = OutgoingMail._meta.get_field("subject").max_length
_ERROR_LENGTH = OutgoingMail._meta.get_field("error").max_length

TOO_LATE = "It could not be sent in time."

#: Set whenever this process committed something to mail.
pending = threading.Event()


class ServerUnreachable(OSError):
    """No connection to the mail server can be made; all mail waits."""


def wake() -> None:
    """Let the mail thread of this process look as soon as the transaction is committed."""
    transaction.on_commit(pending.set)


def add(recipient: str, subject: str, text: str, *, kind: str, lifetime: timedelta, about: str = "") -> None:
    """Mail a text to one address, within `lifetime` or never. No key is mailed, whoever wrote one into a name.

    `about` names what it is about for `withdraw`.
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
    """Send no further mail of that kind about that thing: what it says is no longer true."""
    OutgoingMail.objects.filter(kind=kind, about=about).exclude(text="").update(
        due_at=None,
        given_up_at=Coalesce("given_up_at", timezone.now()),
        text="",
        error="A newer mail took its place, or it was withdrawn.",
    )


# Delivery ---------------------------------------------------------------------------------------


def deliver(checkpoint: Checkpoint = no_checkpoint) -> int:
    """Send what is due, over one connection; return how many mails were sent. One that fails is tried again later.

    Several processes may do so at once. Raises `ServerUnreachable`.
    """
    _give_up_expired()
    sent = 0
    connection = get_connection()
    with closing(_ClosesQuietly(connection)):
        while batch := list(OutgoingMail.objects.due()[:BATCH]):
            for outgoing in batch:
                checkpoint()
                if not threading.main_thread().is_alive():  # the server stops: the rest is another's
                    return sent
                _open(connection)
                if _claim(outgoing):
                    sent += _send(connection, outgoing)
    return sent


def _open(connection: Any) -> None:
    """Connect, unless there is a connection. Raises `ServerUnreachable`, and lets all mail that is due wait a while."""
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
    """Take the mail for this process, until the claim lapses. False if another was quicker."""
    mine = OutgoingMail.objects.filter(pk=outgoing.pk, due_at=outgoing.due_at)
    outgoing.tries += 1
    return mine.update(due_at=timezone.now() + CLAIM_EXPIRES_AFTER, tries=F("tries") + 1) == 1


def _send(connection: Any, outgoing: OutgoingMail) -> bool:
    """Send one mail and note what became of it. Whatever is wrong with it holds up no other."""
    row, now = OutgoingMail.objects.filter(pk=outgoing.pk), timezone.now()
    wanted = row.filter(given_up_at=None)  # unless it was withdrawn, or became too late, in the meantime
    try:
        message = compose(outgoing.recipient, outgoing.subject, encryption.decrypt(outgoing.text))
        connection.send_messages([message])
    except Exception as error:
        reason = _reason(error)
        if not isinstance(error, OSError):
            logger.exception("Mail %s (%s) could not be sent.", outgoing.pk, outgoing.kind)
        elif _is_refused_for_good(error):
            logger.warning("Mail %s (%s) to %s is refused: %s", outgoing.pk, outgoing.kind, outgoing.recipient, reason)
            wanted.update(due_at=None, given_up_at=timezone.now(), error=reason)
            return False
        else:
            logger.warning("Mail %s (%s) could not be sent yet: %s", outgoing.pk, outgoing.kind, reason)
        # After what failed, nobody knows in which state the connection is.
        _ClosesQuietly(connection).close()
        wait = RETRY_DELAYS[min(outgoing.tries, len(RETRY_DELAYS)) - 1]
        wanted.update(due_at=timezone.now() + wait, error=reason)
        return False
    row.update(due_at=None, given_up_at=None, sent_at=now, text="", error="")
    return True


def compose(address: str, subject: str, text: str) -> EmailMultiAlternatives:
    """A mail that holds a text, and the same text as HTML."""
    message = EmailMultiAlternatives(subject, text, to=[address])
    html = render_to_string("accounts/mail/base.html", {"subject": subject, "text": text})
    message.attach_alternative(html, "text/html")
    return message


def _is_refused_for_good(error: OSError) -> bool:
    """Whether the server says that it will never take this mail (RFC 5321, 4.2.1): its address, or what it holds.

    A sender that is refused is the operator's to correct, and no fault of the mail.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500


def _reason(error: Exception) -> str:
    """Why it failed, in one line, without links: a server may quote the mail that it refuses."""
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
    """Delete the texts of mail that is too late, and send none of it."""
    now = timezone.now()
    late = OutgoingMail.objects.filter(expires_at__lte=now).exclude(text="")
    late.filter(error="").update(error=TOO_LATE)
    late.update(due_at=None, given_up_at=Coalesce("given_up_at", Value(now)), text="")


# The operator -----------------------------------------------------------------------------------


def send_again(mails: "QuerySet[OutgoingMail]") -> int:
    """Try those once more that were given up though there is still time. Returns how many."""
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
    """Encrypt the texts that wait under the newest key. What can't be read stays as it is."""
    changed, unreadable = 0, []
    for outgoing in OutgoingMail.objects.exclude(text="").order_by("pk").iterator(chunk_size=BATCH):
        if encryption.is_current(outgoing.text):
            continue
        try:
            text = encryption.encrypt(encryption.decrypt(outgoing.text))
        except encryption.Unreadable:
            unreadable.append(outgoing)
            continue
        # Unless it was sent meanwhile, and its text forgotten.
        changed += OutgoingMail.objects.filter(pk=outgoing.pk, text=outgoing.text).update(text=text)
    return Rewritten(changed, unreadable)
