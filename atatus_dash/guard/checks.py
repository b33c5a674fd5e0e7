"""Checks: a service without a gateway, or an administrator key, asks about a key in the body."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from accounts import bodies
from accounts.errors import DomainError, Invalid, MethodNotAllowed, TooLarge, UnsupportedMediaType
from apikeys import credentials, exposure, gate, limits, lookup, scopes, usage
from apikeys.gate import CHALLENGE, Place, Question, Rule, Verdict
from apikeys.guard import contracts
from apikeys.guard.contracts import Check
from apikeys.lookup import KeyRecord
from apikeys.usage import problems

from .. import request_meta
from ..api import dispatch
from ..api.parsers import RefusedJSONError, parse_json
from ..api.resources.whoami import whoami
from .answers import Answer, json_answer, refusal
from .gateways import digest_of, question_about

NOT_ASKER = "Ask from one of the service's gateways, or over HTTPS with an administrator key of its account."

#: Bytes of the body of a check: a key, a method, a path and an address.
MAX_CHECK_BYTES = 64 * 1024


def answer_check(environ: dict[str, Any], service_id: str) -> Answer:
    """The answer to a check. Its asker is a gateway of the service, or an administrator key of its account."""
    try:
        request_meta.apply_forwarded_headers(environ)
    except ValueError:
        raise Invalid(request_meta.MALFORMED) from None
    try:
        check, error = _read_check(environ), None
    except DomainError as failure:
        check, error = None, failure  # raised only after the asker is accepted
    if service_id == scopes.API:
        return _answer_check_of_api(environ, check, error)
    asker_secret, secret = _asker_secret(environ), (check and check.key) or ""
    service, key = lookup.at_service(service_id, digest_of(asker_secret or secret))
    peer = environ["REMOTE_ADDR"]
    is_gateway = service is not None and service.has_gateway(peer)
    if not is_gateway and (refusal := _refuse_asker(environ, asker_secret, key, service and service.account_id)):
        if service is not None and not asker_secret:
            problems.record(service.id, peer, problems.unlisted(peer))
        return refusal
    if error is not None:
        raise error
    assert check is not None
    if asker_secret:
        service, key = lookup.at_service(service_id, digest_of(secret))
    assert service is not None
    usage.record_question(service.id)
    question = question_about(service, check.method, check.target, check.address)._replace(
        place=Place.HEADER if secret else None, asker=peer
    )
    if check.dry_run:
        return _dry_run_answer(key, question)
    verdict = gate.decide(key, question, limits.limiter)
    if key is not None and verdict.accepts_key:
        origin = {"REMOTE_ADDR": check.address or ""}
        usage.record(origin, key_id=key.id, place=Place.HEADER, status=verdict.status, service=service.id)
    return json_answer(verdict.status, _verdict_in_json(key, verdict), verdict.headers)


def _answer_check_of_api(environ: dict[str, Any], check: Check | None, error: DomainError | None) -> Answer:
    """A dry run for `/v2` itself, about a key of the asker's account."""
    asker_secret = _asker_secret(environ)
    asker = gate.identify(asker_secret)
    if refusal := _refuse_asker(environ, asker_secret, asker, asker and asker.account_id):
        return refusal
    if error is not None:
        raise error
    assert check is not None
    assert asker is not None
    if not check.dry_run:
        raise Invalid("For the API itself, only dry runs are possible.", errors={"dry_run": ["Send true."]})
    key = gate.identify(check.key or "")
    if key is not None and key.account_id != asker.account_id:
        key = None
    question = dispatch.question_about(check.method, check.target, check.address)
    place = Place.HEADER if check.key else None
    return _dry_run_answer(key, question._replace(place=place, asker=environ["REMOTE_ADDR"]))


def _read_check(environ: Mapping[str, Any]) -> Check:
    """The body of a check. Raises `DomainError`s of the statuses 400, 405, 411, 413 and 415."""
    if environ["REQUEST_METHOD"] != "POST":
        raise MethodNotAllowed(gate.METHOD_UNKNOWN)
    bodies.require_whole(environ)
    length = bodies.length(environ)
    if length > MAX_CHECK_BYTES:
        raise TooLarge(f"The body is larger than {MAX_CHECK_BYTES // 1024} KiB.")
    if str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
    try:
        body = parse_json(environ["wsgi.input"].read(length))
    except OSError:
        raise Invalid("The request is malformed.") from None
    except RefusedJSONError as error:
        raise Invalid(str(error) or "The body is not valid JSON.") from None
    return contracts.read_check(body)


def _asker_secret(environ: Mapping[str, Any]) -> str:
    """The asker's key in the headers; empty if there is none or more than one."""
    found = credentials.in_headers(environ)
    return found[0] if len(found) == 1 else ""


def _refuse_asker(
    environ: Mapping[str, Any], secret: str, key: KeyRecord | None, account_id: int | None
) -> Answer | None:
    """None if the asker has an administrator key of the account and uses HTTPS. All others get the same message."""
    headers: Mapping[str, str] = {"WWW-Authenticate": CHALLENGE}
    if environ["wsgi.url_scheme"] != "https" and not settings.ALLOW_HTTP:
        exposure.record(environ)
    elif secret:
        question = Question(
            secure=True,
            maintenance=None,
            found=True,
            address=environ["REMOTE_ADDR"],
            place=Place.HEADER,
            service=None,
            needs=None,
        )
        verdict = gate.decide_without_limit(key, question, limits.limiter)
        if verdict.allowed and key is not None and key.administrator and key.account_id == account_id:
            return None
        if verdict.status in (429, 503):
            return refusal(environ, verdict)
        headers = verdict.headers or headers
    return refusal(environ, Verdict(Rule.KEY, 401, NOT_ASKER, headers, None))


def _dry_run_answer(key: KeyRecord | None, question: Question) -> Answer:
    """A dry run. It counts only invalid keys, against the asker's address."""
    verdict, results = gate.explain(key, question, limits.limiter, counts_failures=True)
    return json_answer(
        200,
        {
            "allowed": verdict.allowed,
            "status": verdict.status,
            "message": verdict.message,
            "rules": [result._asdict() for result in results],
        },
    )


def _verdict_in_json(key: KeyRecord | None, verdict: Verdict) -> dict[str, Any]:
    """The verdict. It describes the key only if the key is accepted."""
    content: dict[str, Any] = {"allowed": verdict.allowed}
    if not verdict.allowed:
        content["Message"] = verdict.message
    known = whoami(key, verdict) if key is not None and verdict.accepts_key else _UNKNOWN
    return {**content, **known}


_UNKNOWN = {"account": None, "api_key": None, "rate_limit": None}
