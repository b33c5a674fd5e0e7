"""Answers gateways, and services that have none, whether a request may pass (`/v2/verify/…`).

Plain functions from WSGI's environ to an answer, before Django's requests, middleware and signals: every request to
every service behind a gateway waits for this. What it decides is `apikeys.gate`'s to say, what it writes nobody waits
for, and its one query is `lookup.at_service`.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import SuspiciousOperation

from accounts import bodies
from accounts.errors import DomainError, Invalid, NotPermitted, TooLarge, Unavailable, UnsupportedMediaType
from accounts.policy import KeyPermission
from apikeys import credentials, exposure, gate, limits, lookup, scopes, tokens, usage
from apikeys.credentials import FIELD
from apikeys.gate import CHALLENGE, Place, Question, Rule, Verdict
from apikeys.guard import contracts
from apikeys.guard.contracts import Check, Contract, Misconfigured
from apikeys.lookup import KeyRecord, ServiceRecord
from apikeys.usage import problems

from . import arrival, maintenance, reach
from .api import dispatch
from .api.authentication import AMBIGUOUS
from .api.errors import SERVER_ERROR, content_of, in_bounds
from .api.parsers import RefusedJSONError, parse_json
from .api.renderers import JSONRenderer
from .api.resources.whoami import described

logger = logging.getLogger(__name__)

PREFIX = "/v2/verify/"

UNKNOWN_GATEWAY = "This gateway may not ask about this service."
NOT_ASKER = "Ask from one of the service's gateways, or over HTTPS with an administrator key of its account."
NOT_IN_BODY = "Send the key in a header. The guard does not see request bodies."

#: Bytes of the body of a check: a key, a method, a path and an address.
LARGEST_CHECK = 64 * 1024

#: Media types of bodies in which `/v2` takes a key.
_BODIES_WITH_KEY = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")

#: What stands for no key: a gateway has something to overwrite a client's header with.
_NOBODY = "-"


class MethodNotAllowed(DomainError):
    """A check is a POST (405)."""

    status = 405


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""


class Address(NamedTuple):
    """Where was asked: about which service, and how. Only ext-authz has the original target here."""

    service: str
    contract: Contract | None  # None is a check
    target: str


def answer(environ: dict[str, Any]) -> Answer | None:
    """The answer to an authorization request; None where this is none. No client sees more than its sentence."""
    address = _address(environ)
    if address is None:
        return None
    name = arrival.give_name(environ)
    try:
        if address.contract is None:
            found = _answer_check(environ, address.service)
        else:
            found = _answer_gateway(environ, address, address.contract)
    except Exception as error:
        found = _failure(environ, error)
    found.headers.append(("X-Request-ID", name))
    return found


def _address(environ: Mapping[str, Any]) -> Address | None:
    """What the raw target says: decoded, `%2f` would be a slash of the original path."""
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
    """The target byte for byte, where the server tells; otherwise rebuilt from what it has decoded."""
    target = environ.get("REQUEST_URI")
    if target is None:
        target = quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/!$&'()*+,;=:@-._~")
        if query := environ.get("QUERY_STRING"):
            target = f"{target}?{query}"
    return str(target)


def _digest(secret: str) -> str:
    """What to look for; empty for what can't be a key."""
    return tokens.digest(secret) if tokens.may_be_a_key(secret) else ""


# Gateways ---------------------------------------------------------------------------------------


def _answer_gateway(environ: Mapping[str, Any], address: Address, contract: Contract) -> Answer:
    try:
        facts = contracts.read(
            contract, environ, settings.TRUSTED_PROXIES, method=environ["REQUEST_METHOD"], target=address.target
        )
    except Misconfigured as error:
        service, _ = lookup.at_service(address.service, "")
        service = _require_gateway(environ, service)
        usage.note_question(service.id)
        problems.note(service.id, arrival.peer(environ), error.message)
        raise
    in_headers = credentials.in_headers(facts.carried)
    in_query = credentials.in_query_string(facts.carried)
    sent = in_headers or in_query
    is_secure = settings.ALLOW_HTTP or facts.secure
    # What came in the clear is not looked up.
    service, key = lookup.at_service(address.service, _digest(sent[0]) if sent and is_secure else "")
    service = _require_gateway(environ, service)
    usage.note_question(service.id)
    question = question_about(service, facts.method, facts.target, facts.address)._replace(
        secure=is_secure, maintenance=maintenance.at_guard()
    )
    verdict = gate.before_key(question)
    if not verdict.allowed:
        if not is_secure:
            exposure.note({**facts.carried, "REMOTE_ADDR": facts.address})
        return _refusal(environ, verdict)
    if service.preflight and contracts.is_preflight(facts, environ):
        return _passed(None, verdict)
    found = [*in_headers, *in_query] if service.query_keys else in_headers
    if len(found) > 1 or credentials.undivided(facts.carried):
        raise NotPermitted(AMBIGUOUS)
    if not found:
        verdict = gate.decide(None, question, limits.limiter)
        return _refusal(environ, verdict, {FIELD: [NOT_IN_BODY]} if _may_have_body_with_key(environ) else {})
    place = Place.HEADER if in_headers else Place.QUERY
    verdict = gate.decide(key, question._replace(place=place), limits.limiter)
    if key is not None and verdict.accepts_key:
        origin = {"REMOTE_ADDR": facts.address, "HTTP_USER_AGENT": arrival.agent(environ)}
        usage.note(origin, key_id=key.id, place=place, status=verdict.status, service=service.id)
    return _passed(key, verdict) if verdict.allowed else _refusal(environ, verdict)


def _require_gateway(environ: Mapping[str, Any], service: ServiceRecord | None) -> ServiceRecord:
    """Raises `NotPermitted`, with the same words for a service that doesn't exist."""
    peer = arrival.peer(environ)
    if service is None:
        problems.tell(peer, "no service", "there is no such service.")
    elif service.has_gateway(peer) or arrival.is_trusted(peer):
        return service
    else:
        problems.note(service.id, peer, problems.unlisted(peer))
    raise NotPermitted(UNKNOWN_GATEWAY)


def _may_have_body_with_key(environ: Mapping[str, Any]) -> bool:
    """Whether the original request has a body of a kind that `/v2` would look into: its headers came along."""
    return str(environ.get("CONTENT_TYPE", "")).lower().startswith(_BODIES_WITH_KEY)


def question_about(service: ServiceRecord, method: str, target: str, address: str | None) -> Question:
    """What a request to a service asks, over HTTPS and by a key in a header."""
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


# Checks -----------------------------------------------------------------------------------------


def _answer_check(environ: dict[str, Any], service_id: str) -> Answer:
    """A service asks for itself, or an administrator key, about a key that stands in the body."""
    try:
        arrival.settle_origin(environ)
    except ValueError:
        raise Invalid(arrival.MALFORMED) from None
    try:
        check, error = _read_check(environ), None
    except DomainError as failure:
        check, error = None, failure  # for who may ask
    if service_id == scopes.API:
        return _answer_check_of_api(environ, check, error)
    asker_secret, secret = _asker_secret(environ), (check and check.key) or ""
    service, key = lookup.at_service(service_id, _digest(asker_secret or secret))
    peer = environ["REMOTE_ADDR"]
    is_gateway = service is not None and service.has_gateway(peer)
    if not is_gateway and (refusal := _refuse_asker(environ, asker_secret, key, service and service.account_id)):
        if service is not None and not asker_secret:
            problems.note(service.id, peer, problems.unlisted(peer))
        return refusal
    if error is not None:
        raise error
    assert check is not None
    if asker_secret:
        service, key = lookup.at_service(service_id, _digest(secret))
    assert service is not None
    usage.note_question(service.id)
    question = question_about(service, check.method, check.target, check.address)._replace(
        place=Place.HEADER if secret else None, asker=peer
    )
    if check.dry_run:
        return _explained(key, question)
    verdict = gate.decide(key, question, limits.limiter)
    if key is not None and verdict.accepts_key:
        origin = {"REMOTE_ADDR": check.address or ""}
        usage.note(origin, key_id=key.id, place=Place.HEADER, status=verdict.status, service=service.id)
    return _json(verdict.status, _verdict_in_json(key, verdict), verdict.headers)


def _answer_check_of_api(environ: dict[str, Any], check: Check | None, error: DomainError | None) -> Answer:
    """What `/v2` itself would answer to a key of the asker's account."""
    asker_secret = _asker_secret(environ)
    asker = gate.identify(asker_secret)
    if refusal := _refuse_asker(environ, asker_secret, asker, asker and asker.account_id):
        return refusal
    if error is not None:
        raise error
    assert check is not None
    assert asker is not None
    if not check.dry_run:
        raise Invalid("This only tells what would happen.", errors={"dry_run": ["Write true."]})
    key = gate.identify(check.key or "")
    if key is not None and key.account_id != asker.account_id:
        key = None
    question = dispatch.question_about(check.method, check.target, check.address)
    place = Place.HEADER if check.key else None
    return _explained(key, question._replace(place=place, asker=environ["REMOTE_ADDR"]))


def _read_check(environ: Mapping[str, Any]) -> Check:
    """The body of a check. Raises `DomainError`s of the statuses 400, 405, 411, 413 and 415."""
    if environ["REQUEST_METHOD"] != "POST":
        raise MethodNotAllowed(gate.METHOD_UNKNOWN)
    bodies.require_whole(environ)
    length = bodies.length(environ)
    if length > LARGEST_CHECK:
        raise TooLarge(f"The body is larger than {LARGEST_CHECK // 1024} KiB.")
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
    """The one key in the asker's headers; empty if there is none, or several."""
    found = credentials.in_headers(environ)
    return found[0] if len(found) == 1 else ""


def _refuse_asker(
    environ: Mapping[str, Any], secret: str, key: KeyRecord | None, account_id: int | None
) -> Answer | None:
    """None for an administrator key of the account over HTTPS; everybody else is told the same."""
    headers: Mapping[str, str] = {"WWW-Authenticate": CHALLENGE}
    if environ["wsgi.url_scheme"] != "https" and not settings.ALLOW_HTTP:
        exposure.note(environ)
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
            return _refusal(environ, verdict)
        headers = verdict.headers or headers
    return _refusal(environ, Verdict(Rule.KEY, 401, NOT_ASKER, headers, None))


def _explained(key: KeyRecord | None, question: Question) -> Answer:
    """A dry run. Only a key that opens nothing is counted, against the asker."""
    verdict, judgements = gate.explain(key, question, limits.limiter, counts_failures=True)
    return _json(
        200,
        {
            "allowed": verdict.allowed,
            "status": verdict.status,
            "message": verdict.message,
            "rules": [judgement._asdict() for judgement in judgements],
        },
    )


def _verdict_in_json(key: KeyRecord | None, verdict: Verdict) -> dict[str, Any]:
    """Tells of a key only if it is good here."""
    content: dict[str, Any] = {"allowed": verdict.allowed}
    if not verdict.allowed:
        content["Message"] = verdict.message
    known = described(key, verdict) if key is not None and verdict.accepts_key else _UNKNOWN
    return {**content, **known}


_UNKNOWN = {"account": None, "api_key": None, "rate_limit": None}


# Answers ----------------------------------------------------------------------------------------


_HEADERS = (("Cache-Control", "private, no-store"), ("X-Content-Type-Options", "nosniff"))


def _passed(key: KeyRecord | None, verdict: Verdict) -> Answer:
    """Yes. All of the headers are always there, so that a gateway overwrites those that a client forged."""
    return Answer(
        200,
        [
            ("X-Account", (key and key.account_slug) or _NOBODY),
            ("X-Api-Key-Id", key.id if key else _NOBODY),
            ("X-Api-Key-Name", _encoded(key.name) if key else _NOBODY),
            ("X-Api-Key-Permission", key.permission if key else _NOBODY),
            *verdict.headers.items(),
            *_HEADERS,
            ("Content-Length", "0"),
        ],
    )


@lru_cache(maxsize=4096)
def _encoded(name: str) -> str:
    return quote(name, safe="")


def _refusal(
    environ: Mapping[str, Any], verdict: Verdict, errors: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Answer:
    """No. The sentence stands in a header, too, because nginx replaces bodies: escaped as in JSON, in ASCII."""
    accept = environ.get("HTTP_ACCEPT", "")
    media_type, body = content_of(verdict.status, verdict.message, errors, accept=accept)
    return Answer(
        verdict.status,
        [
            ("Content-Type", media_type),
            ("X-Guard-Message", json.dumps(in_bounds(verdict.message))[1:-1]),
            *verdict.headers.items(),
            *_HEADERS,
            ("Vary", "Accept"),
            ("Content-Length", str(len(body))),
        ],
        body,
    )


def _json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    body = JSONRenderer().render(content)
    return Answer(
        status,
        [
            ("Content-Type", "application/json"),
            *headers.items(),
            *_HEADERS,
            ("Content-Length", str(len(body))),
        ],
        body,
    )


def _failure(environ: Mapping[str, Any], error: Exception) -> Answer:
    """Any exception as an answer. Gateways know no 500: what nobody foresaw is logged, and is a 503."""
    if isinstance(error, SuspiciousOperation):
        error = NotPermitted("The request is malformed.")
    elif reach.is_out_of_reach(error):
        error = reach.unavailable(error)
    elif not isinstance(error, DomainError):
        logger.error("%s %s failed", environ.get("REQUEST_METHOD"), environ.get("PATH_INFO"), exc_info=error)
        error = Unavailable(SERVER_ERROR)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = "POST"
    verdict = Verdict(None, error.status, error.message, headers, None)
    return _refusal(environ, verdict, error.errors or {})
