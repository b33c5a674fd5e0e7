"""Answers authorization requests of gateways, and of services without one (`/v2/verify/…`).

Every request to a service behind a gateway waits for these answers. So they come from plain functions of a WSGI
environ, without Django's requests, middleware and signals. `apikeys.gate` decides, all writes are done later, and the
one query is `lookup.at_service`. `gateways` and `checks` answer the two kinds of askers; `answers` builds the answers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from apikeys.guard.contracts import Contract

from .. import request_meta
from .answers import Answer, failure
from .checks import answer_check
from .gateways import answer_gateway, question_about

__all__ = ["PREFIX", "Answer", "answer", "question_about"]

PREFIX = "/v2/verify/"


class Address(NamedTuple):
    """The parts of an authorization request's target. Only ext-authz has the original request's target in it."""

    service: str
    contract: Contract | None  # None for a check
    target: str


def answer(environ: dict[str, Any]) -> Answer | None:
    """The answer to an authorization request; None for other requests. It contains no details of an error."""
    address = _address(environ)
    if address is None:
        return None
    name = request_meta.assign_request_id(environ)
    try:
        if address.contract is None:
            found = answer_check(environ, address.service)
        else:
            found = answer_gateway(environ, address.service, address.contract, address.target)
    except Exception as error:
        found = failure(environ, error)
    found.headers.append(("X-Request-ID", name))
    return found


def _address(environ: Mapping[str, Any]) -> Address | None:
    """The parts of the raw target. In a decoded target, a `%2f` would become a slash of the original path."""
    target = _raw_target(environ)
    if not target.startswith(PREFIX):
        return None
    service, _, rest = target.partition("?")[0][len(PREFIX) :].partition("/")
    if not rest:
        return Address(service, None, "") if service else None
    if rest.startswith(Contract.EXT_AUTHZ):  # and the original target, which may be `*`
        return Address(service, Contract.EXT_AUTHZ, target[len(PREFIX) + len(service) + 1 + len(Contract.EXT_AUTHZ) :])
    contract = _CONTRACTS.get(rest.removesuffix("/"))
    return None if contract is None else Address(service, contract, "")


_CONTRACTS = {contract.value: contract for contract in Contract}


def _raw_target(environ: Mapping[str, Any]) -> str:
    """The target byte for byte, if the server passes it on; otherwise rebuilt from the decoded path."""
    target = environ.get("REQUEST_URI")
    if target is None:
        target = quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/!$&'()*+,;=:@-._~")
        if query := environ.get("QUERY_STRING"):
            target = f"{target}?{query}"
    return str(target)
