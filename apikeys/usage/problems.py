"""The latest problem with the gateways of each service.

It is flushed with the counts. It is also logged, but at most once a minute for each service and gateway, because a
gateway asks about every request.
"""

import logging
import re
import threading
import time

from .. import networks
from ..models import Service
from .latest import Latest

logger = logging.getLogger(__name__)

#: Seconds until a problem that continues is logged again.
REMIND_AFTER = 60
#: The most gateways whose log times are kept. A sender can vary its address only within its /64, which counts as one
#: gateway.
MAX_LOGGED = 1000
_UNLISTED = "A request came from {}, which is not among this service's gateways: add it."
_UNLISTED_PATTERN = re.compile(re.escape(_UNLISTED).replace(re.escape("{}"), "([0-9A-Fa-f:.]+)"))
_LENGTH = Service._meta.get_field("problem").max_length

_latest = Latest("problem_at", "problem")
_lock = threading.Lock()  # of _logged
_logged: dict[tuple[str, str], float] = {}  # Unix time, by gateway and service


def unlisted(gateway: str) -> str:
    """The message about an address that is not among the service's gateways."""
    return _UNLISTED.format(gateway)


def unlisted_in(sentence: str) -> str:
    """The address in a message of `unlisted`; empty for any other message."""
    found = _UNLISTED_PATTERN.fullmatch(sentence)
    return found[1] if found else ""


def record(service_id: str, gateway: str, sentence: str) -> None:
    """Record and log a problem with a gateway."""
    _latest.record(service_id, sentence[:_LENGTH])
    log_refusal(gateway, service_id, sentence)


def log_refusal(gateway: str, about: str, sentence: str) -> None:
    """Log that an authorization request was refused, unless it was logged within `REMIND_AFTER`."""
    now = time.time()
    subject = networks.source(gateway), about
    with _lock:
        is_due = _logged.get(subject, 0.0) < now - REMIND_AFTER
        if is_due:
            if len(_logged) >= MAX_LOGGED:
                _logged.clear()
            _logged[subject] = now
    if is_due:
        logger.warning("An authorization request from %s for %s was refused: %s", gateway, about, sentence)


def flush() -> None:
    """Write what was recorded, as `Latest.flush` does."""
    _latest.flush()


def discard() -> None:
    """Drop all records that are not written, and the times of log lines."""
    _latest.discard()
    with _lock:
        _logged.clear()
