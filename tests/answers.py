"""An answer over HTTP, as tests read it."""

import json
from http.client import HTTPResponse
from typing import Any, NamedTuple, Self


class Answer(NamedTuple):
    """The names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def read(cls, response: HTTPResponse) -> Self:
        """The answer that a connection got, with its whole body."""
        headers = {name.lower(): value for name, value in response.getheaders()}
        return cls(response.status, headers, response.read())

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["Message"])
