"""A call of the API as a program would write it, in curl, Python and JavaScript. Pure.

The page of a new key and the reference show the same text, and tests run it unchanged.
"""

import json
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, NamedTuple

#: The environment variable that holds the key in examples without one.
VARIABLE = "KEY"
#: The most characters of a line: a longer object or list is written over several lines.
WIDTH = 60


class Snippet(NamedTuple):
    #: `curl`, `python` or `javascript`, for ids and classes.
    language: str
    label: str
    text: str


class Call(NamedTuple):
    """`body` is sent as JSON unless it is None. `key` is None if `VARIABLE` has the key, and empty if none is sent."""

    method: str
    url: str
    key: str | None = None
    body: Any = None
    #: Further headers. A value is not encoded.
    headers: Mapping[str, str] = {}
    #: Whether the response has a body to print. Without one, its status is printed.
    has_answer: bool = True
    #: Texts that the reader has to replace, such as an example of an id.
    to_replace: Sequence[str] = ()

    @property
    def snippets(self) -> tuple[Snippet, ...]:
        return (
            Snippet("curl", "curl", self.curl),
            Snippet("python", "Python", self.python),
            Snippet("javascript", "JavaScript", self.javascript),
        )

    @property
    def curl(self) -> str:
        is_implied = self.method == ("GET" if self.body is None else "POST")
        options = [] if is_implied else [f"-X {self.method}"]
        if self.key != "":
            options.append(f'-H "X-API-KEY: {f"${VARIABLE}" if self.key is None else self.key}"')
        options += [f"-H {quote(f'{name}: {value}')}" for name, value in self._further_headers().items()]
        if self.body is not None:
            options.append(f"-d {quote(_written(self.body, _JSON, indent=2))}")
        return " \\\n  ".join([f"curl {'' if self.has_answer else '-i '}{quote(self.url)}", *options])

    @property
    def python(self) -> str:
        headers = [f'"{name}": {_JSON.text(value)}' for name, value in self.headers.items()]
        if self.key != "":
            value = f'os.environ["{VARIABLE}"]' if self.key is None else _JSON.text(self.key)
            headers.insert(0, f'"X-API-KEY": {value}')
        arguments = [_JSON.text(self.url)]
        if headers:
            arguments.append(f"headers={{{', '.join(headers)}}}")
        if self.body is not None:
            arguments.append(f"json={_written(self.body, _PYTHON, indent=4)}")
        lines = ["# pip install httpx", *(["import os", ""] if self.key is None else []), "import httpx", ""]
        lines += [f"response = httpx.{self.method.lower()}(", *(f"    {one}," for one in arguments), ")"]
        lines.append(f"print(response.{'json()' if self.has_answer else 'status_code'})")
        return "\n".join(lines)

    @property
    def javascript(self) -> str:
        headers = [f'"{name}": {_JSON.text(value)}' for name, value in self._further_headers().items()]
        if self.key != "":
            headers.insert(0, f'"X-API-KEY": {f"process.env.{VARIABLE}" if self.key is None else _JSON.text(self.key)}')
        options = [] if self.method == "GET" else [f'method: "{self.method}"']
        if headers:
            options.append(f"headers: {{ {', '.join(headers)} }}")
        if self.body is not None:
            options.append(f"body: JSON.stringify({_written(self.body, _JSON, indent=2)})")
        answer = "response.json()" if self.has_answer else "response.status"
        lines = [f"  {one}," for one in options]
        head, tail = (f"fetch({_JSON.text(self.url)}, {{", "})") if lines else (f"fetch({_JSON.text(self.url)})", "")
        call = "\n".join(filter(None, [head, *lines, tail]))
        return f"{call}\n  .then((response) => {answer})\n  .then(console.log);"

    def _further_headers(self) -> dict[str, str]:
        return {**({} if self.body is None else {"Content-Type": "application/json"}), **self.headers}


def as_json(value: Any) -> str:
    """JSON for people: an object or a list is written in one line if it fits."""
    return _written(value, _JSON)


class _Language(NamedTuple):
    words: Mapping[Any, str]
    #: Characters by which a nested line is indented more.
    step: int

    def text(self, value: Any) -> str:
        """A string, number or word. JSON's escapes mean the same in Python and JavaScript."""
        if value is None or isinstance(value, bool):
            return self.words[value]
        return json.dumps(value, ensure_ascii=False)


_JSON = _Language({None: "null", True: "true", False: "false"}, 2)
_PYTHON = _Language({None: "None", True: "True", False: "False"}, 4)


def _written(value: Any, language: _Language, indent: int = 0) -> str:
    """The value as a literal. Its first line is already indented, by `indent` characters."""
    if isinstance(value, Mapping):
        brackets = "{}"
        parts = [(f"{json.dumps(name, ensure_ascii=False)}: ", one) for name, one in value.items()]
    elif isinstance(value, (list, tuple)):
        brackets, parts = "[]", [("", one) for one in value]
    else:
        return language.text(value)
    line = ", ".join(name + _written(one, language) for name, one in parts)
    if len(line) + indent <= WIDTH and "\n" not in line:
        return f"{brackets[0]}{line}{brackets[1]}"
    below = indent + language.step
    lines = ",\n".join(f"{' ' * below}{name}{_written(one, language, below)}" for name, one in parts)
    return f"{brackets[0]}\n{lines}\n{' ' * indent}{brackets[1]}"
