"""The patterns of `/v2/openapi.json` accept what the validators accept."""

import contextlib
import re
from collections.abc import Callable
from typing import Any
from unicodedata import normalize

import pytest
from django.core.exceptions import ValidationError
from django.utils.http import parse_etags
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from accounts import ids
from accounts.errors import Invalid
from accounts.validators import no_secret, one_line, plain_text
from apikeys import networks, rates, scopes, validators
from atatus_dash.api import idempotency
from atatus_dash.api.resources.projects import KeptIdField
from atatus_dash.api.schema import patterns
from tests.conftest import Program


def is_line(text: str) -> bool:
    stripped = text.strip()
    no_secret(stripped)
    one_line(stripped)
    return bool(stripped)


def is_text(text: str) -> bool:
    plain_text(text.strip())
    return bool(text.strip())


def is_path(text: str) -> bool:
    is_too_long = len(normalize("NFC", text)) > scopes.MAX_PATTERN_LENGTH  # no pattern limits lengths
    return is_too_long or validators.path_list([text]) == [normalize("NFC", text)]


def is_upstream(text: str) -> bool:
    validators.upstream(text)
    return bool(text)


def is_idempotency_key(text: str) -> bool:
    request = Request(APIRequestFactory().post("/v2/projects", headers={"Idempotency-Key": text}))
    try:
        return bool(idempotency.attempt(request, "key_1", {}))
    except Invalid:
        return False


#: Each pattern with the server's own check, and texts that the pattern refuses.
PATTERNS: dict[str, tuple[str, Callable[[str], Any], list[str]]] = {
    "line": (patterns.LINE, is_line, ["", " ", "a\nb", "a\tb", "\u202ea", "a\u2028b", "\U000e0001"]),
    "text": (patterns.TEXT, is_text, ["", " \n", "a\u202e", "a\0"]),
    "network": (
        patterns.NETWORK,
        networks.parse_network,
        ["", "10.0.0.256", "10.0.0.0/33", "10.0.0", "::1::", "1:2:3:4:5:6:7:8:9", "::/129", "10.0.0.01"],
    ),
    "path": (patterns.PATH, is_path, ["", "a", "/a/*/b", "/a*", "//", "/a//b", "/../a", "/.", "/a;b", "/a%20", "/a?b"]),
    "method": (patterns.METHOD, lambda text: validators.method_list([text]), ["", "-GET", "G T", "GET1", "A" * 21]),
    "rate": (f"^({rates.PATTERN.pattern})$", rates.parse, ["", "0/day", "1/week", "1", "1000000001/day"]),
    "upstream": (
        patterns.UPSTREAM,
        is_upstream,
        ["10.0.0.8", "ftp://a", "http://a b", "http://a?b", "http://a:65536"],
    ),
    "kept id": (KeptIdField.pattern, ids.is_kept_id, ["", "a" * 23, "g" * 24]),
    "idempotency key": (
        patterns.IDEMPOTENCY_KEY,
        is_idempotency_key,
        ["", '"', '""', "a b", '"a', '"a"b', "é", "x" * 256, f'"{"x" * 256}"', '"\\a"'],
    ),
    "entity tags": (patterns.ENTITY_TAGS, parse_etags, ["", "0", "W/", '"', "*, *", '"a,b"']),
}


@pytest.mark.parametrize("name", PATTERNS)
@given(data=st.data())
def test_the_server_accepts_what_a_pattern_matches(name: str, data: st.DataObject) -> None:
    pattern, accepts, _ = PATTERNS[name]
    text = data.draw(st.from_regex(re.compile(pattern.replace("$|", r"\Z|")[:-1] + r"\Z"), fullmatch=True))
    assert accepts(text)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_refuses_what_the_server_refuses(name: str) -> None:
    pattern, accepts, refused = PATTERNS[name]
    for text in refused:
        assert re.search(pattern, text) is None, text
        with contextlib.suppress(ValidationError, ValueError):
            assert not accepts(text), text


def test_the_pattern_of_paths_names_every_letter_that_means_a_separator_or_a_dot() -> None:
    changed = [letter for letter in map(chr, range(0x110000)) if normalize("NFKC", letter) != letter]
    for text in (f"/{letter}{after}" for letter in changed for after in ("", "a")):
        if re.search(patterns.PATH, text):
            assert is_path(text), ascii(text)


def test_a_number_is_refused_where_a_text_is_expected(administrator: Program) -> None:
    answer = administrator.send("POST", "/v2/projects", {"name": 0})
    assert answer.status_code == 400
    assert answer.json()["Errors"] == {"name": ["Send this as text, in quotes."]}
    answer = administrator.send("POST", "/v2/api-keys/revoke", {"ids": ["key_0", 1]})
    assert answer.status_code == 400
    assert answer.json()["Errors"] == {"ids": ["Send this as text, in quotes."]}
