"""The scheduled jobs. A new job is an entry of `JOBS`; `scheduler` runs each in one process at a time.

A job can stop at any point, because its process may die, and run again at any time, because a command may start it.
The next run has to do the rest, without doing anything twice.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from accounts import outbox
from accounts.deletion import Checkpoint
from apikeys import expiry, notices, pruning


class Job(NamedTuple):
    name: str
    #: What it does, in one sentence for operators.
    summary: str
    #: From the end of one run to the start of the next.
    interval: timedelta
    #: Does the work and calls the checkpoint between two steps. Returns how many items of each kind it handled.
    work: Callable[[Checkpoint], dict[str, int]]

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


def _send_mail(checkpoint: Checkpoint) -> dict[str, int]:
    """Raises `outbox.ServerUnreachable`."""
    notices.mail_pending()
    return {"mails sent": outbox.deliver(checkpoint)}


def _prune(checkpoint: Checkpoint) -> dict[str, int]:
    return {f"{what} deleted": number for what, number in pruning.prune(checkpoint).items()}


EXPIRY_NOTICES = Job(
    "expiry_notices",
    "Mails Owners and Admins about API keys that expire within 7 days or within a day, or that have expired.",
    timedelta(minutes=15),
    expiry.find_due,
)
MAIL = Job(
    "mail",
    "Sends mail that failed before, or that a command or another node put into the outbox.",
    timedelta(minutes=1),
    _send_mail,
)
PRUNE = Job(
    "prune",
    "Deletes old usage, sources, notices, answers to Idempotency-Keys and mail, expired sessions, and accounts 30 days "
    "after they were closed.",
    timedelta(days=1),
    _prune,
)

JOBS = [EXPIRY_NOTICES, MAIL, PRUNE]
