"""Compares responses, and the requests that were accepted, with the document at `/v2/openapi.json`.

The clients of `conftest` call `check` for everything they send to /v2, so every test of the API is a test of the
document. The validators are compiled once in each process. (Some tests mock `json`, so this reads with orjson.)
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import orjson

from atatus_dash.api.schema.document import document

#: Headers about the connection or about browsers, which every response has.
_UNDESCRIBED = {"content-type", "content-length", "vary", "x-content-type-options", "strict-transport-security"}
#: The methods that OpenAPI can name.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
#: The statuses that a request to an unknown path, or with an unknown method, can get.
_OF_UNKNOWN = {400, 401, 403, 404, 405, 411, 413, 429, 500, 503}


def check(
    response: Any, method: str, path: str, data: str | bytes = b"", content_type: str = "application/octet-stream"
) -> None:
    """Raise AssertionError for a response that the document doesn't describe, or a request that it refuses."""
    path = urlsplit(path).path
    operation = _operation(method, path)
    status = response.status_code
    about = f"{method} {path} {status}"
    if method == "OPTIONS" and status == 204:
        assert response["Allow"]
        return
    if operation is None:
        assert status in _OF_UNKNOWN, f"{about} is not described"
        _check_body(response, _ERROR_CONTENT, about, method)
        assert response["X-Request-ID"]
        return
    described = operation["responses"].get(str(status))
    assert described is not None, f"{about} is not among {list(operation['responses'])}"
    described = _resolved(described)
    _check_headers(response, described.get("headers", {}), about)
    _check_body(response, described.get("content", {}), about, method)
    if 200 <= status < 300 and content_type.partition(";")[0] == "application/json":
        _check_request(operation, data, about)


def _operation(method: str, path: str) -> Mapping[str, Any] | None:
    method = "get" if method == "HEAD" else method.lower()
    for pattern, item in _routes():
        if pattern.fullmatch(path) or pattern.fullmatch(path.removesuffix("/")):
            found: Mapping[str, Any] | None = item.get(method)
            return found
    return None


@cache
def _routes() -> list[tuple[re.Pattern[str], Mapping[str, Any]]]:
    """The paths as regular expressions, those without parameters first (OpenAPI 3.1, 4.8.8.2)."""
    paths: dict[str, Any] = document()["paths"]
    of_parameter = {"project_id": "[0-9A-Za-z_-]{1,64}", "path": ".*"}
    return [
        (
            re.compile(
                re.sub(r"\\{(\w+)\\}", lambda found: of_parameter.get(found[1], "[0-9A-Za-z_-]{1,64}"), re.escape(path))
            ),
            paths[path],
        )
        for path in sorted(paths, key=lambda path: "{" in path)
    ]


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    _, kind, name = schema["$ref"].removeprefix("#/").split("/")
    found: Mapping[str, Any] = document()["components"][kind][name]
    return found


_ERROR_CONTENT = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
}


def _check_headers(response: Any, described: Mapping[str, Any], about: str) -> None:
    headers = {name.lower(): _resolved(header) for name, header in described.items()}
    for name, value in response.headers.items():
        if name.lower() not in _UNDESCRIBED:
            assert name.lower() in headers, f"{about}: the header {name} is not described"
            schema = headers[name.lower()]["schema"]
            typed = int(value) if schema["type"] == "integer" else value
            assert _validator(json.dumps(schema)).is_valid(typed), f"{about}: {name}: {value} is not {schema}"
    missing = [name for name, header in headers.items() if header.get("required") and name not in response.headers]
    assert not missing, f"{about} has no {missing}"


def _check_body(response: Any, described: Mapping[str, Any], about: str, method: str) -> None:
    if method == "HEAD":
        return
    if not response.content:
        assert not described, f"{about} has no body"
        return
    media_type = response.headers["Content-Type"]
    assert media_type in described, f"{about}: {media_type} is not among {list(described)}"
    if "schema" in described[media_type]:
        _validate(described[media_type]["schema"], orjson.loads(response.content), about)


def _check_request(operation: Mapping[str, Any], data: str | bytes, about: str) -> None:
    described = operation.get("requestBody")
    # The latter reads the body only to find the key.
    if described is None or operation["operationId"] == "check_api_key_in_body":
        return
    try:
        value = orjson.loads(data.encode() if isinstance(data, str) else data.removeprefix(BOM_UTF8))
        if operation["operationId"] == "report_leaked_keys" and isinstance(value, list):  # GitHub's format
            return
    except orjson.JSONDecodeError:  # half of a surrogate pair, which Python reads
        return
    if isinstance(value, dict):
        value.pop("api_key", None)
    schema = described["content"]["application/json"]["schema"]
    _validate(schema, value, f"{about}: the request was accepted, but")


def _validate(schema: Mapping[str, Any], value: Any, about: str) -> None:
    validator = _validator(json.dumps(schema))
    if not validator.is_valid(value):
        errors = [
            f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)
        ]
        raise AssertionError(f"{about} does not match {schema}: {errors}")


@cache
def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(
        {"components": _strict_components(), **orjson.loads(schema)},
        validate_formats=True,
    )


@cache
def _strict_components() -> Any:
    """The components, without unknown fields in responses: clients have to accept these, but tests must not."""
    schemas = document()["components"]["schemas"]
    return {
        "schemas": {
            name: schema if name.endswith(("Request", "Changes")) else _strict(schema)
            for name, schema in schemas.items()
        }
    }


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _strict(value) for name, value in schema.items()}
    if "properties" in closed and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
