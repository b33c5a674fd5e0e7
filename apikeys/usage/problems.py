"""What was wrong with the gateways of each service last. Flushed with the counts.

The log is told, too, once a minute for each service and gateway: a gateway asks for every request.
"""

import logging
import re
import threading
import time

from django.db import connection, transaction

from .. import networks
from ..models import Service
from .buffer import SKEW, database_time

logger = logging.getLogger(__name__)

#: Seconds after which the log is told again of a problem that goes on.
REMIND_AFTER = 60
#: How many gateways are remembered as told of. Whoever asks can't choose their address but within their /64.
MOST_TOLD = 1000
_UNLISTED = "A request came from {}, which is not among this service's gateways: add it."
_UNLISTED_PATTERN = re.compile(re.escape(_UNLISTED).replace(re.escape("{}"), "([0-9A-Fa-f:.]+)"))
_LENGTH = Service._meta.get_field("problem").max_length

_lock = threading.Lock()
_latest: dict[str, tuple[float, str]] = {}  # Unix time and the sentence, by the service's id
_told: dict[tuple[str, str], float] = {}


def unlisted(gateway: str) -> str:
    """The sentence about an address that is none of the service's gateways."""
    return _UNLISTED.format(gateway)


def unlisted_in(sentence: str) -> str:
    """The address that the sentence is about; empty for another one's."""
    found = _UNLISTED_PATTERN.fullmatch(sentence)
    return found[1] if found else ""


def note(service_id: str, gateway: str, sentence: str) -> None:
    """Note what is wrong with a gateway, or that it is none of the service's."""
    with _lock:
        _latest[service_id] = time.time(), sentence
    tell(gateway, service_id, sentence)


def tell(gateway: str, about: str, sentence: str) -> None:
    """Tell the log what is wrong, unless it was told a moment ago."""
    now = time.time()
    subject = networks.origin(gateway), about
    with _lock:
        is_news = _told.get(subject, 0.0) < now - REMIND_AFTER
        if is_news:
            if len(_told) >= MOST_TOLD:
                _told.clear()
            _told[subject] = now
    if is_news:
        logger.warning("An authorization request from %s for %s was refused: %s", gateway, about, sentence)


def flush() -> None:
    """Write what was noted. If that fails, which raises, it waits for the next flush.

    Rows are written in the order of their ids, so that two nodes can't lock each other out.
    """
    global _latest
    with _lock:
        batch, _latest = _latest, {}
    if not batch:
        return
    now = time.time()
    table = connection.ops.quote_name(Service._meta.db_table)
    rows = []
    for service, (at, sentence) in sorted(batch.items()):
        moment = database_time(min(at, now))
        rows.append((moment, sentence[:_LENGTH], service, moment, database_time(now + SKEW)))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET problem_at = %s, problem = %s "  # noqa: S608  only a name of our own
                "WHERE id = %s AND (problem_at IS NULL OR problem_at < %s OR problem_at > %s)",
                rows,
            )
    except BaseException:
        with _lock:
            _latest = {**batch, **_latest}
        raise


def discard() -> None:
    """Forget what is not written, and what the log was told."""
    with _lock:
        _latest.clear()
        _told.clear()
