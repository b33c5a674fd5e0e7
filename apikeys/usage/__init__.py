"""Usage of keys: how often, at which service, and from where. It is recorded in memory, and written by a thread."""

import time
from collections.abc import Mapping

from .. import networks, scopes
from ..gate import Place
from . import counts, questions, sources
from .buffer import KeyRequest


def record(meta: Mapping[str, str], *, key_id: str, place: Place, status: int, service: str = scopes.API) -> None:
    """Record a key's answered request to a service. `meta` is the request's `META`, `place` is where the key was."""
    address = meta["REMOTE_ADDR"]
    source = networks.source(address) if address else ""
    request = KeyRequest(time.time(), address, source, meta.get("HTTP_USER_AGENT", ""), place, status)
    counts.record(key_id, service, request)
    sources.record(key_id, request)


def record_question(service_id: str) -> None:
    """Record that a gateway sent an authorization request for this service, whatever the response."""
    questions.record(service_id)
