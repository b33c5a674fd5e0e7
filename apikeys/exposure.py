"""Finds keys that were sent over plain HTTP. Such a request is refused unread, and examined later.

So neither the response nor its timing reveals anything about the key.
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

#: How many requests are kept. Under a flood the oldest are dropped, so memory stays bounded.
MAX_REQUESTS = 256

_seen: deque[dict[str, str]] = deque(maxlen=MAX_REQUESTS)


def record(meta: Mapping[str, str]) -> None:
    """Keep the fields of a refused request that may contain a key, for `examine`."""
    _seen.append({field: meta.get(field, "") for field in _FIELDS})


def examine() -> None:
    """Flag the usable keys in the kept requests. If the database is unavailable, raises and keeps the rest."""
    while _seen:
        meta = _seen.popleft()
        try:
            _flag(meta)
        except (OperationalError, InterfaceError):
            if len(_seen) < MAX_REQUESTS:
                _seen.appendleft(meta)
            raise
        except (DatabaseError, SuspiciousOperation) as error:
            logger.warning("A request over plain HTTP could not be examined: %s", error)


def discard() -> int:
    """Drop the requests that were not examined yet. Returns how many."""
    lost = len(_seen)
    _seen.clear()
    return lost


def _flag(meta: Mapping[str, str]) -> None:
    secrets = {*in_headers(meta), *with_commas(meta), *in_query_string(meta)}
    digests = [tokens.digest(secret) for secret in secrets if tokens.may_be_a_key(secret)]
    if digests:
        for api_key in APIKey.objects.filter(digest__in=digests):
            services.flag_exposed_key(api_key=api_key, address=meta["REMOTE_ADDR"])
