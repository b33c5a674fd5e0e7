"""Describes `/v2/verify`, which `atatus_dash.guard` answers without a view. Pure."""

from typing import Any

from apikeys.gate import Rule
from apikeys.guard.contracts import MAX_METHOD_LENGTH, MAX_TARGET_LENGTH, NAMED_BY, Contract
from apikeys.scopes import SERVICE

from . import components
from .components import JSON, Schema

TAG = "Authorization requests"
TAG_DESCRIPTION = (
    "Whether a request to one of the account's services may pass. Gateways ask at three addresses, one for each kind "
    "of gateway, and services without a gateway ask with JSON."
)

#: The methods that OpenAPI can name. Gateways may use any.
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")

_GATEWAYS = {
    Contract.AUTH_REQUEST: "nginx and HAProxy",
    Contract.FORWARD_AUTH: "Caddy, Traefik and APISIX",
    Contract.EXT_AUTHZ: "Envoy and the Gateway API",
}

_IDENTITY = ("X-Account", "X-Api-Key-Id", "X-Api-Key-Name", "X-Api-Key-Permission")
_LIMITS = ("RateLimit-Policy", "RateLimit")

_SERVICE = {
    "name": "service",
    "in": "path",
    "required": True,
    "description": "The id of a service.",
    "schema": {"type": "string", "pattern": f"^{SERVICE.pattern}$"},
    "example": "svc_7Qm2xV9tKc4LrBzW",
}
_PATH = {
    "name": "path",
    "in": "path",
    "required": True,
    "description": "The path of the original request as the client sent it: undecoded, with its slashes.",
    "schema": {"type": "string"},
    "example": "reports/today",
}


def _header(name: str, description: str, example: str, *, required: bool = True) -> Schema:
    schema = {"type": "string"}
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema,
        "example": example,
    }


_FORWARDED = [
    _header("X-Forwarded-For", "Ends with the address of the client, as the gateway sees it.", "203.0.113.7"),
    _header("X-Forwarded-Proto", "The scheme of the original request, for every hop: `https` or `wss`.", "https"),
]

#: The asker is known by its address. The key is that of the original request.
_SECURITY: list[dict[str, list[str]]] = [
    {"X-API-KEY": []},
    {"Bearer": []},
    {"Authorization": []},
    {},
]


def _refused(description: str, *names: str) -> Schema:
    return {
        "description": description,
        "headers": components.headers([*components.ALWAYS, "X-Guard-Message", *names]),
        "content": components.ERROR_CONTENT,
    }


RESPONSES: dict[str, Schema] = {
    "RequestMayPass": {
        "description": "The request may pass. The gateway replaces these headers in what it sends to the service.",
        "headers": components.headers([*components.ALWAYS, *_IDENTITY, *_LIMITS]),
    },
    "GuardUnauthorized": _refused(
        "No key, or it is unknown, expired, disabled, revoked or of another account.", "WWW-Authenticate"
    ),
    "GuardForbidden": _refused(
        "The key may not do this at this service. Or the sender may not ask about the service, or left out a header.",
        "WWW-Authenticate",
        *_LIMITS,
    ),
    "GuardTooManyRequests": _refused(
        "The key is over its rate limit, or one client sent too many unknown keys.", "Retry-After", *_LIMITS
    ),
    "GuardServiceUnavailable": _refused(
        "Maintenance, a fault of the server, or the database or Redis can't be reached.", "Retry-After", *_LIMITS
    ),
    "CheckBadRequest": _refused("The JSON is malformed, or a field is invalid: `Errors` names it."),
    "CheckLengthRequired": _refused("The body was sent in chunks, to a server that can't tell whether it is complete."),
    "CheckContentTooLarge": _refused("The body is larger than 64 KiB."),
    "CheckUnsupportedMediaType": _refused("The body is not `application/json`."),
}

_BY_STATUS = {
    "200": "RequestMayPass",
    "401": "GuardUnauthorized",
    "403": "GuardForbidden",
    "429": "GuardTooManyRequests",
    "503": "GuardServiceUnavailable",
}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/responses/{name}"}


def _by_gateway(contract: Contract) -> Schema:
    """The path item of a contract: every method, with the same meaning."""
    names = NAMED_BY.get(contract)
    parameters: list[Schema] = [_SERVICE]
    if names is None:
        source = "This request has the method, path and query of the original one."
        parameters.append(_PATH)
    else:
        source = f"Its method and target are in `{names[0]}` and `{names[1]}`."
        parameters += [
            {
                **_header(names[0], "The method of the original request.", "GET"),
                "schema": {"type": "string", "maxLength": MAX_METHOD_LENGTH},
            },
            {
                **_header(names[1], "The target of the original request, undecoded, with its query.", "/reports/today"),
                "schema": {"type": "string", "maxLength": MAX_TARGET_LENGTH},
            },
        ]
    name = f"authorize_by_{contract.value.replace('-', '_')}"
    operation = {
        "tags": [TAG],
        "summary": f"Ask whether a request may pass, from {_GATEWAYS[contract]}",
        "description": f"{source} A gateway may use any method here, and sends no body. Only the service's gateways "
        "and trusted proxies may ask.",
        "security": _SECURITY,
        "responses": {
            **{status: _reference(component) for status, component in _BY_STATUS.items()},
            **components.refusals([431]),
        },
    }
    first, *others = _METHODS
    same = {
        method: {**operation, "operationId": f"{name}_{method}", "x-same-as": name}
        for method in others  # one description would do, but OpenAPI 3.1 has no "any method"
    }
    return {"parameters": [*parameters, *_FORWARDED], first: {"operationId": name, **operation}, **same}


_CHECK: Schema = {
    "type": "object",
    "description": "The original request, which counts as HTTPS.",
    "properties": {
        "key": {"type": ["string", "null"], "description": "The key as the client sent it, without `Bearer`."},
        "method": {
            "description": "The method that the client used.",
            "type": "string",
            "maxLength": MAX_METHOD_LENGTH,
            "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        },
        "path": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_TARGET_LENGTH,
            "description": "The path and query as the client sent them, undecoded.",
        },
        "address": {
            "type": ["string", "null"],
            "description": "The client's IP address. Without it, a key that is bound to networks is refused.",
            "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"type": "null"}],
        },
    },
    "required": ["method", "path"],
    "additionalProperties": False,
}


def _check(dry_run: Schema) -> Schema:
    properties = {**_CHECK["properties"], "dry_run": {"type": "boolean", **dry_run}}
    return {**_CHECK, "properties": properties}


def schemas(account: Schema, api_key: Schema, rate_limit: Schema) -> dict[str, Schema]:
    """The components of checks. The arguments are references to those of `/v2`."""
    api = _check({"const": True, "description": "For the API itself, only dry runs are possible."})
    return {
        "CheckRequest": _check(
            {"default": False, "description": "Only return what would happen now. Only unknown keys are counted."}
        ),
        "APICheckRequest": {**api, "required": [*api["required"], "dry_run"]},
        "Check": {
            "type": "object",
            "properties": {
                "allowed": {"type": "boolean", "description": "Whether the request may pass."},
                "Message": {"type": "string", "description": "Why not. Only sent if the request may not pass."},
                "account": {"description": "The key's account.", "anyOf": [account, {"type": "null"}]},
                "api_key": {"description": "The client's key.", "anyOf": [api_key, {"type": "null"}]},
                "rate_limit": {
                    "description": "What is left of the key's limit.",
                    "anyOf": [rate_limit, {"type": "null"}],
                },
            },
            "required": ["allowed", "account", "api_key", "rate_limit"],
        },
        "DryRun": {
            "type": "object",
            "properties": {
                "allowed": {"type": "boolean", "description": "Whether the request may pass."},
                "status": {"type": "integer", "description": "The status that the request would get."},
                "message": {"type": "string", "description": "Why not, or empty."},
                "rules": {
                    "type": "array",
                    "description": "Every rule, in the order in which they are checked. The first that fails decides.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "rule": {"type": "string", "enum": [rule.value for rule in Rule]},
                            "passed": {
                                "type": ["boolean", "null"],
                                "description": "Null if the rule needs a key and there is none.",
                            },
                            "message": {"type": "string", "description": "Why it failed, or empty."},
                        },
                        "required": ["rule", "passed", "message"],
                    },
                },
            },
            "required": ["allowed", "status", "message", "rules"],
        },
    }


def _verdict(component: str, *names: str) -> Schema:
    """A response about the key, or an error about the check itself."""
    response = RESPONSES[component]
    check = {"$ref": "#/components/schemas/Check"}
    error = {"$ref": "#/components/schemas/Error"}
    return {
        **response,
        # Only errors have `X-Guard-Message`.
        "headers": {
            **response["headers"],
            "X-Guard-Message": {**components.HEADERS["X-Guard-Message"], "required": False},
        },
        "content": {**components.ERROR_CONTENT, JSON: {"schema": {"anyOf": [check, error]}}},
    }


def _body(name: str) -> Schema:
    return {"required": True, "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def _checks() -> dict[str, Schema]:
    errors = {
        "400": _reference("CheckBadRequest"),
        "411": _reference("CheckLengthRequired"),
        "413": _reference("CheckContentTooLarge"),
        "415": _reference("CheckUnsupportedMediaType"),
        **components.refusals([408, 431]),
    }
    dry_run = {"$ref": "#/components/schemas/DryRun"}
    service = {
        "operationId": "check_request",
        "tags": [TAG],
        "summary": "Ask whether a request may pass, from a service without a gateway",
        "description": "The asker is one of the service's gateways, or has an administrator key of the service's "
        "account in a header. The status is the one that the request should get, unless it is a dry run. A response "
        "without `allowed` is not about the client's key but about this request.",
        "security": _SECURITY,
        "requestBody": _body("CheckRequest"),
        "responses": {
            "200": {
                "description": "The request may pass, or the result of a dry run.",
                "headers": components.headers([*components.ALWAYS, *_LIMITS]),
                "content": {JSON: {"schema": {"anyOf": [{"$ref": "#/components/schemas/Check"}, dry_run]}}},
            },
            **{status: _verdict(name) for status, name in _BY_STATUS.items() if status != "200"},
            **errors,
        },
    }
    api = {
        "operationId": "check_api_request",
        "tags": [TAG],
        "summary": "Ask what would happen to a request to this API",
        "description": "A dry run for the API under `/v2`, about a key of the account. Administrators only: the "
        "asker's key is in a header and has administrator access.",
        "security": [scheme for scheme in _SECURITY if scheme],
        "requestBody": _body("APICheckRequest"),
        "responses": {
            "200": {
                "description": "What would happen.",
                "headers": components.headers(components.ALWAYS),
                "content": {JSON: {"schema": dry_run}},
            },
            **{status: _reference(_BY_STATUS[status]) for status in ("401", "429", "503")},
            **errors,
        },
        "x-administrators-only": True,
        "x-key-permission": None,
    }
    return {
        "/v2/verify/{service}": {"parameters": [_SERVICE], "post": service},
        "/v2/verify/api": {"post": api},
    }


def paths() -> dict[str, Any]:
    return {
        **_checks(),
        "/v2/verify/{service}/auth-request": _by_gateway(Contract.AUTH_REQUEST),
        "/v2/verify/{service}/forward-auth": _by_gateway(Contract.FORWARD_AUTH),
        "/v2/verify/{service}/ext-authz/{path}": _by_gateway(Contract.EXT_AUTHZ),
    }
