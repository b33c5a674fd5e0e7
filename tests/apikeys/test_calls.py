"""A call of the API as text for a shell, Python and JavaScript."""

import ast
import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys.calls import Call, as_json

URL = "https://keys.example.com/v2/projects"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def words_of(call: Call) -> list[str]:
    return [word for word in shlex.split(call.curl) if word != "\n"]  # a line that continues


def arguments_of(call: Call) -> dict[str, Any]:
    """The keyword arguments of the snippet's call of httpx."""
    [*_, request, _] = ast.parse(call.python).body
    assert isinstance(request, ast.Assign)
    assert isinstance(request.value, ast.Call)
    return {one.arg or "": ast.literal_eval(one.value) for one in request.value.keywords if one.arg == "json"}


@given(JSON)
def test_a_body_means_the_same_in_each_language(body: Any) -> None:
    call = Call("POST", URL, body=[body])

    assert json.loads(words_of(call)[-1]) == [body]
    assert arguments_of(call) == {"json": [body]}
    assert json.loads(call.javascript.partition("JSON.stringify(")[2].rpartition("),\n})")[0]) == [body]
    assert json.loads(as_json(body)) == body


def test_the_shell_gets_the_url_as_one_word() -> None:
    assert words_of(Call("GET", f"{URL}?q=a&b=$HOME"))[1] == f"{URL}?q=a&b=$HOME"


@pytest.mark.parametrize("key", ["atk_1", None, ""])
def test_the_key_is_written_or_read_from_the_variable_or_absent(key: str | None) -> None:
    sent = {"atk_1": "X-API-KEY: atk_1", None: "X-API-KEY: $KEY", "": None}[key]
    call = Call("GET", URL, key=key)

    assert (sent in words_of(call)) if sent else ("-H" not in words_of(call))
    assert ("import os" in call.python) == ("process.env.KEY" in call.javascript) == (key is None)
    assert all(("X-API-KEY" in snippet.text) == (key != "") for snippet in call.snippets)


def test_curl_names_a_method_that_it_would_not_choose() -> None:
    assert "-X" not in words_of(Call("POST", URL, body={}))
    assert words_of(Call("POST", URL))[2:4] == ["-X", "POST"]
    assert words_of(Call("PUT", URL, body={}))[2:4] == ["-X", "PUT"]


def test_a_call_without_a_body_in_its_answer_prints_the_status() -> None:
    call = Call("DELETE", URL, has_answer=False)

    assert "-i" in words_of(call)
    assert call.python.endswith("print(response.status_code)")
    assert "response.status" in call.javascript
