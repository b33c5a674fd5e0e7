"""Authorization requests: models of gateways with our configurations, and headers that clients forge."""

from typing import Any

from django.http import HttpResponse
from hypothesis import strategies as st

from apikeys.guard.contracts import Contract
from atatus_dash import guard

from . import openapi
from .answers import Answer

CLIENT = "203.0.113.7"
PROXY = "10.0.0.2"

Pairs = list[tuple[str, str]]


def cgi(pairs: Pairs) -> dict[str, str]:
    """Headers as `manage.py serve` passes them on: none with an underscore, and repeated headers joined."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        if "_" not in name:
            variable = "HTTP_" + name.upper().replace("-", "_")
            headers[variable] = f"{headers[variable]}, {value}" if variable in headers else value
    return headers


# Gateways with our configurations: the headers of an authorization request.


def without(headers: Pairs, *names: str) -> Pairs:
    """Headers, without those that the gateway sets itself and those with an underscore."""
    return [(name, value) for name, value in headers if name.lower() not in names and "_" not in name]


def only(headers: Pairs, *names: str) -> Pairs:
    return [(name, value) for name, value in headers if name.lower() in names]


def added_to(headers: Pairs, client: str) -> str:
    """`X-Forwarded-For` with one more hop."""
    return ", ".join([*(value for name, value in headers if name.lower() == "x-forwarded-for"), client])


def nginx(method: str, target: str, headers: Pairs, scheme: str, client: str) -> tuple[Pairs, str, str]:
    replaced = ("x-original-method", "x-original-uri", "x-forwarded-for", "x-forwarded-proto")
    return (
        [
            *without(headers, *replaced),
            ("X-Original-Method", method),
            ("X-Original-URI", target),
            ("X-Forwarded-For", added_to(headers, client)),
            ("X-Forwarded-Proto", scheme),
        ],
        "GET",
        "",
    )


def haproxy(method: str, target: str, headers: Pairs, scheme: str, client: str) -> tuple[Pairs, str, str]:
    return (
        [
            *only(headers, "x-api-key", "authorization", "x-forwarded-for"),
            ("X-Forwarded-For", client),  # a line of its own
            ("x-original-method", method),
            ("x-original-uri", target),
            ("x-forwarded-proto", scheme),
        ],
        "GET",
        "",
    )


def caddy(method: str, target: str, headers: Pairs, scheme: str, client: str) -> tuple[Pairs, str, str]:
    replaced = ("x-forwarded-method", "x-forwarded-uri", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
    return (
        [
            *without(headers, *replaced),
            ("X-Forwarded-Method", method),
            ("X-Forwarded-Uri", target),
            ("X-Forwarded-For", client),
            ("X-Forwarded-Proto", scheme),
        ],
        "GET",
        "",
    )


def traefik(method: str, target: str, headers: Pairs, scheme: str, client: str) -> tuple[Pairs, str, str]:
    return (
        [
            *only(headers, "x-api-key", "authorization", "origin"),
            ("X-Forwarded-Method", method),
            ("X-Forwarded-Uri", target),
            ("X-Forwarded-For", client),
            ("X-Forwarded-Proto", scheme),
        ],
        "GET",
        "",
    )


def envoy(method: str, target: str, headers: Pairs, scheme: str, client: str) -> tuple[Pairs, str, str]:
    return (
        [
            *only(headers, "x-api-key", "authorization", "content-type", "origin", "accept"),
            ("x-forwarded-for", added_to(headers, client)),
            ("x-forwarded-proto", scheme),
        ],
        method,
        target,
    )


GATEWAYS = {
    nginx: Contract.AUTH_REQUEST,
    haproxy: Contract.AUTH_REQUEST,
    caddy: Contract.FORWARD_AUTH,
    traefik: Contract.FORWARD_AUTH,
    envoy: Contract.EXT_AUTHZ,
}


forged = st.lists(
    st.tuples(
        st.builds(
            lambda name, separator, change: change(name.replace("-", separator)),
            st.sampled_from(
                [
                    "X-Original-Method",
                    "X-Original-URI",
                    "X-Original-URL",
                    "X-Forwarded-Method",
                    "X-Forwarded-Uri",
                    "X-Forwarded-For",
                    "X-Forwarded-Proto",
                    "X-Forwarded-Host",
                    "X-Real-IP",
                    "Forwarded",
                    "Host",
                    "X-HTTP-Method-Override",
                    "X-Rewrite-URL",
                    "X-Envoy-Original-Path",
                    "X-Account",
                    "Connection",
                ]
            ),
            st.sampled_from(["-", "_"]),
            st.sampled_from([str, str.lower, str.upper]),
        ),
        st.sampled_from(
            [
                "",
                "GET",
                "POST",
                "/",
                "/admin",
                "/reports/a",
                "http",
                "https",
                "https,https",
                PROXY,
                "127.0.0.1",
                f"{PROXY}, {PROXY}",
                "unknown",
                ",",
                "X-Forwarded-For",
                "a" * 9000,
                "\xff",
                "for=127.0.0.1;proto=https",
            ]
        ),
    ),
    max_size=8,
)


def ask(
    service: Any,
    method: str = "GET",
    target: str = "/reports",
    key: str | None = None,
    headers: Pairs | None = None,
    *,
    gateway: Any = nginx,
    peer: str = PROXY,
    scheme: str = "https",
    client: str = CLIENT,
    **environ: Any,
) -> Answer:
    """The authorization request that a gateway sends for a client's request."""
    sent = [*([("X-API-Key", key)] if key else []), *(headers or [])]
    pairs, own_method, own_target = gateway(method, target, sent, scheme, client)
    path = f"/v2/verify/{getattr(service, 'id', service)}/{GATEWAYS[gateway]}{own_target}"
    return send(own_method, path, cgi(pairs), peer=peer, **environ)


def send(
    method: str, target: str, headers: dict[str, str] | None = None, *, peer: str = PROXY, **environ: Any
) -> Answer:
    """A request with its raw target, as `manage.py serve` passes it on. Headers have CGI's form."""
    found = guard.answer(
        {
            "REQUEST_METHOD": method,
            "REQUEST_URI": target,
            "PATH_INFO": target.partition("?")[0],
            "REMOTE_ADDR": peer,
            "wsgi.url_scheme": "http",
            **(headers or {}),
            **environ,
        }
    )
    assert found is not None, "this is no authorization request"
    names = [name.lower() for name, _ in found.headers]
    assert len(names) == len(set(names)), "no header comes twice"
    assert all(value and value.isascii() and value.isprintable() for _, value in found.headers)
    if method in openapi.METHODS:  # the document can't describe other methods
        openapi.check(HttpResponse(found.body, status=found.status, headers=dict(found.headers)), method, target)
    return Answer(found.status, {name.lower(): value for name, value in found.headers}, found.body)
