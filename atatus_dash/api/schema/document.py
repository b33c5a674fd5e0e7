"""The whole description, generated once in each process."""

import hashlib
import threading
from functools import lru_cache
from typing import Any, cast

import orjson
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import normalize_result_object

from apikeys.credentials import FIELD

from . import components, examples, guard, operations
from .components import Schema

_INTRODUCTION = (
    "All requests need HTTPS and an API key, in one place only: in the header `X-API-KEY`, in `Authorization` with or "
    f"without `Bearer`, in the query string as `{FIELD}`, or in the body's field `{FIELD}`. Bodies are JSON or forms, "
    "which mean the same. Responses are JSON in UTF-8, with times in UTC and opaque ids. Paths work with a slash at "
    "their end too.\n\n"
    'Errors are `{"Message": "…"}`, with `"Errors"` for fields. A client that lists `application/problem+json` in '
    "`Accept` gets RFC 9457 instead. Unknown paths are 404, and unknown methods of a known path 405 with `Allow`."
)


def document() -> Schema:
    """The OpenAPI document, without the server's address. Nobody may change it."""
    with _ONE_AT_A_TIME:
        return _generated()


#: drf-spectacular keeps its view and its settings in shared objects, so only one thread may use it. Generating takes a
#: second.
_ONE_AT_A_TIME = threading.Lock()


@lru_cache(maxsize=1)
def _generated() -> Schema:
    generator = SchemaGenerator()
    paths: dict[str, Any] = normalize_result_object({**generator.parse(None, True), **guard.paths()})
    for path, item in paths.items():
        for operation in item.values():
            if "operationId" in operation:
                examples.add_to(operation, path)
    schemas: dict[str, Any] = generator.registry.build({})["schemas"]
    reference = "#/components/schemas/"
    checks = guard.schemas(*({"$ref": reference + name} for name in ("AccountRef", "Key", "RateLimit")))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Atatus Dash API",
            "version": "2",
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [],
        "tags": _tags(generator),
        "paths": paths,
        "components": {
            "schemas": normalize_result_object({**schemas, **checks, **components.SCHEMAS}),
            "headers": components.HEADERS,
            "responses": {**examples.of_refusals(), **guard.RESPONSES},
            "securitySchemes": components.SECURITY_SCHEMES,
        },
    }


def _tags(generator: SchemaGenerator) -> list[Schema]:
    """The tags in reading order, as the views' modules describe them."""
    described: dict[str, str] = {}
    for _, _, _, callback in cast(Any, generator).endpoints:
        described.setdefault(operations.tag(callback.cls), operations.tag_description(callback.cls))
    described[guard.TAG] = guard.TAG_DESCRIPTION
    order = [*dict.fromkeys(operations.TAGS.values())]
    order.insert(order.index("Leaked keys"), guard.TAG)
    return [{"name": name, "description": " ".join(described[name].split())} for name in order if name in described]


@lru_cache(maxsize=8)
def rendered(server: str) -> tuple[bytes, str]:
    """The document as JSON for clients of a server's address, such as `https://keys.example.com`, and its ETag."""
    content = orjson.dumps({**document(), "servers": [{"url": server}]})
    content = content.replace(examples.SERVER.encode(), server.encode())
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
