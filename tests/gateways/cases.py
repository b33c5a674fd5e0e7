"""One table of cases for every gateway: what a client sends, what it gets, and what the service receives.

If a gateway behaves differently, its exception (`Difference`) says why, with a link to the source.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .client import CLIENT

ELSEWHERE = "127.0.0.3"

ANYTHING = re.compile("(?s).+")
SECONDS = re.compile("[1-9][0-9]*")
OURS = re.compile("(?!forged).+")

AUTHENTICATE = 'Bearer realm="atatus"'
INVALID_TOKEN = f'{AUTHENTICATE}, error="invalid_token"'
INSUFFICIENT_SCOPE = f'{AUTHENTICATE}, error="insufficient_scope"'

IDENTITY = ("X-Account", "X-Api-Key-Id", "X-Api-Key-Name", "X-Api-Key-Permission", "X-Request-ID")

#: A pattern, an exact value, or None for a missing header.
Expected = str | re.Pattern[str] | None


@dataclass(frozen=True)
class Difference:
    """A gateway's different behaviour, and why. `expect` has the fields of the case that differ."""

    reason: str
    link: str = ""
    expect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    title: str
    method: str = "GET"
    target: str = "/reports/today"
    #: The key in X-API-KEY; None sends none. `{read}` in a header's value is that key's secret.
    key: str | None = "read"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    source: str = CLIENT
    #: How often the request is sent. The last response is checked.
    repeat: int = 1

    status: int = 200
    #: The guard's message, in its JSON.
    message: str | None = None
    answer: Mapping[str, Expected] = field(default_factory=dict)
    #: Headers that the service gets. It gets the request if, and only if, the status is 200.
    got: Mapping[str, Expected] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)

    def at(self, gateway: str) -> "Case":
        """The case with this gateway's exception applied."""
        return replace(self, **self.differences[gateway].expect) if gateway in self.differences else self


def refused(title: str, key: str | None, message: str, challenge: str | None = INVALID_TOKEN, **fields: Any) -> Case:
    status = fields.pop("status", 401)
    return Case(title, key=key, status=status, message=message, answer={"WWW-Authenticate": challenge}, **fields)


def forged(title: str, *headers: tuple[str, str], **fields: Any) -> Case:
    """A client forges the guard's headers. The service must get the guard's values, or the request must fail."""
    return Case(
        title,
        headers=headers,
        got={**dict.fromkeys(IDENTITY, OURS), "X-Account": "acme", "X-Api-Key-Permission": "read"},
        **fields,
    )


PERMISSIONS = (
    Case("A read key reads"),
    Case("A write key writes", method="POST", key="write", body=b"{}", headers=(("Content-Type", "application/json"),)),
    Case("The key can be sent as a Bearer token", key=None, headers=(("Authorization", "Bearer {read}"),)),
    refused(
        "A read key does not write",
        "read",
        "This API key does not have the Write permission.",
        INSUFFICIENT_SCOPE,
        method="POST",
        body=b"{}",
        status=403,
    ),
    refused("A key with paths has no access to other paths", "reports", "This API key has no access to this path.",
            None, target="/admin", status=403),
    Case("A key with paths has access to them", key="reports"),
    refused("A key for other services has no access", "elsewhere", "This API key has no access to this service.",
            None, status=403),
)  # fmt: skip

ERRORS = (
    refused("No key", None, "API key is required!", AUTHENTICATE),
    refused("Another account's key", "stranger", "API key is invalid!"),
    refused("A revoked key", "revoked", "API key has been revoked!"),
    refused("An expired key", "expired", "API key has expired!"),
    refused("A disabled key", "disabled", "API key is disabled!"),
    refused("An unknown key", None, "API key is invalid!", headers=(("X-API-KEY", "atk_" + "0" * 36),)),
    refused("An ambiguous key is 403", "read", "Send the API key once, and in one place only.", None,
            headers=(("Authorization", "Bearer {write}"),), status=403),
    Case(
        "A key over its limit gets 429 with Retry-After",
        key="twice",
        repeat=2,
        status=429,
        message="Too many requests. Please slow down.",
        answer={"Retry-After": SECONDS, "RateLimit": re.compile(r'"default";r=0;t=\d+')},
    ),
    Case(
        "RateLimit headers reach the client",
        key="limited",
        answer={"RateLimit": re.compile(r'"default";r=\d+;t=\d+'), "RateLimit-Policy": '"default";q=2;w=86400'},
        differences={
            "traefik": Difference(
                "Only with errors: if a request may pass, Traefik sends these headers only to the service.",
                "https://github.com/traefik/traefik/issues/9951",
                {"answer": {"RateLimit": None, "RateLimit-Policy": None}},
            )
        },
    ),
)  # fmt: skip

IDENTITIES = (
    Case(
        "The service gets X-Account and the other headers",
        got={
            "X-Account": "acme",
            "X-Api-Key-Id": re.compile("key_.+"),
            "X-Api-Key-Name": "%C3%9Cn%C3%AF%2C%20key",
            "X-Api-Key-Permission": "read",
            "X-Request-ID": ANYTHING,
        },
    ),
    Case("The service does not get the key", got={"X-API-KEY": None, "Authorization": None}),
    Case(
        "The service does not get a key sent as a Bearer token",
        key=None,
        headers=(("Authorization", "Bearer {read}"),),
        got={"X-API-KEY": None, "Authorization": None},
    ),
    forged("A forged X-Account is replaced", ("X-Account", "forged"), ("X-Api-Key-Permission", "forged")),
    forged(
        "… in another case", ("x-aCCount", "forged"), ("X-API-KEY-ID", "forged"), ("x-api-key-permission", "forged")
    ),
    forged("… twice", ("X-Account", "forged"), ("X-Account", "forged2"), ("X-Api-Key-Id", "forged")),
    forged("… empty", ("X-Account", ""), ("X-Api-Key-Name", "")),
    forged("… with underscores", ("X_Account", "forged"), ("X_Api-Key_Id", "forged"), ("x_api_key_name", "forged")),
    forged("… with other characters instead of hyphens", *((f"X{sign}Account", "forged") for sign in "!#$%&'*+.^`|~")),
    forged("… deleted by Connection", ("Connection", "X-Account, X-Api-Key-Id"), ("X-Account", "forged")),
    forged("… deleted by Connection, with close", ("Connection", "close, x-account, X-Api-Key-Name, X-Request-ID")),
)

FORGERIES = (
    *(
        refused(
            f"A forged method and target do not affect the check ({name})",
            "read",
            "This API key does not have the Write permission.",
            INSUFFICIENT_SCOPE,
            method="DELETE",
            status=403,
            headers=headers,
        )
        for name, headers in {
            "X-Original": (("X-Original-Method", "GET"), ("X-Original-URI", "/reports/a")),
            "X-Forwarded": (("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/reports/a")),
            "both": (
                ("X-Original-Method", "GET"),
                ("X-Forwarded-Method", "GET"),
                ("X-Original-URI", "/reports/a"),
                ("X-Forwarded-Uri", "/reports/a"),
            ),
            "underscores": (("X_Original_Method", "GET"), ("X_Forwarded_Method", "GET"), ("X_Forwarded-Method", "GET")),
            "Connection": (("Connection", "X-Original-Method, X-Forwarded-Method, X-Forwarded-Uri"),),
        }.items()
    ),
    refused(
        "A forged target does not give access to another path",
        "reports",
        "This API key has no access to this path.",
        None,
        target="/admin",
        status=403,
        headers=(
            ("X-Original-URI", "/reports/a"),
            ("X-Forwarded-Uri", "/reports/a"),
            ("X_Forwarded_Uri", "/reports/a"),
            ("X-Envoy-Original-Path", "/reports/a"),
            ("X-Original-Url", "/reports/a"),
            ("X-Rewrite-Url", "/reports/a"),
        ),
    ),
    Case(
        "Headers that override the method do not reach the service",
        headers=(
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-HTTP-Method", "DELETE"),
            ("X-Method-Override", "DELETE"),
            ("X_HTTP_Method_Override", "DELETE"),
        ),
        got=dict.fromkeys(
            ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override")
        ),
    ),
)  # fmt: skip

ADDRESSES = (
    Case("A key for the client's network passes", key="network"),
    refused("… and is refused from another network", "network", "This API key may not be used from this address.", None,
            source=ELSEWHERE, status=403),
    *(
        refused(
            f"A forged address is ignored ({name})",
            "network",
            "This API key may not be used from this address.",
            None,
            source=ELSEWHERE,
            status=403,
            headers=headers,
        )
        for name, headers in {
            "X-Forwarded-For": (("X-Forwarded-For", CLIENT),),
            "twice": (("X-Forwarded-For", CLIENT), ("X-Forwarded-For", CLIENT)),
            "underscores": (("X_Forwarded_For", CLIENT),),
            "X-Real-IP, Forwarded": (("X-Real-IP", CLIENT), ("Forwarded", f"for={CLIENT}")),
            "X-Envoy": (("X-Envoy-External-Address", CLIENT), ("X-Envoy-Internal", "true")),
        }.items()
    ),
    refused(
        "A forged address is ignored (Connection)",
        "network",
        "This API key may not be used from this address.",
        None,
        source=ELSEWHERE,
        status=403,
        headers=(("Connection", "X-Forwarded-For"), ("X-Forwarded-For", CLIENT)),
        differences={
            "envoy": Difference(
                "Envoy itself answers 400.",
                "https://github.com/envoyproxy/envoy/pull/8862",
                {"status": 400, "message": None},
            )
        },
    ),
    Case("A forged scheme is ignored", headers=(("X_Forwarded_Proto", "http"),)),
)  # fmt: skip

METHODS = (
    Case("HEAD reads", method="HEAD"),
    refused("A refused HEAD request has no body in its response", "revoked", "", method="HEAD"),
    refused("A preflight without a key is refused", None, "API key is required!", AUTHENTICATE, method="OPTIONS",
            headers=(("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT"))),
    Case("OPTIONS with a key passes", method="OPTIONS"),
    Case("PATCH needs Write, like all methods that do not count as reading", method="PATCH", key="write", body=b"[]"),
    Case("The query reaches the service", target="/reports/today?a=1&b=%2f..%2F&c"),
    Case("A body can be sent in chunks", method="POST", key="write", body=b"5\r\nhello\r\n0\r\n\r\n",
         headers=(("Transfer-Encoding", "chunked"),)),
)  # fmt: skip

CASES: Mapping[str, tuple[Case, ...]] = {
    "Permissions": PERMISSIONS,
    "Errors": ERRORS,
    "Identity": IDENTITIES,
    "Forged requests": FORGERIES,
    "Addresses": ADDRESSES,
    "Methods and bodies": METHODS,
}
