"""What keys did, noted in memory on the request and written off it: how often, at which service, and where from."""

import time
from collections.abc import Mapping

from .. import networks, scopes
from ..gate import Place
from . import counts, questions, sources
from .buffer import KeyRequest


def record(meta: Mapping[str, str], *, key_id: str, place: Place, status: int, service: str = scopes.API) -> None:
    """Note one answered request of a key to a service. `meta` is its `META`, `place` where the key stood in it."""
    address = meta["REMOTE_ADDR"]
    source = networks.source(address) if address else ""
    request = KeyRequest(time.time(), address, source, meta.get("HTTP_USER_AGENT", ""), place, status)
    counts.record(key_id, service, request)
    sources.record(key_id, request)


def record_question(service_id: str) -> None:
    """Note that a gateway has asked about a request to this service, whatever the answer is."""
    questions.record(service_id)
