"""Whether a key may do what it is sent for, and if not, why. The order of the gates stands here and nowhere else.

Whoever has a request reads its facts into a `Question`, finds the key with `identify` and asks `decide`. Pure but for
that lookup and the limiter that `decide` is given: knows no request and no framework, so that whatever is asked for a
key, and whoever asks, gets the same answer.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from accounts import policy
from accounts.errors import DomainError, Unavailable
from accounts.policy import KeyPermission, Permission

from . import limits, lookup, networks, scopes, tokens
from .limits import DryRun, Limiter, Outcome
from .lookup import KeyRecord

#: How to authenticate (RFC 6750, §3).
CHALLENGE = 'Bearer realm="atatus"'
NOT_FOUND = "The item could not be found."
METHOD_UNKNOWN = "This item can't be accessed with this method."


class Rule(StrEnum):
    """What decided. `RULES` has them in their order."""

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
    """Where a key stood in the request."""

    HEADER = "header"
    QUERY = "query"
    BODY = "body"


class Maintenance(NamedTuple):
    """We are offline on purpose. `retry_after` is in seconds."""

    message: str
    retry_after: int


class MethodUnknown(NamedTuple):
    """The path doesn't know this method, but knows those."""

    allowed: Sequence[str]


Needs = Permission | KeyPermission | MethodUnknown | None


class Question(NamedTuple):
    """What is known of a request before its key is looked up. Facts only: the rules judge them."""

    #: It came over HTTPS, or plain HTTP is allowed.
    secure: bool
    maintenance: Maintenance | None
    #: Its path exists.
    found: bool
    address: str | None
    #: None where no key was found.
    place: Place | None
    #: What a key's access has to list: a service's id, or `scopes.API`. None lets any key pass.
    service: str | None
    #: A `KeyPermission` is what a service needs. None lets any key pass.
    needs: Needs
    #: The raw target of a request to a service, and where every method counts as reading there, as it is stored.
    target: str = ""
    reading_paths: str = "[]"
    #: Against whose address a failed attempt counts; None is `address`.
    asker: str | None = None
    #: False for what is open to everybody. Only `explain` reads it: nobody looks for a key there.
    needs_key: bool = True

    def of_key(self, place: Place | None, service: str | None, needs: Needs) -> "Question":
        """The same question, asked by a key that stood there and for what it needs."""
        return Question(self.secure, self.maintenance, self.found, self.address, place, service, needs)


class Verdict(NamedTuple):
    """The answer to a question. `rule` is what refused, None if nothing did.

    `headers` belong on the answer either way. `rate_limit` is what the limiter said of the key, where it was asked.
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
        """Whether the key is good here. The request is a use of it then, also if it asks too often or for too much."""
        return self.rule is None or self.rule in _AFTER_KEY

    def raise_if_refused(self) -> None:
        """Raises `Refused`."""
        if self.rule is not None:
            raise Refused(self)


class RuleResult(NamedTuple):
    """What one rule says. `passed` is None where it has no key to judge; `message` is empty unless it failed."""

    rule: Rule
    passed: bool | None
    message: str


class Explanation(NamedTuple):
    """A verdict, and how each rule came to it."""

    verdict: Verdict
    results: Sequence[RuleResult]


class Refused(DomainError):
    """A verdict that refuses, on its way to becoming an answer."""

    def __init__(self, verdict: Verdict, *, errors: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(verdict.message, errors=errors)
        self.verdict = verdict
        self.status = verdict.status


def identify(secret: str) -> KeyRecord | None:
    """The key with this secret, whatever its state. A typo fails its checksum, without the database."""
    return lookup.by_digest(tokens.digest(secret)) if tokens.may_be_a_key(secret) else None


def before_key(question: Question) -> Verdict:
    """What the rules say that come before the key. Where they refuse, no key is looked for, nor anything parsed."""
    return _judge(_Case(question, None, limits.UNLIMITED), _BEFORE_KEY)


def without_key(question: Question) -> Verdict:
    """What the rules say that judge no key: for what is open to everybody."""
    return _judge(_Case(question, None, limits.UNLIMITED), _WITHOUT_KEY)


def decide(key: KeyRecord | None, question: Question, limiter: Limiter) -> Verdict:
    """The first rule that fails decides. Counts a request that comes as far as its key's limit against the key.

    A key that opens nothing counts against its address, and past that limit the answer is 429 instead of 401. A good
    key from there still passes: nobody is locked out by a neighbour's guesses.
    Where the limiter is out of reach, and the operator lets no request pass without it, the answer is 503.
    """
    return _judge(_Case(question, key, limiter), RULES)


def decide_without_limit(key: KeyRecord | None, question: Question, limiter: Limiter) -> Verdict:
    """As `decide`, but how often the key is used is neither counted nor asked."""
    return _judge(_Case(question, key, limiter), _WITHOUT_LIMIT)


def explain(
    key: KeyRecord | None, question: Question, limiter: Limiter, *, counts_failures: bool = False
) -> Explanation:
    """What `decide` would say, and what each rule says by itself, in their order. The first that did not pass decides.

    Counts nothing, or failed attempts alone: for somebody who might try keys.
    """
    case = _Case(question, key, DryRun(limiter, counting=_FAILED if counts_failures else None))
    rules = RULES if question.needs_key else _WITHOUT_KEY
    verdict = _judge(case, rules)
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
    """The key that was let in before. Raises `Refused` if it no longer would be.

    How it is sent, how often and what for was judged when its request came, so here it comes in a header, as each may.
    Only a request to the API changes something.
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


#: How the limiter's buckets of failed attempts begin.
_FAILED = "failed:"


# Rules ------------------------------------------------------------------------------------------


class _Case:
    """A question with its key, as the rules read it."""

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
    #: Whether it counts against the address.
    is_failed_attempt: bool = False


def _rejected(message: str) -> _Refusal:
    """For a key that was sent and opens nothing."""
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
    """It may be reopened, so its keys are not called revoked."""
    return None if case.key.account_closed is None else _Refusal(403, "This account is closed.")


def _suspended(case: _Case) -> _Refusal | None:
    return None if case.key.account_suspended is None else _Refusal(403, "This account is suspended.")


def _place(case: _Case) -> _Refusal | None:
    """A place that the account or the key itself has switched off (OWASP ASVS 5.0, 14.2.1)."""
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


def _judge(case: _Case, rules: Rules) -> Verdict:
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
    """Counts a failed attempt against its address: the refusal, or another one past the limit."""
    question = case.question
    bucket = _FAILED + networks.source(question.asker or question.address or "")
    try:
        outcome = case.limiter.hit(bucket, settings.FAILED_AUTH_LIMIT)
    except Unavailable as error:
        return _unavailable(error)
    return refusal if outcome is None or outcome.allowed else _too_many(limits.TOO_MANY_ATTEMPTS, outcome)
