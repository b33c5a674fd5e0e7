"""Access and paths, tested with services that read paths in all the ways that real programs do (`path_readers`).

Every allowed target must be within the key's paths for all these services.
"""

import json
import time
import unicodedata
from collections.abc import Iterable
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeys import scopes
from apikeys.scopes import Entry, Refusal

from .path_readers import BEFORE, DECODING, STEPS, STRUCTURAL, Service, is_in, read

SERVICE = "svc_AAAAAAAAAAAAAAAA"
OTHER = "svc_BBBBBBBBBBBBBBBB"
LATER = "svc_CCCCCCCCCCCCCCCC"


def listed(text: str) -> list[str]:
    return text.split()


def access_to(*patterns: str) -> str:
    stored = scopes.store(scopes.parse([{"service": SERVICE, "paths": list(patterns)}]))
    assert stored is not None
    return stored


def is_let_through(target: str, *patterns: str) -> bool:
    return scopes.refusal(access_to(*patterns), SERVICE, target) is None


# Paths


words = st.sampled_from(
    ["reports", "admin", "a", "b", "é", "été", "ﬁ", "x y", "v1.2", "+1", "Ω", "報告", "~me", "a:b@c"]
)
literals = st.lists(words, max_size=3).map(lambda parts: "/" + "/".join(parts))
patterns = st.builds(
    lambda literal, ending: literal.rstrip("/") + ending if ending else literal,
    literals,
    st.sampled_from(["", "/", "/*"]),
)
TRICKS = listed(r""". .. ... / // %2e %2E %2e%2e .%2e %2f %2F %5c %5C \ ; %3b ;x=1 ..; %00 %0a %09 %20 .%20 %20.. %23 #
    ? %3f % %2 %zz %u002e %u2215 %252e %252e%252e %252f %25 %25252e %c0%ae %c0%af %e0%80%af %f0%80%80%af %ed%a0%80 %ff
    %7f %c2%85 %c2%a0 %c2%a5 %e2%82%a9
    %e2%80%a5 %ef%bc%8f %ef%bc%8e %e2%88%95 %e2%81%84 %cd%be %e2%84%85 e%cc%81 %cc%81 %c3%a9 é ／ + %2b * %2a
    %61 %72 %41 admin reports http: //evil.example @ : & = ~ | ^ [ ] %E2%80%8D %e2%84%a6 %ef%ac%81 %d8%9b""")
tricks = st.sampled_from(TRICKS)
targets = st.lists(st.one_of(literals, literals.map(quote), st.just("/"), tricks), max_size=7).map("".join)


def services(after: Iterable[str] = STEPS) -> st.SearchStrategy[Service]:
    return st.builds(
        Service,
        st.lists(st.sampled_from(sorted(BEFORE)), max_size=4),
        st.sampled_from(sorted(DECODING)),
        st.lists(st.sampled_from(sorted(after)), max_size=4),
    )


@st.composite
def patterns_and_targets(draw: st.DrawFn) -> tuple[list[str], str]:
    """Targets that resemble the patterns: a pattern's path, encoded or not, and parts that may lead elsewhere."""
    chosen = draw(st.lists(patterns, min_size=1, max_size=3))
    near = draw(st.sampled_from(chosen)).removesuffix("*")
    near = draw(st.sampled_from([near, quote(near), near.rstrip("/") + "/"]))
    return chosen, near + draw(st.lists(st.one_of(tricks, st.just("/"), words.map(quote)), max_size=4).map("".join))


@settings(max_examples=500)
@given(patterns_and_targets(), services())
def test_what_is_let_through_is_within_the_paths_however_a_service_reads_it(
    asked: tuple[list[str], str], service: Service
) -> None:
    patterns, target = asked
    if is_let_through(target, *patterns):
        assert service.is_within(target, patterns)


@given(patterns_and_targets(), services())
def test_a_service_that_reads_a_plus_as_a_space_reads_no_other_path_where_no_pattern_has_one(
    asked: tuple[list[str], str], service: Service
) -> None:
    patterns, target = asked
    if is_let_through(target, *patterns) and "+" not in "".join(patterns):
        assert service.is_within(target.replace("+", " "), patterns)


@given(st.text(max_size=8), services())
def test_what_is_let_through_below_a_path_stays_below_it_whatever_text_it_is(text: str, service: Service) -> None:
    for target in (f"/reports/{text}", "/reports/" + quote(text, safe=""), "/reports/" + quote(text, errors="replace")):
        if is_let_through(target, "/reports/*"):
            assert service.is_within(target, ["/reports/*"])


@given(patterns)
def test_patterns_contain_nothing_that_services_read_differently(pattern: str) -> None:
    (known,) = scopes.parse_patterns([pattern])
    for step, rewritten in STRUCTURAL.items():
        assert rewritten(known) == known, step


@settings(max_examples=500)
@given(targets, services(after=STRUCTURAL))
def test_a_path_that_is_read_is_what_every_service_reads(target: str, service: Service) -> None:
    path = scopes.read_path(target)
    if path is not None:
        assert service.read(target) == path


def test_no_trick_makes_two_services_read_different_paths() -> None:
    """Each special part next to a letter, a slash or another such part, which random targets rarely contain."""
    firsts = ["/a", "/a/", "/", *(f"/a{trick}" for trick in TRICKS)]
    targets = ["".join(parts) for parts in product(firsts, ["", "b", "/b", "41", *TRICKS])]
    services = [
        Service(before, decoding, after)
        for decoding in DECODING
        for before, after in [([], []), *(([step], []) for step in BEFORE), *(([], [step]) for step in STRUCTURAL)]
    ]
    for target in targets:
        if (path := scopes.read_path(target)) is not None:
            assert {service.read(target) for service in services} == {path}, target


@given(literals, st.sampled_from(["", "/"]), st.text(max_size=10), st.sampled_from(["", "/", "!$&'()*+,=:@/"]))
def test_an_ordinary_path_is_read_whichever_of_its_letters_are_encoded(
    path: str, ending: str, query: str, safe: str
) -> None:
    path = unicodedata.normalize("NFC", path if path == "/" else path + ending)
    assert scopes.read_path(quote(path, safe=safe + "/") + "?" + query) == path
    assert scopes.read_path("/" + "".join(c if c == "/" else quote(c, safe=safe) for c in path[1:])) == path


#: Spellings that some service reads as `/admin`.
SPELLINGS_OF_ADMIN = listed(r"""
    /admin /%61dmin /%61%64%6d%69%6e /%2561dmin /%u0061dmin //admin ///admin //x/admin /./admin /%2e/admin /%2E/admin
    /../admin /x/../admin /%2e%2e/admin /\admin /%5cadmin /%5Cadmin /admin;x /admin;x=1 /;x/admin /admin%3bx
    /admin%00 /admin%00.html /admin?x /admin%3fx /%61dmin/ /admin#x /admin%23x /adm%09in /adm%0ain /admin%0d /admin%7f
    http://reports.example/admin https://x.example/../admin
    /reports/../admin /reports/./../admin /reports/x/../../admin /reports//../../admin /reports/..//admin
    /reports/%2e%2e/admin /reports/%2E%2E/admin /reports/.%2e/admin /reports/%2e./admin /reports/%2e%2e%2fadmin
    /reports/..%2fadmin /reports/..%2Fadmin /reports/..%5cadmin /reports/..\admin /reports\..\admin
    /reports/%5c../admin /reports%2f..%2fadmin /reports%2f../admin /reports/..;/admin /reports/..;x=1/admin
    /reports/..%3b/admin /reports/;/../../admin /reports/%252e%252e/admin /reports/%252e%252e%252fadmin
    /reports/..%252fadmin /reports/..%255cadmin /reports/%25252e%25252e/admin /reports/%c0%ae%c0%ae/admin
    /reports/..%c0%afadmin /reports/..%e0%80%afadmin /reports/..%f0%80%80%afadmin /reports/%u002e%u002e/admin
    /reports/..%u2215admin /reports/..%u002fadmin /reports/..%00/admin /reports/.%00./admin /reports/..%0a/admin
    /reports/.%09./admin /reports/..%0d/admin /reports/..%20/admin /reports/%20../admin /reports/..%c2%a0/admin
    /reports/%e2%80%a5/admin /reports/%ef%bc%8e%ef%bc%8e/admin /reports/..%ef%bc%8fadmin /reports/..%e2%88%95admin
    /reports/..%e2%81%84admin /reports/..%ef%bc%bcadmin /reports/%e2%80%a4%e2%80%a4/admin /reports#/../../admin
    /reports/..%c2%a5admin /reports/..%e2%82%a9admin
    /reports/..%2f%2fadmin /reports/%2e%2e%5cadmin /reports/..%25%32%66admin /reports/%25%32%65%25%32%65/admin
    /reports/..／admin /reports/．．/admin
""")


def test_each_of_many_spellings_is_read_as_the_path_by_some_service() -> None:
    assert len(set(SPELLINGS_OF_ADMIN)) == len(SPELLINGS_OF_ADMIN) >= 90
    orders = [
        [*first, "%u decoded", *steps, *last]
        for first in (["decoded"], ["decoded", "decoded", "decoded"], ["dots resolved", "decoded"])
        for length in (0, 1, 2)
        for steps in product(STEPS, repeat=length)
        for last in ([], ["slashes merged", "dots resolved"])
    ]
    for target in SPELLINGS_OF_ADMIN:
        assert any(read(target, steps) == "/admin" for steps in orders), target


@pytest.mark.parametrize("target", SPELLINGS_OF_ADMIN)
def test_no_spelling_of_one_path_matches_another(target: str) -> None:
    assert not is_let_through(target, "/reports/*")
    assert not is_let_through(target, "/reports", "/reports/*", "/reports/", "/x/*", "/health")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/?", "/"),
        ("/reports", "/reports"),
        ("/reports?next=//x/../y;z#%zz\\", "/reports"),
        ("/reports/", "/reports/"),
        ("/%72eports", "/reports"),
        ("/Reports", "/Reports"),
        ("/a%20b", "/a b"),
        ("/a+b", "/a+b"),
        ("/a%2Bb", "/a+b"),
        ("/caf%C3%A9", "/café"),
        ("/caf%c3%a9", "/café"),
        ("/%E5%A0%B1%E5%91%8A", "/報告"),
        ("/%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80", "/👩\u200d🚀"),
        ("/v1.2/file.tar.gz", "/v1.2/file.tar.gz"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b/..c/d../.e", "/a..b/..c/d../.e"),
        ("/file%2epdf", "/file.pdf"),
        ("/users/me@example.com,x:y=1&z!$'()*", "/users/me@example.com,x:y=1&z!$'()*"),
        ("/users/me%40example.com", "/users/me@example.com"),
        ('/~me/[x]|{y}^`<z>"', '/~me/[x]|{y}^`<z>"'),
    ],
)
def test_an_unambiguous_path_is_decoded(target: str, path: str) -> None:
    assert scopes.read_path(target) == path


@pytest.mark.parametrize(
    "target",
    [
        *listed(r"""
    reports * ? ?x=/reports # http://x/reports https://x /. /.. /... /a/. /a/.. /a/./b /a/../b /%2e /%2e%2e /.%2E
    /a/%2e%2e/b // //a /a//b /a// /a;b /; /a%3bb /a%3Bb /a%2fb /a%2Fb /a%5cb /a\b /a%3fb /a%23b /a#b /# /a% /a%2
    /a%zz /a%u002e /a%%20 /a%25 /a%252e /a%25zz /a%00 /a%1f /a%7f /a%c2%80 /a%ff /a%c3 /a%c3/%a9 /%c0%af /%e0%80%af
    /%ed%a0%80 /%f4%90%80%80 /caf%65%cc%81 /%e2%84%a6 /é /%20 /a/%20/b /..%20 /.%20. /%c2%a0 /%ef%bc%8f /%e2%88%95
    /%e2%88%96 /%cd%be /%e2%80%a5 /%e2%84%85 /%ef%b9%a8 /%e2%80%a8%ef%bc%9f /..%e2%80%a8 /%e1%9a%80..
    """),
        "",
        " ",
        " /a",
        "/a b",
        "/a\tb",
        "/a\n",
        "/a\x00",
        "/a\x7f",
        "/a\x85",
        "/a\udc80",
        "/Ã©",
        "\ufeff/a",
    ],
)
def test_a_path_that_reads_in_more_ways_than_one_is_ambiguous(target: str) -> None:
    assert scopes.read_path(target) is None
    assert scopes.refusal(access_to("/*"), SERVICE, target) is Refusal.AMBIGUOUS


def test_every_target_is_read_quickly() -> None:
    for part in ("a", "%41", "/.a", ".", "%C3%A9", "%CC%81%CC%96", "%EF%B7%BA", "%", "/", " ", "%20"):
        before = time.perf_counter()
        scopes.read_path(("/" + part * 8192)[:8192])
        assert time.perf_counter() - before < 0.1


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/reports", "/reports", True),
        ("/reports", "/reports/", False),
        ("/reports", "/reports/a", False),
        ("/reports", "/report", False),
        ("/reports", "/REPORTS", False),
        ("/reports/", "/reports/", True),
        ("/reports/", "/reports", False),
        ("/reports/*", "/reports", True),
        ("/reports/*", "/reports/", True),
        ("/reports/*", "/reports/a/b", True),
        ("/reports/*", "/reports-of-others", False),
        ("/reports/*", "/Reports/a", False),
        ("/", "/", True),
        ("/", "/a", False),
        ("/*", "/", True),
        ("/*", "/a/b", True),
    ],
)
def test_a_pattern_is_one_path_or_a_path_and_all_below_it(pattern: str, path: str, matches: bool) -> None:
    assert is_let_through(path, pattern) is matches
    assert is_in(path, [pattern]) is matches


# Access


small = ["/", "/a", "/a/", "/b", "/a/a", "/a/b", "/a/b/", "/a/b/c", "/ab", "/c/c/c"]
SMALL_PATTERNS = [*small, "/*", "/a/*", "/b/*", "/a/b/*", "/ab/*"]
small_patterns = st.sampled_from(SMALL_PATTERNS)
path_lists = st.lists(small_patterns, min_size=1, max_size=4)
entries = st.one_of(
    st.just({"service": "api"}),
    st.fixed_dictionaries({"service": st.sampled_from([SERVICE, OTHER])}, optional={"paths": path_lists}),
)
values = st.one_of(st.none(), st.lists(entries, max_size=3, unique_by=lambda entry: str(entry["service"])))
accesses = values.map(scopes.parse)


def opens(value: Any, service: str, target: str) -> bool:
    """Whether an access allows a target of a service, in a slow implementation."""
    if value is None:
        return True
    for entry in value:
        if entry["service"] == service:
            return "paths" not in entry or (target != "//" and is_in(target, entry["paths"]))
    return False


EVERYTHING = [
    (service, path)
    for service in ("api", SERVICE, OTHER, LATER)
    for path in [*small, "//", "/a/c", "/b/c", "/a/b/d", "/ab/c", "/c", "/c/c/c/c", "/a/a/c"]
]


@given(values)
def test_a_key_allows_what_its_access_lists(value: Any) -> None:
    stored = scopes.store(scopes.parse(value))
    for service, path in EVERYTHING:
        assert (scopes.refusal(stored, service, path) is None) == opens(value, service, path)


@given(values, values)
def test_an_access_covers_another_if_it_allows_everything_the_other_allows(wider: Any, narrower: Any) -> None:
    expected = all(opens(wider, *question) for question in EVERYTHING if opens(narrower, *question))
    assert scopes.covers(scopes.parse(wider), scopes.parse(narrower)) == expected


@given(accesses, accesses, accesses)
def test_covering_is_reflexive_and_transitive(first: Any, second: Any, third: Any) -> None:
    assert scopes.covers(first, first)
    assert scopes.covers(None, first)
    assert scopes.covers(first, ())
    if scopes.covers(first, second) and scopes.covers(second, third):
        assert scopes.covers(first, third)


@given(path_lists, path_lists)
def test_patterns_cover_others_if_they_match_all_that_the_others_match(wider: Any, narrower: Any) -> None:
    paths = [path for _, path in EVERYTHING if path != "//"]
    expected = all(is_in(path, wider) for path in paths if is_in(path, narrower))
    assert scopes.covers_patterns(wider, narrower) == expected


@pytest.mark.parametrize("wider", SMALL_PATTERNS)
def test_a_pattern_covers_another_if_it_matches_all_that_the_other_matches(wider: str) -> None:
    paths = [path for _, path in EVERYTHING if path != "//"]
    for narrower in SMALL_PATTERNS:
        expected = all(is_in(path, [wider]) for path in paths if is_in(path, [narrower]))
        assert scopes.covers_patterns([wider], [narrower]) == expected, narrower


@given(values)
def test_an_access_survives_being_stored_answered_and_written_as_options(value: Any) -> None:
    access = scopes.parse(value)
    stored = scopes.store(access)
    assert scopes.load(stored) == access
    assert scopes.parse(scopes.as_json(access)) == access
    assert scopes.parse_options(scopes.as_options(access)) == access
    if stored is not None:
        # PostgreSQL's jsonb orders names in its own way and adds spaces.
        assert scopes.load(json.dumps(json.loads(stored), sort_keys=True, indent=1)) == access


@given(st.lists(patterns, max_size=5))
def test_parsing_a_parsed_pattern_changes_nothing(value: Any) -> None:
    parsed = scopes.parse_patterns(value)
    assert scopes.parse_patterns(list(parsed)) == parsed


def test_an_access_keeps_its_order_and_each_path_once() -> None:
    value = [{"service": SERVICE, "paths": ["/b", "/a/*", "/b"]}, {"service": "api"}, {"service": OTHER}]
    access = scopes.parse(value)
    assert access == (Entry(SERVICE, ("/b", "/a/*")), Entry("api"), Entry(OTHER))
    assert scopes.as_options(access) == [f"{SERVICE}:/b,/a/*", "api", OTHER]
    assert scopes.as_json(access) == [{"service": SERVICE, "paths": ["/b", "/a/*"]}, *value[1:]]


def test_everything_and_nothing_have_their_own_forms() -> None:
    assert scopes.parse(None) is scopes.parse_options([]) is scopes.load(None) is None
    assert scopes.store(None) is None
    assert scopes.as_json(None) is None
    assert scopes.as_options(None) == []
    assert scopes.parse([]) == scopes.parse_options(["none"]) == scopes.load("[]") == ()
    assert scopes.store(()) == "[]"
    assert scopes.as_json(()) == []
    assert scopes.as_options(()) == ["none"]


def test_a_letter_and_its_accent_are_stored_as_one() -> None:
    assert scopes.parse_patterns(["/cafe\u0301"]) == ("/caf\u00e9",)
    assert is_let_through("/caf%C3%A9/x", "/cafe\u0301/*")


@pytest.mark.parametrize(
    ("access", "service", "target", "refusal"),
    [
        (None, SERVICE, "/a", None),
        (None, SERVICE, "/..", None),
        (None, "api", "", None),
        ([], SERVICE, "/a", Refusal.SERVICE),
        ([], "api", "", Refusal.API),
        ([{"service": "api"}], "api", "", None),
        ([{"service": "api"}], SERVICE, "/..", Refusal.SERVICE),
        ([{"service": SERVICE}], SERVICE, "/..", None),
        ([{"service": SERVICE}], "api", "", Refusal.API),
        ([{"service": SERVICE, "paths": ["/a"]}], SERVICE, "/a?b", None),
        ([{"service": SERVICE, "paths": ["/a"]}], SERVICE, "/b", Refusal.PATH),
        ([{"service": SERVICE, "paths": ["/a"]}], SERVICE, "/b/..", Refusal.AMBIGUOUS),
        ([{"service": SERVICE, "paths": ["/a"]}], OTHER, "/a", Refusal.SERVICE),
    ],
)
def test_a_refusal_says_what_the_key_lacks(
    access: list[Any] | None, service: str, target: str, refusal: Refusal | None
) -> None:
    assert scopes.refusal(scopes.store(scopes.parse(access)), service, target) is refusal


@pytest.mark.parametrize("access", [None, [{"service": SERVICE}], [{"service": SERVICE, "paths": ["/*"]}]])
def test_an_ambiguous_path_is_refused_to_every_key_of_a_service_with_reading_paths(access: list[Any] | None) -> None:
    stored = scopes.store(scopes.parse(access))
    assert scopes.refusal(stored, SERVICE, "/graphql", reading_paths='["/graphql"]') is None
    assert scopes.refusal(stored, SERVICE, "/x", reading_paths='["/graphql"]') is None
    assert scopes.refusal(stored, SERVICE, "/x/../graphql", reading_paths='["/graphql"]') is Refusal.AMBIGUOUS


@given(patterns_and_targets(), services())
def test_what_counts_as_reading_does_so_however_a_service_reads_it(
    asked: tuple[list[str], str], service: Service
) -> None:
    patterns, target = asked
    known = scopes.parse_patterns(patterns)
    if scopes.is_reading(json.dumps(known), target):
        assert service.is_within(target, patterns)


def test_nothing_counts_as_reading_without_reading_paths() -> None:
    assert not scopes.is_reading("[]", "/")
    assert scopes.is_reading('["/graphql"]', "/graphql?query=x")
    assert not scopes.is_reading('["/graphql"]', "/graphql/")
    assert not scopes.is_reading('["/graphql"]', "//graphql")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("api", "Write a list such as"),
        ({"service": "api"}, "Write a list such as"),
        (True, "Write a list such as"),
        (["api"], "Write each entry as"),
        ([{}], "Write each entry as"),
        ([{"service": None}], "Write each entry as"),
        ([{"service": ["api"]}], "Write each entry as"),
        ([{"service": "api", "methods": ["GET"]}], "no “methods”"),
        ([{"service": "API"}], "“API” is not a service"),
        ([{"service": ""}], "“” is not a service"),
        ([{"service": "svc_"}], "“svc_” is not a service"),
        ([{"service": "key_AAAAAAAAAAAAAAAA"}], "is not a service"),
        ([{"service": "svc_A\n"}], r"“svc_A\\n” is not a service"),
        ([{"service": "svc_٣"}], "is not a service"),
        ([{"service": "svc_" + "A" * 500}], "is not a service"),
        ([{"service": "api"}, {"service": "api"}], "List api once"),
        ([{"service": SERVICE, "paths": ["/a"]}, {"service": SERVICE}], f"List {SERVICE} once"),
        ([{"service": "api", "paths": ["/v2"]}], "api takes no paths"),
        ([{"service": SERVICE, "paths": []}], "leave paths out for the whole service"),
        ([{"service": SERVICE, "paths": None}], f"{SERVICE}: Write a list of paths"),
        ([{"service": SERVICE, "paths": "/a"}], f"{SERVICE}: Write a list of paths"),
        ([{"service": SERVICE, "paths": [1]}], "Write each path as text"),
        ([{"service": SERVICE, "paths": [f"/{n}" for n in range(51)]}], "at most 50 paths"),
        ([{"service": f"svc_{n}"} for n in range(51)], "at most 50 services"),
        ([{"service": f"svc_{n}", "paths": ["/" + "a" * 199]} for n in range(50)], "longer than 10,000 characters"),
    ],
)
def test_an_invalid_access_is_refused_with_a_message(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        scopes.parse(value)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("", "A path begins with a slash"),
        ("*", "A path begins with a slash"),
        ("reports", "A path begins with a slash"),
        (" /reports", "A path begins with a slash"),
        ("https://x/reports", "A path begins with a slash"),
        ("/reports*", "only at the end"),
        ("/*/reports", "only at the end"),
        ("/a/*/*", "only at the end"),
        ("/a/**", "only at the end"),
        ("/caf%C3%A9", "without percent-encoding"),
        ("/100%", "without percent-encoding"),
        ("/a//b", "is ambiguous"),
        ("/a//*", "is ambiguous"),
        ("//*", "is ambiguous"),
        ("/a/..", "is ambiguous"),
        ("/../*", "is ambiguous"),
        ("/./a", "is ambiguous"),
        ("/a;b", "is ambiguous"),
        ("/a?b=c", "is ambiguous"),
        ("/a#b", "is ambiguous"),
        ("/a\\b", "is ambiguous"),
        ("/a\nb", r"“/a\\nb” is ambiguous"),
        ("/a\ud800", r"“/a\\ud800” is ambiguous"),
        ("/a／b", "is ambiguous"),
        ("/" + "a" * 200, "at most 200 characters"),
        ("/" + "\u0958" * 150, "at most 200 characters"),
    ],
)
def test_an_invalid_pattern_is_refused_with_a_message(pattern: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        scopes.parse_patterns([pattern])
    assert str(refusal.value).isprintable()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(SERVICE),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["service", "paths", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(anything)
def test_any_json_is_an_access_or_is_refused_with_a_message(value: Any) -> None:
    refusal = None
    try:
        access = scopes.parse(value)
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        assert scopes.load(scopes.store(access)) == access
    else:
        assert refusal.isprintable()


@pytest.mark.parametrize(
    ("texts", "access"),
    [
        (["api"], (Entry("api"),)),
        ([SERVICE], (Entry(SERVICE),)),
        ([f"{SERVICE}:/a,/b/*", "api"], (Entry(SERVICE, ("/a", "/b/*")), Entry("api"))),
        ([f"{SERVICE}:/a:b"], (Entry(SERVICE, ("/a:b",)),)),
    ],
)
def test_commands_write_an_access_as_one_option_a_service(texts: list[str], access: tuple[Entry, ...]) -> None:
    assert scopes.parse_options(texts) == access


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["none", "api"], "none” alone"),
        (["none", "none"], "none” alone"),
        (["everything"], "“everything” is not a service"),
        ([""], "“” is not a service"),
        ([f"{SERVICE}:"], "“” is not a path"),
        ([f"{SERVICE}:/a,"], "“” is not a path"),
        ([f"{SERVICE}:/a, /b"], "“ /b” is not a path"),
        ([f"{SERVICE}:/a", f"{SERVICE}:/b"], "once"),
        (["api:/v2"], "api takes no paths"),
    ],
)
def test_an_invalid_access_on_a_command_line_is_refused_with_a_message(texts: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        scopes.parse_options(texts)


def test_the_entry_of_a_service_is_none_in_everything_and_where_it_is_not_listed() -> None:
    stored = scopes.store(scopes.parse([{"service": OTHER}, {"service": SERVICE, "paths": ["/a"]}]))
    assert scopes.entry_of(stored, SERVICE) == scopes.Entry(SERVICE, ("/a",))
    assert scopes.entry_of(stored, "api") is None
    assert scopes.entry_of(None, SERVICE) is None
    assert scopes.entry_of("[]", SERVICE) is None


def test_a_stored_access_has_at_most_ten_thousand_characters() -> None:
    paths = ["/" + "a" * 180]
    value = [*({"service": f"svc_{number:016}", "paths": paths[:1]} for number in range(43))]
    value[-1]["paths"] = paths
    room = scopes.MAX_LENGTH - len(str(scopes.store(scopes.parse(value))))
    paths.append("/" + "b" * (room - len(',"/"')))
    assert len(str(scopes.store(scopes.parse(value)))) == scopes.MAX_LENGTH
    paths[-1] += "b"
    with pytest.raises(ValueError, match="longer than 10,000 characters"):
        scopes.parse(value)
