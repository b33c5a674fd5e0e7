"""The rules and their order, compared with a second, slow implementation for random keys, accounts and questions."""

import ipaddress
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accounts.errors import Unavailable
from accounts.policy import GRANTS, KeyPermission, KeyRole, Permission, Role
from apikeys import gate, limits, lookup, tokens
from apikeys.gate import Maintenance, MethodUnknown, Place, Question, Refused, Rule
from apikeys.limits import DryRun, MemoryLimiter
from apikeys.lookup import KeyRecord
from apikeys.rates import Outcome, Rate

DEFAULT_RATE, FAILED_RATE = Rate(3, 60), Rate(2, 60)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
GOOD = KeyRecord(
    id="key_1",
    name="Deploys",
    permission="read_write",
    administrator=True,
    revoked=None,
    expired=False,
    disabled=None,
    rotated_at=None,
    accepts_query=True,
    accepts_body=True,
    expires_at=None,
    allowed_networks="[]",
    rate_limit=None,
    access=None,
    account_id=1,
    account_slug="acme",
    account_name="Acme",
    account_closed=None,
    account_suspended=None,
    account_accepts_query=True,
    account_accepts_body=True,
)
ASKED = Question(
    secure=True,
    maintenance=None,
    found=True,
    address="203.0.113.7",
    place=Place.HEADER,
    service="api",
    needs=Permission.PROJECT_READ,
)

ADDRESSES = ["203.0.113.7", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "nonsense", None]
ACCESSES = [[], [{"service": "api"}], [{"service": "svc_1"}], [{"service": "svc_1", "paths": ["/api/*"]}]]
NETWORKS = [[], ["10.0.0.0/8"], ["2001:db8::/32", "192.0.2.1/32"]]


def often(usual: Any) -> Callable[..., st.SearchStrategy[Any]]:
    """Mostly the value of a request that passes, so that the last rules are reached too."""
    return lambda *others: st.sampled_from([usual] * 3 + list(others))


moments = often(None)(NOW)
yes = often(True)(False)
keys = st.builds(
    KeyRecord,
    id=st.just("key_1"),
    name=st.just("Deploys"),
    permission=st.sampled_from(["read", "write", "read_write"]),
    administrator=st.booleans() | st.sampled_from([0, 1]),
    revoked=moments,
    expired=st.sampled_from([False, 0, None, False, 0, None, True, 1]),
    disabled=moments,
    rotated_at=moments,
    accepts_query=yes,
    accepts_body=yes,
    expires_at=moments,
    allowed_networks=st.sampled_from(NETWORKS).map(json.dumps),
    rate_limit=st.sampled_from([None, "1/minute", "2/hour"]),
    access=often(None)(*map(json.dumps, ACCESSES)),
    account_id=st.just(1),
    account_slug=st.just("acme"),
    account_name=st.just("Acme"),
    account_closed=moments,
    account_suspended=moments,
    account_accepts_query=yes,
    account_accepts_body=yes,
)
questions = st.builds(
    Question,
    secure=yes,
    maintenance=often(None)(Maintenance("Back at noon.", 60)),
    found=yes,
    address=st.sampled_from(ADDRESSES),
    place=st.sampled_from([*Place, *Place, None]),
    service=st.sampled_from(["api", "api", None, "svc_1", "svc_1"]),
    target=st.sampled_from(["/api", "/api/a?b=c", "/open/a", "/other", "/api/../open"]),
    reading_paths=st.sampled_from(["[]", "[]", '["/open/*"]']),
    asker=often(None)("192.0.2.9"),
    needs_key=st.just(True),
    needs=st.none()
    | st.sampled_from([KeyPermission.READ, KeyPermission.WRITE])
    | st.sampled_from([*Permission, *Permission, MethodUnknown(("GET", "HEAD"))]),
)


class Recorder(MemoryLimiter):
    """Records its hits."""

    def __init__(self, key_hits: int = 0, failed_hits: int = 0) -> None:
        super().__init__()
        for rate in (DEFAULT_RATE, Rate(1, 60), Rate(2, 3600)):
            for _ in range(key_hits):
                super().hit("key_1", rate)
        for address in [*ADDRESSES, "192.0.2.9"]:
            for _ in range(failed_hits):
                super().hit(bucket_of(address), FAILED_RATE)
        self.hits: list[str] = []

    def hit(self, bucket: str, rate: Rate) -> Outcome:
        self.hits.append(bucket)
        return super().hit(bucket, rate)


limiters = st.builds(Recorder, key_hits=st.integers(0, 4), failed_hits=st.integers(0, 3))


def bucket_of(address: str | None) -> str:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return f"failed:{address or ''}"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return f"failed:{parsed.ipv4_mapped}"
        return f"failed:{ipaddress.ip_network(f'{address}/64', strict=False)}"
    return f"failed:{parsed}"


def failing(key: KeyRecord | None, asked: Question, limiter: MemoryLimiter) -> Iterator[tuple[str, int, str]]:  # noqa: C901  a rule a branch
    """Each rule that would fail on its own, in the documented order: its name, status and message."""
    if not asked.secure:
        yield "https", 403, "HTTPS is required."
    if asked.maintenance:
        yield "maintenance", 503, "Back at noon."
    if not asked.found:
        yield "path", 404, "The item could not be found."
    if asked.place is None:
        yield "key", 401, "API key is required!"
    elif key is None:
        yield "key", 401, "API key is invalid!"
    if key is None:
        return
    if key.revoked:
        yield "revoked", 401, "API key has been revoked!"
    if key.expired:
        yield "expired", 401, "API key has expired!"
    if key.disabled:
        yield "disabled", 401, "API key is disabled!"
    if key.account_closed:
        yield "closed", 403, "This account is closed."
    if key.account_suspended:
        yield "suspended", 403, "This account is suspended."
    if asked.place == "query" and False in (key.accepts_query, key.account_accepts_query):
        yield "place", 403, "This API key may not be sent in the query string."
    if asked.place == "body" and False in (key.accepts_body, key.account_accepts_body):
        yield "place", 403, "This API key may not be sent in the body."
    if not is_within(asked.address, json.loads(key.allowed_networks)):
        yield "network", 403, "This API key may not be used from this address."
    if asked.service and (sentence := closed_to(key, asked)):
        yield "access", 403, sentence
    if not limiter.peek(key.id, rate_of(key)).allowed:
        yield "limit", 429, "Too many requests. Please slow down."
    if isinstance(asked.needs, MethodUnknown):
        yield "method", 405, "This item can't be accessed with this method."
    elif asked.needs is not None:
        yield from (("permission", 403, sentence) for sentence in missing(key, asked.needs))


def closed_to(key: KeyRecord, asked: Question) -> str | None:
    paths: list[str] | None = None
    if key.access is not None:
        entries = {entry["service"]: entry.get("paths") for entry in json.loads(key.access)}
        if asked.service not in entries:
            return f"This API key has no access to this {'API' if asked.service == 'api' else 'service'}."
        paths = entries[asked.service]
    if paths is None and asked.reading_paths == "[]":
        return None
    if ".." in asked.target:
        return "This path is ambiguous."
    if paths is not None and not asked.target.startswith("/api"):
        return "This API key has no access to this path."
    return None


def is_within(address: str | None, networks: list[str]) -> bool:
    if not networks:
        return True
    if address in ("10.1.2.3", "::ffff:10.1.2.3"):
        return "10.0.0.0/8" in networks
    return address == "2001:db8::1" and "2001:db8::/32" in networks


def rate_of(key: KeyRecord) -> Rate:
    return {None: DEFAULT_RATE, "1/minute": Rate(1, 60), "2/hour": Rate(2, 3600)}[key.rate_limit]


def missing(key: KeyRecord, needs: Permission | KeyPermission) -> Iterator[str]:
    if isinstance(needs, KeyPermission):
        if key.permission not in (needs.value, "read_write"):
            yield f"This API key does not have the {needs.value.capitalize()} permission."
        return
    if needs not in GRANTS[KeyRole.ADMINISTRATOR if key.administrator else KeyRole.KEY]:
        whose = "administrators" if needs in GRANTS[Role.ADMIN] else "the Owner"
        yield f"This item is for {whose} only."
    elif needs.endswith(":read") and key.permission == "write":
        yield "This API key does not have the Read permission."
    elif not needs.endswith(":read") and key.permission == "read":
        yield "This API key does not have the Write permission."


def expected(key: KeyRecord | None, asked: Question, limiter: MemoryLimiter) -> tuple[str | None, int, str]:
    rule, status, sentence = next(failing(key, asked, limiter), (None, 200, ""))
    bucket = bucket_of(asked.asker or asked.address)
    if status == 401 and asked.place is not None and not limiter.peek(bucket, FAILED_RATE).allowed:
        status, sentence = 429, "Too many attempts. Please slow down."
    return rule, status, sentence


any_question = given(key=keys | st.none(), asked=questions, limiter=limiters)


@pytest.fixture(autouse=True)
def _rates() -> Iterator[None]:
    with override_settings(API_RATE_LIMIT=DEFAULT_RATE, FAILED_AUTH_LIMIT=FAILED_RATE):
        yield


# The order --------------------------------------------------------------------------------------


def test_the_rules_have_the_documented_order() -> None:
    promised = (
        "https maintenance path key revoked expired disabled closed suspended place network access limit method "
        "permission"
    )
    assert [rule for rule, _ in gate.RULES] == list(Rule) == promised.split()


@settings(max_examples=500)
@any_question
@example(key=GOOD, asked=ASKED, limiter=Recorder())
@example(key=GOOD._replace(accepts_query=False), asked=ASKED._replace(place=Place.QUERY), limiter=Recorder())
@example(key=GOOD._replace(accepts_body=False), asked=ASKED._replace(place=Place.BODY), limiter=Recorder())
@example(key=GOOD._replace(permission="write"), asked=ASKED, limiter=Recorder())
@example(
    key=GOOD,
    asked=ASKED._replace(service="svc_1", target="/api/../open", reading_paths='["/open/*"]'),
    limiter=Recorder(),
)
def test_the_first_rule_that_fails_decides_whatever_else_fails(
    key: KeyRecord | None, asked: Question, limiter: Recorder
) -> None:
    wanted = expected(key, asked, limiter)
    assert gate.decide(key, asked, limiter)[:3] == wanted


@pytest.mark.parametrize("account_accepts", [True, False])
@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("place", list(Place))
def test_a_key_may_be_sent_in_a_place_if_it_and_its_account_allow_it(
    place: Place, accepts: bool, account_accepts: bool
) -> None:
    switches: dict[str, Any] = {f"accepts_{place}": accepts, f"account_accepts_{place}": account_accepts}
    key = GOOD._replace(**{name: value for name, value in switches.items() if name in GOOD._fields})
    verdict = gate.decide(key, ASKED._replace(place=place), MemoryLimiter())
    assert verdict.allowed == (place == "header" or (accepts and account_accepts))


@given(key=keys, asked=questions, limiter=limiters)
def test_the_rules_before_the_key_need_no_key(key: KeyRecord, asked: Question, limiter: Recorder) -> None:
    early = gate.decide_before_key(asked)
    verdict = gate.decide(key, asked, limiter)
    assert early.rule == (verdict.rule if verdict.rule in ("https", "maintenance", "path") else None)
    if not early.allowed:
        assert early == verdict


@given(asked=questions)
def test_public_paths_are_checked_without_a_key(asked: Question) -> None:
    found = [found for found in failing(None, asked, MemoryLimiter()) if found[0] != "key"]
    if isinstance(asked.needs, MethodUnknown):
        found.append(("method", 405, "This item can't be accessed with this method."))
    assert gate.decide_without_key(asked)[:3] == (found[0] if found else (None, 200, ""))
    verdict, results = gate.explain(None, asked._replace(needs_key=False), MemoryLimiter())
    assert verdict == gate.decide_without_key(asked)
    assert [result.rule for result in results if result.passed is False] == [rule for rule, *_ in found]


@any_question
@example(key=GOOD, asked=ASKED, limiter=Recorder(key_hits=3))
@example(key=GOOD, asked=ASKED._replace(needs=MethodUnknown(())), limiter=Recorder())
@example(key=GOOD._replace(allowed_networks='["10.0.0.0/8"]'), asked=ASKED, limiter=Recorder())
def test_a_key_counts_as_used_from_its_limit_on(key: KeyRecord | None, asked: Question, limiter: Recorder) -> None:
    verdict = gate.decide(key, asked, limiter)
    assert verdict.accepts_key == (verdict.rule in (None, "limit", "method", "permission"))


def test_a_malformed_key_is_not_looked_up() -> None:
    """A test without the `django_db` mark can't query the database."""
    assert gate.identify("atk_" + "x" * 36) is None


def test_a_key_is_found_by_the_digest_of_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tokens.generate()
    monkeypatch.setattr(lookup, "by_digest", {tokens.digest(secret): GOOD}.get)
    assert gate.identify(secret) == GOOD


def test_a_question_before_the_key_becomes_one_about_the_key() -> None:
    early = Question(True, None, True, "203.0.113.7", None, None, None)
    assert early.of_key(Place.HEADER, "api", Permission.PROJECT_READ) == ASKED


# A dry run --------------------------------------------------------------------------------------


@any_question
def test_each_rule_is_explained_by_itself(key: KeyRecord | None, asked: Question, limiter: Recorder) -> None:
    failed: dict[str, str] = {}
    for rule, _, sentence in failing(key, asked, limiter):
        failed.setdefault(rule, sentence)
    if key is None:
        judged = ["https", "maintenance", "path", "key"]
        unjudged = [rule for rule in Rule if rule not in judged]
    else:
        judged, unjudged = list(Rule), []
    explained = gate.explain(key, asked, limiter).results
    assert [result.rule for result in explained] == list(Rule)
    assert {j.rule for j in explained if j.passed is False} == set(failed)
    assert {j.rule: j.passed for j in explained if j.passed is not False} == {
        **{str(rule): True for rule in judged if rule not in failed},
        **dict.fromkeys(map(str, unjudged)),
    }
    assert {j.message for j in explained if j.passed is not False} <= {""}
    decided = next((j.rule for j in explained if j.passed is False), None)
    assert {j.rule: j.message for j in explained if j.passed is False and j.rule != decided} == {
        rule: sentence for rule, sentence in failed.items() if rule != decided
    }


@any_question
def test_an_explanation_and_a_decision_agree(key: KeyRecord | None, asked: Question, limiter: Recorder) -> None:
    explained = gate.explain(key, asked, limiter).results
    verdict = gate.decide(key, asked, limiter)
    first = next((result for result in explained if result.passed is False), None)
    assert (first and first.rule, first.message if first else "") == (verdict.rule, verdict.message)


@any_question
def test_a_dry_run_answers_as_the_request_would_and_counts_nothing(
    key: KeyRecord | None, asked: Question, limiter: Recorder
) -> None:
    before = dict(limiter._windows)
    dry = gate.decide(key, asked, DryRun(limiter))
    gate.explain(key, asked, limiter)
    assert (limiter._windows, limiter.hits) == (before, [])
    assert dry == gate.decide(key, asked, limiter)


@any_question
def test_an_explanation_may_count_only_failed_attempts(
    key: KeyRecord | None, asked: Question, limiter: Recorder
) -> None:
    explained = gate.explain(key, asked, limiter, counts_failures=True)
    failed = explained.verdict.rule in ("key", "revoked", "expired", "disabled") and asked.place is not None
    assert limiter.hits == ([bucket_of(asked.asker or asked.address)] if failed else [])


@any_question
def test_without_its_limit_every_other_rule_applies_to_a_key(
    key: KeyRecord | None, asked: Question, limiter: Recorder
) -> None:
    unlimited = Recorder()
    verdict = gate.decide_without_limit(key, asked, limiter)
    assert "key_1" not in limiter.hits
    assert verdict.rule == gate.decide(key and key._replace(rate_limit=None), asked, unlimited).rule


# What is counted --------------------------------------------------------------------------------


@any_question
def test_a_request_counts_once_and_only_if_it_reaches_its_limit(
    key: KeyRecord | None, asked: Question, limiter: Recorder
) -> None:
    rule = expected(key, asked, limiter)[0]
    verdict = gate.decide(key, asked, limiter)
    if rule in ("key", "revoked", "expired", "disabled") and asked.place is not None:
        assert limiter.hits == [bucket_of(asked.asker or asked.address)]
    elif rule in (None, "limit", "method", "permission"):
        assert limiter.hits == ["key_1"]
        assert key is not None
        assert verdict.rate_limit is not None
        assert verdict.rate_limit.rate == rate_of(key)
    else:
        assert limiter.hits == []
    assert (verdict.rate_limit is None) == (limiter.hits != ["key_1"])


def test_an_address_that_failed_too_often_gets_429_and_a_valid_key_from_there_still_passes() -> None:
    limiter = MemoryLimiter()
    statuses = [gate.decide(None, ASKED, limiter).status for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert gate.decide(GOOD._replace(revoked=NOW), ASKED, limiter).status == 429
    assert gate.decide(GOOD, ASKED, limiter).allowed
    assert gate.decide(None, ASKED._replace(address="203.0.113.8"), limiter).status == 401


def test_a_request_without_a_key_is_not_a_failed_attempt() -> None:
    limiter = MemoryLimiter()
    assert {gate.decide(None, ASKED._replace(place=None), limiter).status for _ in range(5)} == {401}
    assert gate.decide(None, ASKED, limiter).status == 401


class Away(MemoryLimiter):
    def hit(self, bucket: str, rate: Rate) -> Outcome:
        raise Unavailable("Rate limits are unavailable.", retry_after=7)

    peek = hit


def test_without_limits_requests_pass_unlimited_or_are_503() -> None:
    verdict = gate.decide(GOOD, ASKED, limits.UNLIMITED)
    assert (verdict.allowed, verdict.rate_limit, verdict.headers) == (True, None, {})
    for key, rule in [(GOOD, "limit"), (None, "key"), (GOOD._replace(disabled=NOW), "disabled")]:
        message = "Rate limits are unavailable."
        assert gate.decide(key, ASKED, Away()) == (rule, 503, message, {"Retry-After": "7"}, None)
        assert message in [result.message for result in gate.explain(key, ASKED, Away()).results]


# Headers ----------------------------------------------------------------------------------------

RATE_LIMIT = {"RateLimit-Policy", "RateLimit"}
NO_TOKEN = 'Bearer realm="atatus"'


@any_question
def test_headers_match_the_status(key: KeyRecord | None, asked: Question, limiter: Recorder) -> None:
    verdict = gate.decide(key, asked, limiter)
    wanted = {
        401: {"WWW-Authenticate"},
        405: {"Allow"},
        429: {"Retry-After"},
        503: {"Retry-After"},
    }.get(verdict.status, set())
    if verdict.rule == "permission":
        wanted = {"WWW-Authenticate"}
    if verdict.rate_limit:
        wanted = wanted | RATE_LIMIT
    assert set(verdict.headers) == wanted


@pytest.mark.parametrize(
    ("key", "asked", "headers"),
    [
        (GOOD, {}, {"RateLimit-Policy": '"default";q=3;w=60', "RateLimit": '"default";r=2;t=60'}),
        (None, {"place": None}, {"WWW-Authenticate": NO_TOKEN}),
        (None, {}, {"WWW-Authenticate": f'{NO_TOKEN}, error="invalid_token"'}),
        (GOOD._replace(expired=1), {}, {"WWW-Authenticate": f'{NO_TOKEN}, error="invalid_token"'}),
        (
            GOOD._replace(permission="write"),
            {},
            {
                "WWW-Authenticate": f'{NO_TOKEN}, error="insufficient_scope"',
                "RateLimit-Policy": '"default";q=3;w=60',
                "RateLimit": '"default";r=2;t=60',
            },
        ),
        (
            GOOD,
            {"needs": MethodUnknown(("GET", "HEAD"))},
            {"Allow": "GET, HEAD", "RateLimit-Policy": '"default";q=3;w=60', "RateLimit": '"default";r=2;t=60'},
        ),
        (GOOD, {"maintenance": Maintenance("Back at noon.", 60)}, {"Retry-After": "60"}),
        (GOOD, {"secure": False}, {}),
        (GOOD._replace(account_closed=NOW), {}, {}),
    ],
)
def test_examples_of_headers(key: KeyRecord | None, asked: dict[str, Any], headers: dict[str, str]) -> None:
    assert gate.decide(key, ASKED._replace(**asked), MemoryLimiter()).headers == headers


def test_a_refusing_verdict_is_raised_with_all_its_details() -> None:
    verdict = gate.decide(None, ASKED, MemoryLimiter())
    with pytest.raises(Refused, match="API key is invalid!") as caught:
        verdict.raise_if_refused()
    assert (caught.value.verdict, caught.value.status, caught.value.message) == (verdict, 401, verdict.message)
    errors = {"key": ["Unknown."]}
    assert Refused(verdict, errors=errors).errors == errors
    gate.decide(GOOD, ASKED, MemoryLimiter()).raise_if_refused()


# Later, in the transaction of the key's change --------------------------------------------------


@given(key=keys | st.none(), address=st.sampled_from(ADDRESSES))
def test_a_key_that_is_checked_again_is_refused_only_for_its_state_network_and_access(key: Any, address: Any) -> None:
    states = ("key", "revoked", "expired", "disabled", "closed", "suspended", "network", "access")
    asked = ASKED._replace(address=address)
    wanted = next((found for found in failing(key, asked, MemoryLimiter()) if found[0] in states), None)
    if wanted is None:
        assert gate.require_still_valid(key, address) == key
    else:
        with pytest.raises(Refused) as caught:
            gate.require_still_valid(key, address)
        assert caught.value.verdict[:3] == wanted
