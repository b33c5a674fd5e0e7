"""Keys that were seen in the clear. A request over plain HTTP is refused unread; what it meta is looked at later.

So the answer, and the time it takes, tell nothing about the key.
"""

import logging
from collections import deque
from collections.abc import Mapping

from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError

from . import services, tokens
from .credentials import in_headers, in_query_string, with_commas
from .models import APIKey

logger = logging.getLogger(__name__)

_FIELDS = ("HTTP_X_API_KEY", "HTTP_AUTHORIZATION", "QUERY_STRING", "REMOTE_ADDR")

#: How many requests are kept.
MOST = 256

# A flood of plain requests pushes the oldest out rather than filling the memory.
_seen: deque[dict[str, str]] = deque(maxlen=MOST)


def record(meta: Mapping[str, str]) -> None:
    """Keep what a refused request meta, for `examine`."""
    _seen.append({field: meta.get(field, "") for field in _FIELDS})


def examine() -> None:
    """Flag the good keys among what was kept. If the database is out of reach, which raises, the rest is kept."""
    while _seen:
        meta = _seen.popleft()
        try:
            _flag(meta)
        except (OperationalError, InterfaceError):
            if len(_seen) < MOST:
                _seen.appendleft(meta)
            raise
        except (DatabaseError, SuspiciousOperation) as error:
            logger.warning("A request over plain HTTP could not be examined: %s", error)


def discard() -> int:
    """Forget what was kept and not yet examined. Returns how many requests that were."""
    lost = len(_seen)
    _seen.clear()
    return lost


def _flag(meta: Mapping[str, str]) -> None:
    secrets = {*in_headers(meta), *with_commas(meta), *in_query_string(meta)}
    digests = [tokens.digest(secret) for secret in secrets if tokens.may_be_a_key(secret)]
    if digests:
        for api_key in APIKey.objects.filter(digest__in=digests):
            services.flag_exposed_key(api_key=api_key, address=meta["REMOTE_ADDR"])
