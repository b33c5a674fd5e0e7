"""Requests with an `Idempotency-Key` have one effect, and the same answer for a day.

The answer is stored in the transaction of the effect, so neither exists without the other. If an error, a crash or a
lost connection ends that transaction, the `Idempotency-Key` stays unused, and a retry runs again. A running request is
marked only by locks, which end with its transaction or its process.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Min, Sum
from django.db.models.functions import Length
from django.utils import timezone

from accounts.errors import Conflict, TooManyRequests, Unprocessable

from .models import ANSWERS_KEPT, APIKey, IdempotencyKey

#: Answers that are stored for one API key. Without limits they could fill a disk.
MAXIMUM = 10_000
#: From how many characters on an answer is large, and how many an account's large answers may have together. An item is
#: rarely as large. The answer to an import has up to 700,000 characters, five times as many as its request, even if
#: nothing is imported.
LARGE, MAXIMUM_LARGE = 16_000, 100_000_000


class Attempt(NamedTuple):
    """A request with an `Idempotency-Key`. Requests that mean different things have different `fingerprint`s."""

    api_key_id: str
    digest: str
    fingerprint: str

    @classmethod
    def of(cls, api_key_id: str, idempotency_key: str, fingerprint: str) -> "Attempt":
        return cls(api_key_id, hashlib.sha256(idempotency_key.encode()).hexdigest(), fingerprint)


class Answer(NamedTuple):
    """What is stored of an answer, to repeat it. `body` is JSON without secrets."""

    status: int
    body: str
    location: str


def stored(attempt: Attempt) -> Answer | None:
    """The answer to an earlier attempt. Raises `Unprocessable` if the earlier request was different."""
    rows = IdempotencyKey.objects.current().filter(api_key_id=attempt.api_key_id, digest=attempt.digest)
    found = rows.values_list("fingerprint", "status", "body", "location").first()
    if found is None:
        return None
    fingerprint, status, body, location = found
    if fingerprint != attempt.fingerprint:
        raise Unprocessable("This Idempotency-Key was used for another request. Send a new one.")
    return Answer(status, body, location)


@contextmanager
def only_one(attempt: Attempt) -> Iterator[None]:
    """A transaction in which no other attempt with the `Idempotency-Key` runs, on any node.

    Raises `Conflict` if another attempt runs, and `TooManyRequests` if the API key has too many stored answers.
    """
    with _only_one_here(attempt), transaction.atomic():
        _require_only_one_anywhere(attempt)
        _require_room(attempt.api_key_id)
        yield


def store(attempt: Attempt, answer: Answer) -> None:
    """Keep the answer. The transaction must be that of `only_one`.

    Raises `TooManyRequests` for a large answer if its account has no room for another one.
    """
    if len(answer.body) >= LARGE:
        _require_room_for_large(attempt.api_key_id)
    IdempotencyKey.objects.update_or_create(
        api_key_id=attempt.api_key_id,
        digest=attempt.digest,
        defaults={"fingerprint": attempt.fingerprint, "created_at": timezone.now(), **answer._asdict()},
    )


_running: set[tuple[str, str]] = set()
_lock = threading.Lock()


@contextmanager
def _only_one_here(attempt: Attempt) -> Iterator[None]:
    """For SQLite: another process waits for this transaction to end and then finds its answer."""
    name = attempt.api_key_id, attempt.digest
    with _lock:
        if name in _running:
            raise _still_running()
        _running.add(name)
    try:
        yield
    finally:
        _running.discard(name)


def _require_only_one_anywhere(attempt: Attempt) -> None:
    """For PostgreSQL, which releases the lock when the transaction ends, even if the connection is lost."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        name = f"idempotency {attempt.api_key_id} {attempt.digest}"
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        if cursor.fetchone() == (False,):
            raise _still_running()


def _still_running() -> Conflict:
    return Conflict("A request with this Idempotency-Key is still running. Try again in a moment.", retry_after=1)


def _require_room(api_key_id: str) -> None:
    answers = IdempotencyKey.objects.current().filter(api_key_id=api_key_id).order_by("-created_at")
    oldest = answers.values_list("created_at", flat=True)[MAXIMUM - 1 : MAXIMUM].first()
    if oldest is not None:
        raise _no_room(f"This API key sent {MAXIMUM:,} Idempotency-Keys within a day", oldest)


def _require_room_for_large(api_key_id: str) -> None:
    account = APIKey.objects.filter(pk=api_key_id).values("account")
    answers = IdempotencyKey.objects.current().filter(api_key__account__in=account)
    large = answers.annotate(size=Length("body")).filter(size__gte=LARGE)
    found = large.aggregate(total=Sum("size", default=0), oldest=Min("created_at"))
    if found["total"] >= MAXIMUM_LARGE:
        raise _no_room("The long responses to Idempotency-Keys of this account take up 100 MB", found["oldest"])


def _no_room(reason: str, oldest: datetime) -> TooManyRequests:
    wait = oldest + ANSWERS_KEPT - timezone.now()
    return TooManyRequests(
        f"{reason}. Send the request without one, or wait.", retry_after=max(1, int(wait.total_seconds()))
    )
