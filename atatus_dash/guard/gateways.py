"""Authorization requests: a gateway asks whether a request may pass to a service."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from accounts.errors import NotPermitted
from accounts.policy import KeyPermission
from apikeys import credentials, exposure, gate, limits, lookup, scopes, tokens, usage
from apikeys.credentials import FIELD
from apikeys.gate import Place, Question
from apikeys.guard import contracts
from apikeys.guard.contracts import Contract, Misconfigured
from apikeys.lookup import ServiceRecord
from apikeys.usage import problems

from .. import maintenance, request_meta
from ..api.authentication import AMBIGUOUS
from ..api.errors import AmbiguousKey
from .answers import Answer, passed, refusal

UNKNOWN_GATEWAY = "This gateway may not ask about this service."
NOT_IN_BODY = "Send the key in a header. The guard does not see request bodies."

#: Media types of bodies in which `/v2` takes a key.
_BODIES_WITH_KEY = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")


class AmbiguousKeyAtGateway(AmbiguousKey):
    """Several keys in an authorization request. Not a 400, because gateways don't pass it on."""

    status = 403


def answer_gateway(environ: Mapping[str, Any], service_id: str, contract: Contract, target: str) -> Answer:
    try:
        facts = contracts.read(
            contract, environ, settings.TRUSTED_PROXIES, method=environ["REQUEST_METHOD"], target=target
        )
    except NotPermitted as error:
        service, _ = lookup.at_service(service_id, "")
        service = _require_gateway(environ, service)
        usage.record_question(service.id)
        if isinstance(error, Misconfigured):
            problems.record(service.id, request_meta.peer(environ), error.message)
        raise
    in_headers = credentials.in_headers(facts.meta)
    in_query = credentials.in_query_string(facts.meta)
    sent = in_headers or in_query
    is_secure = settings.ALLOW_HTTP or facts.secure
    # A key sent over plain HTTP is not looked up.
    service, key = lookup.at_service(service_id, digest_of(sent[0]) if sent and is_secure else "")
    service = _require_gateway(environ, service)
    usage.record_question(service.id)
    question = question_about(service, facts.method, facts.target, facts.address)._replace(
        secure=is_secure, maintenance=maintenance.at_guard()
    )
    verdict = gate.decide_before_key(question)
    if not verdict.allowed:
        if not is_secure:
            exposure.record({**facts.meta, "REMOTE_ADDR": facts.address})
        return refusal(environ, verdict)
    if service.preflight and contracts.is_preflight(facts, environ):
        return passed(None, verdict)
    found = [*in_headers, *in_query] if service.query_keys else in_headers
    if len(found) > 1 or credentials.with_commas(facts.meta):
        raise AmbiguousKeyAtGateway(AMBIGUOUS)
    if not found:
        verdict = gate.decide(None, question, limits.limiter)
        return refusal(environ, verdict, {FIELD: [NOT_IN_BODY]} if _may_have_body_with_key(environ) else {})
    place = Place.HEADER if in_headers else Place.QUERY
    verdict = gate.decide(key, question._replace(place=place), limits.limiter)
    if key is not None and verdict.accepts_key:
        origin = {"REMOTE_ADDR": facts.address, "HTTP_USER_AGENT": request_meta.user_agent(environ)}
        usage.record(origin, key_id=key.id, place=place, status=verdict.status, service=service.id)
    return passed(key, verdict) if verdict.allowed else refusal(environ, verdict)


def _require_gateway(environ: Mapping[str, Any], service: ServiceRecord | None) -> ServiceRecord:
    """Raises `NotPermitted`, with the same message for a service that doesn't exist."""
    peer = request_meta.peer(environ)
    if service is None:
        problems.log_refusal(peer, "no service", "the service is unknown.")
    elif service.has_gateway(peer) or request_meta.is_trusted_proxy(peer):
        return service
    else:
        problems.record(service.id, peer, problems.unlisted(peer))
    raise NotPermitted(UNKNOWN_GATEWAY)


def _may_have_body_with_key(environ: Mapping[str, Any]) -> bool:
    """Whether the original request has a body in which `/v2` would accept a key, by its `Content-Type`."""
    return str(environ.get("CONTENT_TYPE", "")).lower().startswith(_BODIES_WITH_KEY)


def question_about(service: ServiceRecord, method: str, target: str, address: str | None) -> Question:
    """The `Question` of a request to a service over HTTPS, before the place of its key is known."""
    is_reading = service.is_reading(method) or scopes.is_reading(service.reading_paths, target)
    return Question(
        secure=True,
        maintenance=None,
        found=True,
        address=address,
        place=None,
        service=service.id,
        needs=KeyPermission.READ if is_reading else KeyPermission.WRITE,
        target=target,
        reading_paths=service.reading_paths,
    )


def digest_of(secret: str) -> str:
    """The digest to look up. Empty for a text that can't be a key."""
    return tokens.digest(secret) if tokens.may_be_a_key(secret) else ""
