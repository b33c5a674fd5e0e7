"""What many operations share: headers, errors, and the ways to send a key. Pure."""

from collections.abc import Iterable
from typing import Any

from accounts.policy import KeyPermission
from apikeys.credentials import FIELD
from apikeys.gate import CHALLENGE

from .. import problems
from ..errors import PROBLEM

Schema = dict[str, Any]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def _header(description: str, *, required: bool = False, **schema: Any) -> Schema:
    return {"description": description, "required": required, "schema": {"type": "string", **schema}}


HEADERS: dict[str, Schema] = {
    "X-Request-ID": _header(
        "The request's id, which is also in the server's log. A valid id that the client sends is kept.",
        required=True,
        pattern="^[0-9A-Za-z._:/+=-]{1,128}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015"],
    ),
    "Cache-Control": _header(
        "Responses must not be stored. Only this description may be stored, and is validated by its `ETag`.",
        enum=["private, no-store", "no-cache"],
    ),
    "RateLimit-Policy": _header(
        "The key's limit: `q` requests in `w` seconds (draft-ietf-httpapi-ratelimit-headers-11). Missing if the "
        "request was refused before it was counted, and while limits are unavailable.",
        pattern='^"default";q=[0-9]+;w=[0-9]+$',
        examples=['"default";q=600;w=60'],
    ),
    "RateLimit": _header(
        "The requests that remain (`r`) and the seconds until the window ends (`t`).",
        pattern='^"default";r=[0-9]+;t=[0-9]+$',
        examples=['"default";r=599;t=42'],
    ),
    "Deprecation": _header(
        "The time since which the key is deprecated, because it was rotated or expires within 7 days. In seconds since "
        "1970 (RFC 9745).",
        pattern="^@[0-9]+$",
        examples=["@1798761600"],
    ),
    "Sunset": _header(
        "When a key with `Deprecation` expires (RFC 8594).",
        pattern="^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$",
        examples=["Fri, 01 Jan 2027 00:00:00 GMT"],
    ),
    "ETag": _header(
        "The version of the returned content, for `If-None-Match`.", required=True, pattern='^(W/)?"[0-9a-f]{32}"$'
    ),
    "Location": _header("The new item's URL.", required=True, format="uri"),
    "Idempotent-Replayed": _header(
        "The response to an earlier request with this `Idempotency-Key`. Nothing was done again.", const="true"
    ),
    "Link": _header(
        "The next page (RFC 8288). Missing on the last one.",
        pattern='^<[^>]+>; rel="next"$',
        examples=['<https://keys.example.com/v2/projects?cursor=1764530381695197.prj_7Kd2Qm0aXb9LsTyW>; rel="next"'],
    ),
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": _header(
        "How to authenticate, and the error code of RFC 6750, section 3.1, if a key was sent.",
        pattern=f'^{CHALLENGE}(, error="(invalid_token|insufficient_scope)")?$',
        examples=[f'{CHALLENGE}, error="invalid_token"'],
    ),
    "X-Guard-Message": _header(
        "`Message` in ASCII, escaped as in JSON but without quotes, for gateways that replace bodies.",
        required=True,
        pattern="^[ -~]*$",
    ),
    "X-Account": _header("The slug of the key's account. `-` for a preflight.", required=True, minLength=1),
    "X-Api-Key-Id": _header("The key's id. `-` for a preflight.", required=True, minLength=1),
    "X-Api-Key-Name": _header(
        "The key's name, percent-encoded. `-` for a preflight.", required=True, pattern="^[0-9A-Za-z._~%-]+$"
    ),
    "X-Api-Key-Permission": _header(
        "The key's permission. `-` for a preflight.",
        required=True,
        enum=[*(permission.value for permission in KeyPermission), "-"],
    ),
}

#: On every response to a request that reached the API.
ALWAYS = ("X-Request-ID", "Cache-Control")
#: On responses to an accepted key.
OF_KEY = ("RateLimit-Policy", "RateLimit", "Deprecation", "Sunset")


def headers(names: Iterable[str]) -> dict[str, Schema]:
    """References to the headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_SENTENCES = {
    "type": "object",
    "description": "The fields, query parameters or `api_key` that are wrong, each with what to change.",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
}

SCHEMAS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "properties": {
            "Message": {"type": "string", "description": "What is wrong, in a sentence."},
            "Errors": _SENTENCES,
        },
        "required": ["Message"],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457, for clients that list `application/problem+json` in `Accept`.",
        "properties": {
            "type": {
                "type": "string",
                "format": "uri-reference",
                "description": "The URL of the type's description. Programs compare what follows the `#`.",
            },
            "title": {"type": "string", "description": "The type in words."},
            "status": {"type": "integer", "description": "The status code."},
            "detail": {"type": "string", "description": "What is wrong, in a sentence."},
            "instance": {"type": "string", "format": "uri", "description": "Contains the id in `X-Request-ID`."},
            "errors": _SENTENCES,
            "violated-policies": {
                "type": "array",
                "items": {"type": "string"},
                "description": f"Of the type `{problems.QUOTA_EXCEEDED.name}`: the policies in `RateLimit-Policy`.",
            },
        },
        "required": ["type", "title", "status", "detail", "instance"],
    },
}

ERROR_CONTENT = {
    JSON: {"schema": {"$ref": "#/components/schemas/Error"}},
    PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}},
}


def _refusal(status: int, *names: str) -> Schema:
    """The response with this status. Its description lists the types of problems that have it."""
    types = [problem for problem in problems.CATALOGUE if status in problem.statuses]
    return {
        "description": "\n".join(f"- `{problem.name}`: {problem.meaning}" for problem in types),
        "headers": headers([*ALWAYS, *names]),
        "content": ERROR_CONTENT,
    }


def _refusal_of_server(description: str) -> Schema:
    """The server itself refuses the request, before the API sees it. The response is JSON, whatever `Accept` says."""
    return {"description": description, "headers": headers(["X-Request-ID"]), "content": {JSON: ERROR_CONTENT[JSON]}}


#: Each error of the API by its status: the name of its component, and the response.
REFUSALS: dict[int, tuple[str, Schema]] = {
    400: ("BadRequest", _refusal(400, *OF_KEY)),
    401: ("Unauthorized", _refusal(401, "WWW-Authenticate", *OF_KEY)),
    403: ("Forbidden", _refusal(403, "WWW-Authenticate", *OF_KEY)),
    404: ("NotFound", _refusal(404, *OF_KEY)),
    409: ("Conflict", _refusal(409, "Retry-After", *OF_KEY)),
    408: ("RequestTimeout", _refusal_of_server("The body did not arrive completely within 30 seconds.")),
    411: ("LengthRequired", _refusal(411, *OF_KEY)),
    412: ("PreconditionFailed", _refusal(412, *OF_KEY)),
    413: ("ContentTooLarge", _refusal(413, *OF_KEY)),
    415: ("UnsupportedMediaType", _refusal(415, *OF_KEY)),
    422: ("UnprocessableContent", _refusal(422, *OF_KEY)),
    429: ("TooManyRequests", _refusal(429, "Retry-After", *OF_KEY)),
    431: (
        "RequestHeaderFieldsTooLarge",
        _refusal_of_server("The request's line and headers have more than 64 KiB, or there are more than 200 headers."),
    ),
    500: ("InternalServerError", _refusal(500, *OF_KEY)),
    503: ("ServiceUnavailable", _refusal(503, "Retry-After", *OF_KEY)),
}


def refusals(statuses: Iterable[int]) -> dict[str, Schema]:
    """References to the errors with these statuses, in order."""
    return {str(status): {"$ref": f"#/components/responses/{REFUSALS[status][0]}"} for status in sorted(statuses)}


SECURITY_SCHEMES: dict[str, Schema] = {
    "X-API-KEY": {"type": "apiKey", "in": "header", "name": "X-API-KEY", "description": "The key alone."},
    "Bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    "Authorization": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: KEY`, or `Authorization: token KEY`, as older clients send it.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "query",
        "name": FIELD,
        "description": "For clients that can't send headers: URLs are often logged. An account or a key may refuse it.",
    },
}

#: Any one of the ways to send a key.
ANY_SCHEME: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]

#: The key in a body. It is not a field of the item. If the key is elsewhere, this may have any value.
KEY_FIELD: Schema = {
    "writeOnly": True,
    "description": "The API key, if it is in neither a header nor the query string.",
}
