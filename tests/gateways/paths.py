"""Unusual targets: the guard checks exactly the target that the service gets, byte for byte, or the request is refused.

They are in the same table as `cases`. Targets are bytes, decoded as Latin-1. Each is requested with a key for
`/reports/*`, with a key for everything, and at a service whose reading paths are `/reports/*`.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import quote, unquote

from apikeys import scopes

from .cases import Difference
from .client import Reply
from .conftest import Gateway, Running
from .trials import Trial

AMBIGUOUS_PATH = "This path is ambiguous."
NO_ACCESS = "This API key has no access to this path."
NO_WRITE = "This API key does not have the Write permission."


class Kind(Enum):
    """How the guard reads a target, where `/reports/*` decides."""

    ALLOWED = auto()
    NO_ACCESS = auto()
    AMBIGUOUS = auto()
    #: Not a target in HTTP: the gateway refuses it with any key.
    INVALID = auto()


@dataclass(frozen=True)
class Family:
    """Targets of one kind.

    For a gateway in `differences`, `refuses` has the targets that it refuses itself, and `becomes` returns the target
    that guard and service both get.
    """

    title: str
    kind: Kind
    targets: tuple[str, ...]
    differences: dict[str, Difference]
    becomes: Callable[[str], str]

    def at(self, gateway: str, target: str) -> str | None:
        """What guard and service get at the gateway; None if the gateway refuses it."""
        expect = self.differences[gateway].expect if gateway in self.differences else {}
        if self.kind is Kind.INVALID and "becomes" not in expect:
            return None
        if target in expect.get("refuses", ()):
            return None
        become: Callable[[str], str] = expect.get("becomes", str)
        return become(self.becomes(target))

    def run(self, gateway: Gateway, gateways: Running) -> None:
        reading = gateways.get(gateway.name, service=gateway.guard.reading)
        for target in self.targets:
            passed = self.at(gateway.name, target)
            if passed is None:
                for there, key, method in (
                    (gateway, "reports", "GET"),
                    (gateway, "write", "GET"),
                    (reading, "read", "POST"),
                ):
                    _is_refused(there, there.request(method, target, key=key), target)
                continue
            kind = kind_of(passed)
            assert kind is self.kind or passed != target, target
            _check(gateway, "GET", target, passed, key="reports", refusal=_REFUSALS[kind])
            _check(gateway, "GET", target, passed, key="write", refusal=None)
            refusal = NO_WRITE if kind is Kind.NO_ACCESS else _REFUSALS[kind]
            _check(reading, "POST", target, passed, key="read", refusal=refusal)


_REFUSALS = {Kind.ALLOWED: None, Kind.NO_ACCESS: NO_ACCESS, Kind.AMBIGUOUS: AMBIGUOUS_PATH}


def kind_of(target: str) -> Kind:
    path = scopes.read_path(target)
    if path is None:
        return Kind.AMBIGUOUS
    return Kind.ALLOWED if path == "/reports" or path.startswith("/reports/") else Kind.NO_ACCESS


def _is_refused(gateway: Gateway, reply: Reply, target: str) -> None:
    details = f"{target!r}: {reply}"
    assert reply.status == 501 or 400 <= reply.status < 500, details
    assert not gateway.relay.requests, details
    assert gateway.received() is None, details


def _check(gateway: Gateway, method: str, target: str, passed: str, *, key: str, refusal: str | None) -> None:
    reply = gateway.request(method, target, key=key)
    received = gateway.received()
    details = f"{target!r} with the key {key}: {reply}\n{received}\n{gateway.relay.requests}"
    assert gateway.relay.checked_target() == passed, details
    if refusal is None:
        assert reply.status == 200, details
        assert received is not None, details
        assert (received.method, received.target) == (method, passed), details
    else:
        assert (reply.status, reply.json["Message"]) == (403, refusal), details
        assert received is None, details


# How gateways change a target --------------------------------------------------------------------


def _encoded(target: str) -> str:
    """As Go writes a path: characters that must be encoded are encoded, and existing encodings are kept."""
    path, mark, query = target.partition("?")
    return quote(path.encode("latin-1"), safe="%/!$&'()*+,;=:@-._~") + mark + query


def _normalized(target: str) -> str:
    """As Traefik does: encodings in one form and only where needed, dots and double slashes resolved."""
    path, mark, query = _encoded(target).partition("?")
    path = re.sub("%(?:[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9]|2[DdEe]|5[Ff]|7[Ee])", lambda found: unquote(found[0]), path)
    path = re.sub("%..", lambda found: found[0].upper(), path)
    clean = posixpath.normpath(re.sub("/+", "/", path))
    return clean + ("/" if path.endswith("/") and clean != "/" else "") + mark + query


def _path_of(address: str) -> str:
    """The target that a full URL asks for."""
    rest = re.sub("^[a-z]+:(//[^/?]*)?", "", address, flags=re.IGNORECASE)
    return rest if rest.startswith("/") else f"/{rest}"


# The table --------------------------------------------------------------------------------------


def _refuses(name: str, *targets: str, reason: str = "", link: str = "") -> Difference:
    return Difference(reason or f"{name} itself answers 400.", link, {"refuses": targets})


def _family(
    title: str, kind: Kind, *targets: str, becomes: Callable[[str], str] = str, **differences: Difference
) -> Family:
    """`differences` are by gateway. A difference without targets applies to all targets."""
    exceptions = {
        name: Difference(one.reason, one.link, {"refuses": targets}) if one.expect.get("refuses") == () else one
        for name, one in differences.items()
    }
    return Family(title, kind, targets, exceptions, becomes)


def _connect(gateway: Gateway, gateways: Running) -> None:
    _is_refused(gateway, gateway.request("CONNECT", "api.example.com:443", key="write"), "CONNECT")


NORMALIZES = Difference(
    "Traefik normalizes encodings, dots and double slashes before it asks the guard: guard and service get "
    "the same path.",
    "https://doc.traefik.io/traefik/security/request-path/",
    {"becomes": _normalized},
)
ENCODES = Difference(
    "Caddy encodes these characters before it asks the guard: guard and service get the same path.",
    "https://pkg.go.dev/net/url#URL.EscapedPath",
    {"becomes": _encoded},
)

FAMILIES = (
    _family(
        "Plain paths",
        Kind.ALLOWED,
        "/reports",
        "/reports/",
        "/reports/a%20b",
        "/reports/caf%C3%A9",
        "/reports/.hidden",
        "/reports/a..b",
        "/reports/..a",
        "/reports/a.",
        "/reports/a.%20",
        "/reports/~a-b_c!$&'()*+,=:@d",
        "/reports/a/auth-request",
    ),
    _family(
        "Other paths",
        Kind.NO_ACCESS,
        "/",
        "/REPORTS/a",
        "/reportsa",
        "/_guard",
        "/?/reports/a",
        "/?..",
        "/admin?/reports/a",
        "/v2/verify/svc_x/ext-authz/reports/a",
        nginx=_refuses(
            "nginx", "/_guard", reason="nginx itself answers 404 to `/_guard`, which its configuration uses."
        ),
    ),
    _family(
        "Queries that look like paths",
        Kind.ALLOWED,
        "/reports?",
        "/reports/a?x=/../b",
        "/reports/a?../..//%2f%zz",
        "/reports/a?x=%00&y=%",
        "/reports/a?b?c\\e",
    ),
    _family(
        "`;` in a query",
        Kind.ALLOWED,
        "/reports/a?b=1;c=2",
        traefik=Difference(
            "Traefik replaces it by `&` before it asks the guard: guard and service get the same query.",
            "https://doc.traefik.io/traefik/reference/install-configuration/entrypoints/",
            {"becomes": lambda target: target.replace(";", "&")},
        ),
    ),
    _family(
        "A raw `#`, or raw bytes beyond ASCII, in a query",
        Kind.ALLOWED,
        "/reports/a?b#c",
        "/reports/a?b\xe9",
        envoy=_refuses("Envoy"),
        haproxy=_refuses("HAProxy"),
    ),
    _family(
        "`..` and `.`",
        Kind.AMBIGUOUS,
        "/reports/../admin",
        "/reports/..",
        "/reports/../reports/a",
        "/reports/./a",
        "/reports/.",
        "/./reports/a",
        "/reports/...",
        "/.",
        "/..",
        "/../reports/a",
        "/reports/a/../../../../admin",
        nginx=_refuses(
            "nginx",
            "/..",
            "/../reports/a",
            "/reports/a/../../../../admin",
            reason="nginx itself answers 400 to a path above the root.",
        ),
        traefik=NORMALIZES,
    ),
    _family(
        "Encoded dots",
        Kind.AMBIGUOUS,
        "/reports/%2e%2e/admin",
        "/reports/%2E%2E/admin",
        "/reports/.%2e/admin",
        "/reports/%2e/a",
        "/reports/%2e%2e",
        traefik=NORMALIZES,
    ),
    _family(
        "`//`",
        Kind.AMBIGUOUS,
        "/reports//admin",
        "//reports/a",
        "/reports//",
        "///admin",
        "//admin/reports/a",
        "//other.example/reports/a",
        "/reports//../admin",
        traefik=NORMALIZES,
    ),
    _family(
        "`;`, raw and encoded",
        Kind.AMBIGUOUS,
        "/reports/;/../admin",
        "/reports/..;/admin",
        "/reports/a;x=1",
        "/reports;/a",
        "/;/reports/a",
        "/reports/%3b/../admin",
        "/reports/a%3bb",
        traefik=NORMALIZES,
    ),
    _family(
        "Encoded slashes and backslashes",
        Kind.AMBIGUOUS,
        "/reports/..%2fadmin",
        "/reports/..%2Fadmin",
        "/reports%2fa",
        "/reports/%2e%2e%2fadmin",
        "/reports/..%5cadmin",
        "/reports/a%5Cb",
        "/reports/%5c%2e%2e%5cadmin",
        traefik=NORMALIZES,
        envoy=_refuses("Envoy"),
    ),
    _family(
        "Backslashes",
        Kind.AMBIGUOUS,
        "/reports/..\\admin",
        "/reports\\a",
        "/reports/a\\..\\..\\admin",
        caddy=ENCODES,
        traefik=NORMALIZES,
    ),
    _family(
        "Encoded `?`, `#` and `%`",
        Kind.AMBIGUOUS,
        "/reports/a%3fb",
        "/reports/a%3Fb=/../",
        "/reports/a%23b",
        "/reports/a%25b",
        "/reports/..%252fadmin",
        "/reports/%252e%252e/admin",
        "/reports/%252e%252e%252fadmin",
        "/reports/a%25252fb",
        traefik=NORMALIZES,
    ),
    _family(
        "A raw `#`",
        Kind.AMBIGUOUS,
        "/reports/a#b",
        "/reports/../admin#/reports/a",
        "/admin#/reports",
        "/reports/#/../../admin",
        caddy=ENCODES,
        traefik=_refuses("Traefik"),
        envoy=_refuses("Envoy"),
        haproxy=_refuses("HAProxy"),
    ),
    _family(
        "Encoded control characters",
        Kind.AMBIGUOUS,
        "/reports/a%00b",
        "/reports/%00",
        "/reports/a%0ab",
        "/reports/a%0d%0aX-Account:%20forged",
        "/reports/a%09b",
        "/reports/a%7fb",
        "/reports/a%c2%85b",
        nginx=_refuses("nginx", "/reports/a%00b", "/reports/%00", reason="nginx itself answers 400 to `%00`."),
        traefik=NORMALIZES,
    ),
    _family(
        "Raw control characters, spaces and tabs",
        Kind.INVALID,
        "/reports/a\x00b",
        "/reports/a\x01b",
        "/reports/a\tb",
        "/reports/a\x0bb",
        "/reports/a b",
        "/reports/a?b c",
        "/reports/a  HTTP/1.1 b",
        " /reports/a /admin",
    ),
    _family(
        "`%` without two hexadecimal digits",
        Kind.AMBIGUOUS,
        "/reports/%zz",
        "/reports/%",
        "/reports/a%2",
        "/reports/%u002e%u002e/admin",
        "/reports/%u002fadmin",
        "/reports/%%32%65",
        nginx=_refuses("nginx"),
        caddy=_refuses("Caddy"),
        traefik=_refuses("Traefik"),
    ),
    _family(
        "Encoded bytes that are not UTF-8, or overlong",
        Kind.AMBIGUOUS,
        "/reports/%ff",
        "/reports/%e9",
        "/reports/%c0%ae%c0%ae/admin",
        "/reports/%c0%af..%c0%afadmin",
        "/reports/%e0%80%af",
        "/reports/%f0%80%80%af",
        "/reports/%ed%a0%80",
        traefik=NORMALIZES,
    ),
    _family(
        "Raw bytes beyond ASCII",
        Kind.AMBIGUOUS,
        "/reports/caf\xc3\xa9",
        "/reports/\xff",
        "/reports/\xc0\xae\xc0\xae/admin",
        caddy=ENCODES,
        traefik=NORMALIZES,
        envoy=_refuses("Envoy"),
        haproxy=_refuses("HAProxy"),
    ),
    _family(
        "Characters that Unicode normalizes to a slash or a dot",
        Kind.AMBIGUOUS,
        "/reports/%e2%88%95admin",
        "/reports/%ef%bc%8f..%ef%bc%8fadmin",
        "/reports/%ef%bc%8e%ef%bc%8e/admin",
        "/reports/e%cc%81",
        traefik=NORMALIZES,
    ),
    _family(
        "Dots with spaces",
        Kind.AMBIGUOUS,
        "/reports/..%20/admin",
        "/reports/%20../admin",
        "/reports/.%20/a",
        "/reports/%20",
        "/reports/%2e%20/a",
        "/reports/%c2%a0../admin",
        traefik=NORMALIZES,
    ),
    _family(
        "Encoded characters that need no encoding",
        Kind.ALLOWED,
        "/reports/%41",
        "/reports/%7ea",
        "/reports/a%2Eb",
        "/reports/%e2%82%ac",
        traefik=NORMALIZES,
    ),
    _family(
        "Raw characters that should be encoded",
        Kind.ALLOWED,
        '/reports/a"<>b',
        "/reports/a[]^`{|}b",
        caddy=ENCODES,
        traefik=NORMALIZES,
    ),
    _family(
        "8 KiB",
        Kind.ALLOWED,
        "/reports/" + "a" * 8000,
        "/reports/" + "a/" * 4000,
        "/reports/" + "%20" * 2600 + "a",
        "/reports/a?" + "b" * 8000,
    ),
    _family(
        "The path of a full URL is checked",
        Kind.ALLOWED,
        "https://api.example.com/reports/a",
        "http://api.example.com/reports/a?https://b/",
        "HTTPS://api.example.com:443/reports/a",
        becomes=_path_of,
    ),
    _family(
        "… also if it is ambiguous",
        Kind.AMBIGUOUS,
        "https://api.example.com/reports/../admin",
        "https://api.example.com//reports/a",
        becomes=_path_of,
        traefik=NORMALIZES,
    ),
    _family(
        "… or if it is empty, which is `/`",
        Kind.NO_ACCESS,
        "https://api.example.com",
        "https://api.example.com?/reports/a",
        becomes=_path_of,
        caddy=_refuses("Caddy"),
        envoy=_refuses(
            "Envoy", "https://api.example.com?/reports/a", reason="Envoy itself answers 404 if a query follows."
        ),
        haproxy=_refuses("HAProxy"),
    ),
    _family(
        "Targets that are neither a path nor a URL",
        Kind.INVALID,
        "*",
        "",
        "?a=1",
        "#/reports/a",
        "reports/a",
        "admin",
        "@other.example/reports/a",
        ":/reports/a",
        "api.example.com:443",
        "https:reports/a",
        "a:*",
        "a:http://127.0.0.1/healthz",
    ),
)

PATHS = (*FAMILIES, Trial("CONNECT opens no tunnel", _connect))
