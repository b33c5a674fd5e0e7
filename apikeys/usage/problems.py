"""What was wrong with the gateways of each service last. Flushed with the counts.

The log is told, too, once a minute for each service and gateway: a gateway asks for every request.
"""

import logging
import re
import threading
import time

from .. import networks
from ..models import Service
from .latest import Latest

logger = logging.getLogger(__name__)

#: Seconds after which the log is told again of a problem that goes on.
REMIND_AFTER = 60
#: How many gateways are remembered as told of. Whoever asks can't choose their address but within their /64.
MOST_TOLD = 1000
_UNLISTED = "A request came from {}, which is not among this service's gateways: add it."
_UNLISTED_PATTERN = re.compile(re.escape(_UNLISTED).replace(re.escape("{}"), "([0-9A-Fa-f:.]+)"))
_LENGTH = Service._meta.get_field("problem").max_length

_latest = Latest("problem_at", "problem")
_lock = threading.Lock()  # of _told
_told: dict[tuple[str, str], float] = {}  # Unix time, by gateway and service


def unlisted(gateway: str) -> str:
    """The sentence about an address that is none of the service's gateways."""
    return _UNLISTED.format(gateway)


def unlisted_in(sentence: str) -> str:
    """The address that the sentence is about; empty for another one's."""
    found = _UNLISTED_PATTERN.fullmatch(sentence)
    return found[1] if found else ""


def record(service_id: str, gateway: str, sentence: str) -> None:
    """Note what is wrong with a gateway, or that it is none of the service's."""
    _latest.record(service_id, sentence[:_LENGTH])
    log_refusal(gateway, service_id, sentence)


def log_refusal(gateway: str, about: str, sentence: str) -> None:
    """Tell the log what is wrong, unless it was told a moment ago."""
    now = time.time()
    subject = networks.source(gateway), about
    with _lock:
        is_news = _told.get(subject, 0.0) < now - REMIND_AFTER
        if is_news:
            if len(_told) >= MOST_TOLD:
                _told.clear()
            _told[subject] = now
    if is_news:
        logger.warning("An authorization request from %s for %s was refused: %s", gateway, about, sentence)


def flush() -> None:
    """Write what was noted, as `Latest.flush` does."""
    _latest.flush()


def discard() -> None:
    """Forget what is not written, and what the log was told."""
    _latest.discard()
    with _lock:
        _told.clear()
