"""Decides whether a key may make a request, and if not, why. The order of the rules is defined only here.

A caller creates a `Question` from the request, finds the key with `identify`, and calls `decide`. Pure except for that
lookup and the limiter that `decide` is given. It uses no request class and no framework, so the API, the guard and
dry runs all get the same answer.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from accounts import policy
from accounts.errors import DomainError, Unavailable
from accounts.policy import KeyPermission, Permission

from . import limits, lookup, networks, scopes, tokens
from .limits import DryRun, Limiter
from .lookup import KeyRecord
from .rates import Outcome

#: How to authenticate (RFC 6750, §3).
CHALLENGE = 'Bearer realm="atatus"'
NOT_FOUND = "The item could not be found."
METHOD_UNKNOWN = "This item can't be accessed with this method."


class Rule(StrEnum):
    """The rule that decided. `RULES` lists them in order."""

    HTTPS = "https"
    MAINTENANCE = "maintenance"
    PATH = "path"
    KEY = "key"
    REVOKED = "revoked"
    EXPIRED = "expired"
    DISABLED = "disabled"
    CLOSED = "closed"
    SUSPENDED = "suspended"
    PLACE = "place"
    NETWORK = "network"
    ACCESS = "access"
    LIMIT = "limit"
    METHOD = "method"
    PERMISSION = "permission"


class Place(StrEnum):
    """Where the key was in the request."""

    HEADER = "header"
    QUERY = "query"
    BODY = "body"


class Maintenance(NamedTuple):
    """Maintenance mode is on. `retry_after` is in seconds."""

    message: str
    retry_after: int


class MethodUnknown(NamedTuple):
    """The path doesn't support this method. It supports those in `allowed`."""

    allowed: Sequence[str]


Needs = Permission | KeyPermission | MethodUnknown | None


class Question(NamedTuple):
    """What is known about a request before its key is looked up. Facts only: the rules evaluate them."""

    #: The request was sent over HTTPS, or plain HTTP is allowed.
    secure: bool
    maintenance: Maintenance | None
    #: Its path exists.
    found: bool
    address: str | None
    #: None if no key was found.
    place: Place | None
    #: What a key's access must list: a service's id, or `scopes.API`. None accepts any key.
    service: str | None
    #: The permission that the request needs. For a service it is a `KeyPermission`. None accepts any key.
    needs: Needs
    #: The raw target of a request to a service, and the service's `reading_paths` as stored.
    target: str = ""
    reading_paths: str = "[]"
    #: The address that a failed attempt counts against; None means `address`.
    asker: str | None = None
    #: False for public paths, where no key is looked up. Only `explain` reads it.
    needs_key: bool = True

    def of_key(self, place: Place | None, service: str | None, needs: Needs) -> "Question":
        """The same question with the place of the key and what the request needs."""
        return Question(self.secure, self.maintenance, self.found, self.address, place, service, needs)


class Verdict(NamedTuple):
    """The answer to a question. `rule` is the one that refused, or None.

    `headers` go into the response either way. `rate_limit` is the limiter's outcome for the key, if it was called.
    """

    rule: Rule | None
    status: int
    message: str
    headers: Mapping[str, str]
    rate_limit: Outcome | None

    @property
    def allowed(self) -> bool:
        return self.rule is None

    @property
    def accepts_key(self) -> bool:
        """Whether the key is valid here. The request then counts as its use, even if refused afterwards."""
        return self.rule is None or self.rule in _AFTER_KEY

    def raise_if_refused(self) -> None:
        """Raises `Refused`."""
        if self.rule is not None:
            raise Refused(self)


class RuleResult(NamedTuple):
    """The result of one rule. `passed` is None if the rule needs a key and there is none.

    `message` is empty unless the rule failed.
    """

    rule: Rule
    passed: bool | None
    message: str


class Explanation(NamedTuple):
    """A verdict, with the result of each rule."""

    verdict: Verdict
    results: Sequence[RuleResult]


class Refused(DomainError):
    """Carries a refusing verdict to the code that builds the response."""

    def __init__(self, verdict: Verdict, *, errors: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(verdict.message, errors=errors)
        self.verdict = verdict
        self.status = verdict.status


def identify(secret: str) -> KeyRecord | None:
    """The key with this secret, in any state. A typo fails the checksum, without a query."""
    return lookup.by_digest(tokens.digest(secret)) if tokens.may_be_a_key(secret) else None


def decide_before_key(question: Question) -> Verdict:
    """The verdict of the rules before the key. If they refuse, no key is looked up and no body is parsed."""
    return _evaluate(_Case(question, None, limits.UNLIMITED), _BEFORE_KEY)


def decide_without_key(question: Question) -> Verdict:
    """The verdict of the rules that need no key, for public paths."""
    return _evaluate(_Case(question, None, limits.UNLIMITED), _WITHOUT_KEY)


def decide(key: KeyRecord | None, question: Question, limiter: Limiter) -> Verdict:
    """The first rule that fails decides. A request that reaches the limit rule counts against its key.

    A failed key counts against its address. Over that limit, the status is 429 instead of 401. A valid key from the
    same address still passes, so that failed attempts of some clients lock out no others. If the limiter is
    unavailable, and the operator allows no requests without it, the status is 503.
    """
    return _evaluate(_Case(question, key, limiter), RULES)


def decide_without_limit(key: KeyRecord | None, question: Question, limiter: Limiter) -> Verdict:
    """Like `decide`, without the key's rate limit: nothing is counted against it."""
    return _evaluate(_Case(question, key, limiter), _WITHOUT_LIMIT)


def explain(
    key: KeyRecord | None, question: Question, limiter: Limiter, *, counts_failures: bool = False
) -> Explanation:
    """The verdict of `decide`, and the result of each rule in order. The first rule that did not pass decides.

    Counts nothing, or only failed attempts if the caller might be guessing keys.
    """
    case = _Case(question, key, DryRun(limiter, counting=_FAILED if counts_failures else None))
    rules = RULES if question.needs_key else _WITHOUT_KEY
    verdict = _evaluate(case, rules)
    results = []
    is_past_key = False
    for rule, check in RULES:
        if (rule, check) not in rules or (is_past_key and key is None and question.needs_key):
            results.append(RuleResult(rule, None, ""))
            continue
        refusal = check(case)
        message = verdict.message if rule is verdict.rule else refusal.message if refusal else ""
        results.append(RuleResult(rule, refusal is None, message))
        is_past_key = is_past_key or rule is Rule.KEY
    return Explanation(verdict, results)


def require_still_valid(key: KeyRecord | None, address: str | None) -> KeyRecord:
    """For a key whose request was accepted. Raises `Refused` if the request would be refused now.

    Place, limit and permission were checked when the request arrived. So this assumes a key in a header, which is
    always allowed. The service is the API, because only requests to the API make changes.
    """
    question = Question(
        secure=True,
        maintenance=None,
        found=True,
        address=address,
        place=Place.HEADER,
        service=scopes.API,
        needs=None,
    )
    decide(key, question, limits.UNLIMITED).raise_if_refused()
    assert key is not None
    return key


#: The prefix of the limiter's buckets for failed attempts.
_FAILED = "failed:"


# Rules ------------------------------------------------------------------------------------------


class _Case:
    """A question with its key: what the rules get."""

    __slots__ = ("has_key", "key", "limiter", "question", "rate_limit")

    key: KeyRecord  # absent until `Rule.KEY` has passed

    def __init__(self, question: Question, key: KeyRecord | None, limiter: Limiter) -> None:
        self.question = question
        self.limiter = limiter
        self.rate_limit: Outcome | None = None
        self.has_key = key is not None
        if key is not None:
            self.key = key

    @property
    def rate_limit_headers(self) -> dict[str, str]:
        if self.rate_limit is None:
            return {}
        return {"RateLimit-Policy": self.rate_limit.policy_header, "RateLimit": self.rate_limit.header}


class _Refusal(NamedTuple):
    status: int
    message: str
    headers: Mapping[str, str] = {}
    #: Whether it counts against the client's address.
    is_failed_attempt: bool = False


def _rejected(message: str) -> _Refusal:
    """The refusal of a key that is invalid or no longer works."""
    return _Refusal(401, message, {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}, is_failed_attempt=True)


def _too_many(message: str, outcome: Outcome) -> _Refusal:
    return _Refusal(429, message, {"Retry-After": str(outcome.retry_after)})


def _unavailable(error: Unavailable) -> _Refusal:
    return _Refusal(503, error.message, {"Retry-After": str(error.retry_after)})


def _https(case: _Case) -> _Refusal | None:
    return None if case.question.secure else _Refusal(403, "HTTPS is required.")


def _maintenance(case: _Case) -> _Refusal | None:
    if (maintenance := case.question.maintenance) is None:
        return None
    return _Refusal(503, maintenance.message, {"Retry-After": str(maintenance.retry_after)})


def _path(case: _Case) -> _Refusal | None:
    return None if case.question.found else _Refusal(404, NOT_FOUND)


def _key(case: _Case) -> _Refusal | None:
    if case.question.place is None:
        return _Refusal(401, "API key is required!", {"WWW-Authenticate": CHALLENGE})
    return None if case.has_key else _rejected("API key is invalid!")


def _revoked(case: _Case) -> _Refusal | None:
    return None if case.key.revoked is None else _rejected("API key has been revoked!")


def _expired(case: _Case) -> _Refusal | None:
    return _rejected("API key has expired!") if case.key.expired else None


def _disabled(case: _Case) -> _Refusal | None:
    return None if case.key.disabled is None else _rejected("API key is disabled!")


def _closed(case: _Case) -> _Refusal | None:
    """The account may be reopened, so its keys are not called revoked."""
    return None if case.key.account_closed is None else _Refusal(403, "This account is closed.")


def _suspended(case: _Case) -> _Refusal | None:
    return None if case.key.account_suspended is None else _Refusal(403, "This account is suspended.")


def _place(case: _Case) -> _Refusal | None:
    """Refuses a place that the account or the key has switched off (OWASP ASVS 5.0, 14.2.1)."""
    key, place = case.key, case.question.place
    if place is Place.QUERY and not (key.accepts_query and key.account_accepts_query):
        return _Refusal(403, "This API key may not be sent in the query string.")
    if place is Place.BODY and not (key.accepts_body and key.account_accepts_body):
        return _Refusal(403, "This API key may not be sent in the body.")
    return None


def _network(case: _Case) -> _Refusal | None:
    key = case.key
    if key.allowed_networks == "[]" or networks.is_within(case.question.address or "", key.networks):
        return None
    return _Refusal(403, "This API key may not be used from this address.")


def _access(case: _Case) -> _Refusal | None:
    question, access = case.question, case.key.access
    if question.service is None or (access is None and question.reading_paths == "[]"):
        return None
    sentence = scopes.refusal(access, question.service, question.target, reading_paths=question.reading_paths)
    return None if sentence is None else _Refusal(403, sentence)


def _limit(case: _Case) -> _Refusal | None:
    key = case.key
    try:
        outcome = case.rate_limit = case.limiter.hit(key.id, limits.rate_of(key.rate_limit))
    except Unavailable as error:
        return _unavailable(error)
    return None if outcome is None or outcome.allowed else _too_many("Too many requests. Please slow down.", outcome)


def _method(case: _Case) -> _Refusal | None:
    needs = case.question.needs
    if not isinstance(needs, MethodUnknown):
        return None
    return _Refusal(405, METHOD_UNKNOWN, {"Allow": ", ".join(needs.allowed)})


def _permission(case: _Case) -> _Refusal | None:
    needs, key = case.question.needs, case.key
    if needs is None or isinstance(needs, MethodUnknown):
        return None
    if isinstance(needs, KeyPermission):
        sentence = policy.not_covered(needs, key.permission)
    else:
        sentence = policy.missing(needs, key.permissions, key.role)
    if sentence is None:
        return None
    return _Refusal(403, sentence, {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope"'})


Rules = tuple[tuple[Rule, Callable[[_Case], _Refusal | None]], ...]

RULES: Rules = (
    (Rule.HTTPS, _https),
    (Rule.MAINTENANCE, _maintenance),
    (Rule.PATH, _path),
    (Rule.KEY, _key),
    (Rule.REVOKED, _revoked),
    (Rule.EXPIRED, _expired),
    (Rule.DISABLED, _disabled),
    (Rule.CLOSED, _closed),
    (Rule.SUSPENDED, _suspended),
    (Rule.PLACE, _place),
    (Rule.NETWORK, _network),
    (Rule.ACCESS, _access),
    (Rule.LIMIT, _limit),
    (Rule.METHOD, _method),
    (Rule.PERMISSION, _permission),
)
_ORDER = [rule for rule, _ in RULES]
_BEFORE_KEY = RULES[: _ORDER.index(Rule.KEY)]
_WITHOUT_KEY: Rules = (*_BEFORE_KEY, RULES[_ORDER.index(Rule.METHOD)])
_WITHOUT_LIMIT = tuple(rule for rule in RULES if rule[0] is not Rule.LIMIT)
_AFTER_KEY = frozenset(_ORDER[_ORDER.index(Rule.LIMIT) :])


def _evaluate(case: _Case, rules: Rules) -> Verdict:
    for rule, check in rules:
        refusal = check(case)
        if refusal is not None:
            if refusal.is_failed_attempt:
                refusal = _counted(refusal, case)
            headers = {**refusal.headers, **case.rate_limit_headers}
            return Verdict(rule, refusal.status, refusal.message, headers, case.rate_limit)
    return Verdict(None, 200, "", case.rate_limit_headers, case.rate_limit) if case.rate_limit else _ALLOWED


_ALLOWED = Verdict(None, 200, "", {}, None)


def _counted(refusal: _Refusal, case: _Case) -> _Refusal:
    """Counts a failed attempt against its address. Returns the refusal, or a 429 over the limit."""
    question = case.question
    bucket = _FAILED + networks.source(question.asker or question.address or "")
    try:
        outcome = case.limiter.hit(bucket, settings.FAILED_AUTH_LIMIT)
    except Unavailable as error:
        return _unavailable(error)
    return refusal if outcome is None or outcome.allowed else _too_many(limits.TOO_MANY_ATTEMPTS, outcome)
