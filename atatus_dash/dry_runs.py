"""*Test a request*: what would happen to a request now, rule by rule, for people."""

from collections.abc import Sequence
from enum import StrEnum
from http.client import responses
from typing import NamedTuple

from apikeys import gate, limits, lookup, scopes
from apikeys.gate import Explanation, Place, Rule

from . import guard, maintenance
from .api import dispatch

#: The rules as people read them: several that are about one thing stand together.
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
    "HTTPS": "The request is taken as one over HTTPS.",
    "Maintenance": "Not on.",
    "Path": "It exists.",
    "Key": "It is known.",
    "State": "The key is active and the account is open.",
    "Place": "It is sent in a header, which every key may be.",
    "Network": "The address is one that the key may be used from.",
    "Access": "The key opens this.",
    "Rate limit": "Not reached.",
    "Method": "The path takes it.",
    "Permission": "The key has the permission that this needs.",
}

#: What only the API has: any path and method may be a service's.
_OF_API = ("Path", "Method")


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
    #: Requests that are left in this window; None where that is unknown.
    remaining: int | None


def dry_run(*, key_id: str, service_id: str, method: str, target: str, address: str | None) -> DryRun | None:
    """What would happen to a request with this key in a header, over HTTPS. Counts nothing.

    None if there is no such service.
    """
    key = lookup.by_id(key_id)
    if service_id == scopes.API:
        question = dispatch.question_about(method, target, address)
    else:
        service, _ = lookup.at_service(service_id, "")
        if service is None:
            return None
        if key is not None and not service.opens_to(key):
            key = None
        question = guard.question_about(service, method, target, address)._replace(maintenance=maintenance.at_guard())
    explanation = gate.explain(key, question._replace(place=Place.HEADER), limits.limiter)
    verdict = explanation.verdict
    return DryRun(
        verdict.allowed,
        f"{verdict.status} {responses[verdict.status]}",
        verdict.message,
        _rows(explanation, is_api=service_id == scopes.API),
        verdict.rate_limit.remaining if verdict.rate_limit else None,
    )


def _rows(explanation: Explanation, *, is_api: bool) -> list[Row]:
    decisive = explanation.verdict.rule
    is_decided = False
    rows = []
    for label, rules in GROUPS.items():
        if label in _OF_API and not is_api:
            continue
        judged = [judgement for judgement in explanation.judgements if judgement.rule in rules]
        failed = next((judgement for judgement in judged if judgement.passed is False), None)
        if decisive in rules:
            is_decided, result = True, Result.DECIDED
        else:
            result = Result.NOT_REACHED if is_decided else Result.PASSED
        unjudged = any(judgement.passed is None for judgement in judged)
        rows.append(Row(label, result, failed.message if failed else "" if unjudged else PASSED[label]))
    return rows
