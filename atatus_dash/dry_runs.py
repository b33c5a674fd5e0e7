"""*Test a request*: what would happen to a request now, rule by rule, as the page shows it."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from http.client import responses
from typing import NamedTuple
from urllib.parse import quote

from accounts import policy
from accounts.policy import KeyPermission
from apikeys import gate, limits, lookup, networks, scopes
from apikeys.gate import Explanation, Place, Rule, Verdict
from apikeys.lookup import KeyRecord

from . import guard, maintenance
from .api import dispatch
from .guard.answers import identity

#: The rules as the page shows them. Rules about one thing are in one group.
GROUPS = {
    "HTTPS": (Rule.HTTPS,),
    "Maintenance": (Rule.MAINTENANCE,),
    "Path": (Rule.PATH,),
    "Key": (Rule.KEY,),
    "State": (Rule.REVOKED, Rule.EXPIRED, Rule.DISABLED, Rule.CLOSED, Rule.SUSPENDED),
    "Place": (Rule.PLACE,),
    "Network": (Rule.NETWORK,),
    "Access": (Rule.ACCESS,),
    "Rate limit": (Rule.LIMIT,),
    "Method": (Rule.METHOD,),
    "Permission": (Rule.PERMISSION,),
}

PASSED = {
    "HTTPS": "The request is sent over HTTPS.",
    "Maintenance": "Maintenance mode is off.",
    "Path": "The path exists.",
    "Key": "The key is known.",
    "State": "The key is active and the account is open.",
    "Place": "The key is sent in a header, which is always allowed.",
    "Network": "The key may be used from this address.",
    "Access": "The key has access to this.",
    "Rate limit": "The key has requests left.",
    "Method": "The path supports the method.",
    "Permission": "The key has the required permission.",
}

#: Groups for the API only: a service may have any path and method.
_OF_API = ("Path", "Method")
#: The setting of the key behind each rule.
_SETTINGS = {
    Rule.EXPIRED: "expiry",
    Rule.NETWORK: "networks",
    Rule.ACCESS: "access",
    Rule.LIMIT: "rate limit",
    Rule.PERMISSION: "permission",
}
#: How many requests that would pass are suggested.
MAX_PASSING = 3
#: Characters that a path needs no encoding for (RFC 3986, section 3.3).
_IN_PATHS = "/:@!$&'()*+,=~"
#: Headers shown with the body of a refusal.
_SHOWN_HEADERS = ("WWW-Authenticate", "Retry-After")


class DescribedRequest(NamedTuple):
    """A request to test. The path is as a client would send it. The address may be empty."""

    service: str
    method: str
    path: str
    address: str


class Result(StrEnum):
    PASSED = "passed"
    DECIDED = "decided"
    NOT_REACHED = "not reached"


class Row(NamedTuple):
    label: str
    result: Result
    sentence: str


class DryRun(NamedTuple):
    allowed: bool
    status: str
    message: str
    rows: Sequence[Row]
    #: Requests left in the current window. None if unknown.
    remaining: int | None
    #: The answer to a refused request. Empty if the request is allowed.
    answer: str
    #: Headers that the service would receive.
    identity: Mapping[str, str]
    #: The setting of the key that refuses the request. Empty if none does.
    setting: str
    #: Similar requests that would pass.
    passing: Sequence[DescribedRequest]
    #: A curl command for the same dry run.
    call: str


def dry_run(*, key_id: str, described: DescribedRequest, api: str) -> DryRun | None:
    """What would happen to a request with this key in a header, over HTTPS. Counts nothing.

    `api` is the URL of `/v2`. None if the service doesn't exist.
    """
    key = lookup.by_id(key_id)
    explanation = _explain(key, described)
    if explanation is None:
        return None
    verdict = explanation.verdict
    is_api = described.service == scopes.API
    return DryRun(
        verdict.allowed,
        _status(verdict),
        verdict.message,
        _rows(explanation, is_api=is_api),
        verdict.rate_limit.remaining if verdict.rate_limit else None,
        "" if verdict.allowed else _refusal_text(verdict),
        {} if is_api or key is None or not verdict.allowed else dict(identity(key)),
        _setting(verdict),
        [] if key is None else _passing_requests(key, described),
        _curl_command(described, api),
    )


def _setting(verdict: Verdict) -> str:
    if verdict.message == policy.ADMINISTRATORS_ONLY:
        return "administrator access"
    return _SETTINGS.get(verdict.rule, "") if verdict.rule else ""


def _explain(key: KeyRecord | None, described: DescribedRequest) -> Explanation | None:
    service_id, method, path, address = described
    if service_id == scopes.API:
        question = dispatch.question_about(method, path, address or None)
    else:
        service, _ = lookup.at_service(service_id, "")
        if service is None:
            return None
        if key is not None and not service.opens_to(key):
            key = None
        question = guard.question_about(service, method, path, address or None)
        question = question._replace(maintenance=maintenance.at_guard())
    return gate.explain(key, question._replace(place=Place.HEADER), limits.limiter)


def _status(verdict: Verdict) -> str:
    return f"{verdict.status} {responses[verdict.status]}"


def _refusal_text(verdict: Verdict) -> str:
    headers = {"Content-Type": "application/json", **{name: verdict.headers.get(name) for name in _SHOWN_HEADERS}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value]
    return "\n".join([f"HTTP/1.1 {_status(verdict)}", *lines, "", json.dumps({"Message": verdict.message})])


def _passing_requests(key: KeyRecord, described: DescribedRequest) -> list[DescribedRequest]:
    """Similar requests that pass: with another method, from another address, to another path or service."""
    passing = []
    for one in dict.fromkeys(_similar_requests(key, described)):
        if one != described and (explanation := _explain(key, one)) and explanation.verdict.allowed:
            passing.append(one)
            if len(passing) == MAX_PASSING:
                break
    return passing


def _similar_requests(key: KeyRecord, described: DescribedRequest) -> Iterator[DescribedRequest]:
    method = "POST" if key.permission == KeyPermission.WRITE else "GET"
    address = described.address
    if key.networks and not networks.is_within(address, key.networks):
        network = networks.parse_network(key.networks[0])
        address = str(network[min(1, network.num_addresses - 1)])
    yield described._replace(address=address)
    yield described._replace(address=address, method=method)
    entries = scopes.load(key.access)
    opened = sorted(entries or (), key=lambda entry: entry.service != described.service)
    for service, paths in opened:
        for path in paths or (("/v2/projects",) if service == scopes.API else ("/",)):
            yield DescribedRequest(service, method, quote(path.removesuffix("/*") or "/", safe=_IN_PATHS), address)
    if described.service == scopes.API or entries == ():
        yield DescribedRequest(scopes.API, method, "/v2/projects", address)
        yield DescribedRequest(scopes.API, "GET", "/v2", address)


def _curl_command(described: DescribedRequest, api: str) -> str:
    asked = {"key": "atk_…", "method": described.method, "path": described.path, "address": described.address or None}
    body = json.dumps({**asked, "dry_run": True}, ensure_ascii=False)
    return (
        f'curl {api}/verify/{described.service} -H "X-API-KEY: $ADMIN_KEY" \\\n'
        f'  -H "Content-Type: application/json" \\\n  -d {shlex.quote(body)}'
    )


def _rows(explanation: Explanation, *, is_api: bool) -> list[Row]:
    decisive = explanation.verdict.rule
    is_open = any(rule is Rule.KEY and passed is None for rule, passed, _ in explanation.results)
    is_decided = False
    rows = []
    for label, rules in GROUPS.items():
        if label in _OF_API and not is_api:
            continue
        judged = [each for each in explanation.results if each.rule in rules]
        failed = next((each for each in judged if each.passed is False), None)
        if decisive in rules:
            is_decided, result = True, Result.DECIDED
        else:
            result = Result.NOT_REACHED if is_decided else Result.PASSED
        sentence = PASSED[label]
        if any(each.passed is None for each in judged):
            sentence = "This path needs no key." if is_open else ""
        rows.append(Row(label, result, failed.message if failed else sentence))
    return rows
