"""Odd targets: what the guard judges is what the service gets, byte for byte, or the request is refused.

They are in the same table. A target is its bytes, read as Latin-1. Each is asked for with a key for `/reports/*`, with
a key for everything, and at a service whose reading paths are `/reports/*`.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import quote, unquote

from apikeys import scopes

from .cases import But
from .client import Reply
from .conftest import Gateway, Running
from .trials import Trial

AMBIGUOUS_PATH = "This path is ambiguous."
NO_ACCESS = "This API key has no access to this path."
NO_WRITE = "This API key does not have the Write permission."


class Is(Enum):
    """What a target is to the guard, where `/reports/*` decides."""

    OPEN = auto()
    ELSEWHERE = auto()
    AMBIGUOUS = auto()
    #: No target of HTTP's: the gateway refuses it, whatever the key.
    NOTHING = auto()


@dataclass(frozen=True)
class Family:
    """Targets of a kind.

    At a gateway in `but`, `refuses` are those which it refuses itself, and `becomes` tells what guard and service both
    get in place of what was sent.
    """

    title: str
    kind: Is
    targets: tuple[str, ...]
    but: dict[str, But]
    becomes: Callable[[str], str]

    def at(self, gateway: str, target: str) -> str | None:
        """What guard and service get there; None if the gateway refuses it."""
        expect = self.but[gateway].expect if gateway in self.but else {}
        if self.kind is Is.NOTHING and "becomes" not in expect:
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
                    _is_refused(there, there.ask(method, target, key=key), target)
                continue
            kind = kind_of(passed)
            assert kind is self.kind or passed != target, target
            _judged(gateway, "GET", target, passed, key="reports", refusal=_REFUSALS[kind])
            _judged(gateway, "GET", target, passed, key="write", refusal=None)
            refusal = NO_WRITE if kind is Is.ELSEWHERE else _REFUSALS[kind]
            _judged(reading, "POST", target, passed, key="read", refusal=refusal)


_REFUSALS = {Is.OPEN: None, Is.ELSEWHERE: NO_ACCESS, Is.AMBIGUOUS: AMBIGUOUS_PATH}


def kind_of(target: str) -> Is:
    path = scopes.read_path(target)
    if path is None:
        return Is.AMBIGUOUS
    return Is.OPEN if path == "/reports" or path.startswith("/reports/") else Is.ELSEWHERE


def _is_refused(gateway: Gateway, reply: Reply, target: str) -> None:
    told = f"{target!r}: {reply}"
    assert reply.status == 501 or 400 <= reply.status < 500, told
    assert not gateway.relay.asked, told
    assert gateway.received() is None, told


def _judged(gateway: Gateway, method: str, target: str, passed: str, *, key: str, refusal: str | None) -> None:
    reply = gateway.ask(method, target, key=key)
    received = gateway.received()
    told = f"{target!r} with the key {key}: {reply}\n{received}\n{gateway.relay.asked}"
    assert gateway.relay.judged_target() == passed, told
    if refusal is None:
        assert reply.status == 200, told
        assert received is not None, told
        assert (received.method, received.target) == (method, passed), told
    else:
        assert (reply.status, reply.json["Message"]) == (403, refusal), told
        assert received is None, told


# What gateways make of a target -----------------------------------------------------------------


def _encoded(target: str) -> str:
    """As Go writes a path: what may not stand there raw is encoded, encodings are left as they are."""
    path, mark, query = target.partition("?")
    return quote(path.encode("latin-1"), safe="%/!$&'()*+,;=:@-._~") + mark + query


def _normalized(target: str) -> str:
    """As Traefik does: encodings in one form and only where they are needed, dots and double slashes resolved."""
    path, mark, query = _encoded(target).partition("?")
    path = re.sub("%(?:[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9]|2[DdEe]|5[Ff]|7[Ee])", lambda found: unquote(found[0]), path)
    path = re.sub("%..", lambda found: found[0].upper(), path)
    clean = posixpath.normpath(re.sub("/+", "/", path))
    return clean + ("/" if path.endswith("/") and clean != "/" else "") + mark + query


def _path_of(address: str) -> str:
    """The target that a whole address asks for."""
    rest = re.sub("^[a-z]+:(//[^/?]*)?", "", address, flags=re.IGNORECASE)
    return rest if rest.startswith("/") else f"/{rest}"


# The table --------------------------------------------------------------------------------------


def _refuses(name: str, *targets: str, reason: str = "", link: str = "") -> But:
    return But(reason or f"{name} itself answers 400.", link, {"refuses": targets})


def _family(title: str, kind: Is, *targets: str, becomes: Callable[[str], str] = str, **but: But) -> Family:
    """`but` is by gateway. An exception that names no target is about all of them."""
    exceptions = {
        name: But(one.reason, one.link, {"refuses": targets}) if one.expect.get("refuses") == () else one
        for name, one in but.items()
    }
    return Family(title, kind, targets, exceptions, becomes)


def _connect(gateway: Gateway, gateways: Running) -> None:
    _is_refused(gateway, gateway.ask("CONNECT", "api.example.com:443", key="write"), "CONNECT")


NORMALIZES = But(
    "Traefik writes encodings in one form, and resolves dots and double slashes, before it asks: guard and service get "
    "the same path.",
    "https://doc.traefik.io/traefik/security/request-path/",
    {"becomes": _normalized},
)
ENCODES = But(
    "Caddy encodes these before it asks: guard and service get the same path.",
    "https://pkg.go.dev/net/url#URL.EscapedPath",
    {"becomes": _encoded},
)

FAMILIES = (
    _family(
        "Plain paths",
        Is.OPEN,
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
        Is.ELSEWHERE,
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
        Is.OPEN,
        "/reports?",
        "/reports/a?x=/../b",
        "/reports/a?../..//%2f%zz",
        "/reports/a?x=%00&y=%",
        "/reports/a?b?c\\e",
    ),
    _family(
        "`;` in a query",
        Is.OPEN,
        "/reports/a?b=1;c=2",
        traefik=But(
            "Traefik writes `&` in its place before it asks: guard and service get the same query.",
            "https://doc.traefik.io/traefik/reference/install-configuration/entrypoints/",
            {"becomes": lambda target: target.replace(";", "&")},
        ),
    ),
    _family(
        "A raw `#`, or raw bytes beyond ASCII, in a query",
        Is.OPEN,
        "/reports/a?b#c",
        "/reports/a?b\xe9",
        envoy=_refuses("Envoy"),
        haproxy=_refuses("HAProxy"),
    ),
    _family(
        "`..` and `.`",
        Is.AMBIGUOUS,
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
            reason="nginx itself answers 400 to a path that leads above the root.",
        ),
        traefik=NORMALIZES,
    ),
    _family(
        "Dots encoded",
        Is.AMBIGUOUS,
        "/reports/%2e%2e/admin",
        "/reports/%2E%2E/admin",
        "/reports/.%2e/admin",
        "/reports/%2e/a",
        "/reports/%2e%2e",
        traefik=NORMALIZES,
    ),
    _family(
        "`//`",
        Is.AMBIGUOUS,
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
        Is.AMBIGUOUS,
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
        "Slashes and backslashes encoded",
        Is.AMBIGUOUS,
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
        Is.AMBIGUOUS,
        "/reports/..\\admin",
        "/reports\\a",
        "/reports/a\\..\\..\\admin",
        caddy=ENCODES,
        traefik=NORMALIZES,
    ),
    _family(
        "`?`, `#` and `%` encoded",
        Is.AMBIGUOUS,
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
        Is.AMBIGUOUS,
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
        "Control characters encoded",
        Is.AMBIGUOUS,
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
        "Control characters, spaces and tabs, raw",
        Is.NOTHING,
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
        Is.AMBIGUOUS,
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
        "Bytes that are no UTF-8, or overlong, encoded",
        Is.AMBIGUOUS,
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
        "Bytes beyond ASCII, raw",
        Is.AMBIGUOUS,
        "/reports/caf\xc3\xa9",
        "/reports/\xff",
        "/reports/\xc0\xae\xc0\xae/admin",
        caddy=ENCODES,
        traefik=NORMALIZES,
        envoy=_refuses("Envoy"),
        haproxy=_refuses("HAProxy"),
    ),
    _family(
        "Letters that Unicode takes for a slash or a dot",
        Is.AMBIGUOUS,
        "/reports/%e2%88%95admin",
        "/reports/%ef%bc%8f..%ef%bc%8fadmin",
        "/reports/%ef%bc%8e%ef%bc%8e/admin",
        "/reports/e%cc%81",
        traefik=NORMALIZES,
    ),
    _family(
        "Dots with spaces",
        Is.AMBIGUOUS,
        "/reports/..%20/admin",
        "/reports/%20../admin",
        "/reports/.%20/a",
        "/reports/%20",
        "/reports/%2e%20/a",
        "/reports/%c2%a0../admin",
        traefik=NORMALIZES,
    ),
    _family(
        "Letters that need not be encoded",
        Is.OPEN,
        "/reports/%41",
        "/reports/%7ea",
        "/reports/a%2Eb",
        "/reports/%e2%82%ac",
        traefik=NORMALIZES,
    ),
    _family(
        "Characters that should be encoded",
        Is.OPEN,
        '/reports/a"<>b',
        "/reports/a[]^`{|}b",
        caddy=ENCODES,
        traefik=NORMALIZES,
    ),
    _family(
        "8 KiB",
        Is.OPEN,
        "/reports/" + "a" * 8000,
        "/reports/" + "a/" * 4000,
        "/reports/" + "%20" * 2600 + "a",
        "/reports/a?" + "b" * 8000,
    ),
    _family(
        "A whole address asks for its path",
        Is.OPEN,
        "https://api.example.com/reports/a",
        "http://api.example.com/reports/a?https://b/",
        "HTTPS://api.example.com:443/reports/a",
        becomes=_path_of,
    ),
    _family(
        "… ambiguous as that may be",
        Is.AMBIGUOUS,
        "https://api.example.com/reports/../admin",
        "https://api.example.com//reports/a",
        becomes=_path_of,
        traefik=NORMALIZES,
    ),
    _family(
        "… or for `/`",
        Is.ELSEWHERE,
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
        "What is neither a path nor an address",
        Is.NOTHING,
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
