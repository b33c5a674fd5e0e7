"""Cases with more than one request: streams, uploads, WebSockets, an unavailable guard.

They are in the same table as `cases`. A trial is a function that gets the gateway and makes assertions. If a gateway
behaves differently, `differences` says why, and the trial checks the gateway's name.
"""

import base64
import hashlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from apikeys.guard import snippets

from .cases import AUTHENTICATE, ELSEWHERE, SECONDS, Difference
from .client import CLIENT, Reply
from .conftest import PROXY, Gateway, Running
from .upstream import PAUSE


@dataclass(frozen=True)
class Trial:
    title: str
    run: Callable[..., None]
    differences: Mapping[str, Difference] = field(default_factory=dict)


TRIALS: dict[str, list[Trial]] = {}


def trial(group: str, title: str, **differences: Difference) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(run: Callable[..., None]) -> Callable[..., None]:
        TRIALS.setdefault(group, []).append(Trial(title, run, differences))
        return run

    return register


# Bodies and connections -------------------------------------------------------------------------

BODIES = "Methods and bodies"


@trial(BODIES, "An upload of 50 MB passes without being buffered as a whole")
def upload(gateway: Gateway, gateways: Running) -> None:
    body = os.urandom(1024) * 1024 * 50
    reply = gateway.request("POST", "/reports/upload", body=body, key="write")
    assert reply.status == 200, gateway.log()
    assert (reply.json["length"], reply.json["digest"]) == (len(body), hashlib.sha256(body).hexdigest())


@trial(BODIES, "An upload of 50 MB in chunks passes")
def upload_in_chunks(gateway: Gateway, gateways: Running) -> None:
    body = b"".join(b"100000\r\n" + b"x" * 0x100000 + b"\r\n" for _ in range(50)) + b"0\r\n\r\n"
    reply = gateway.request("POST", "/reports/upload", (("Transfer-Encoding", "chunked"),), body, key="write")
    assert (reply.status, reply.json["length"]) == (200, 50 * 0x100000), gateway.log()


@trial(BODIES, "Expect: 100-continue is answered, and the body passes")
def expect(gateway: Gateway, gateways: Running) -> None:
    gateway.reset()
    with gateway.connected() as connection:
        connection.send(
            b"POST /reports/a HTTP/1.1\r\nHost: api.example.com\r\nX-API-KEY: "
            + gateway.key("write").encode()
            + b"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        interim = b""
        while not interim.endswith(b"\r\n\r\n"):
            interim += connection.socket.recv(1)
        assert interim.startswith(b"HTTP/1.1 100"), interim
        connection.send(b"hello")
        reply = connection.reply("POST")
    assert (reply.status, reply.json["length"]) == (200, 5)


@trial(BODIES, "A streamed response arrives part by part")
def stream(gateway: Gateway, gateways: Running) -> None:
    with gateway.connected() as connection:
        started = time.monotonic()
        connection.send(
            b"GET /reports/stream HTTP/1.1\r\nHost: api.example.com\r\nX-API-KEY: "
            + gateway.key("read").encode()
            + b"\r\n\r\n"
        )
        response = http.client.HTTPResponse(connection.socket, method="GET")
        response.begin()
        first = response.read1(100)
        took = time.monotonic() - started
        rest = response.read()
    assert (response.status, first, rest.count(b"data")) == (200, b"data: 0", 3)
    assert took < PAUSE * 3, "the first part arrived with the last"


@trial(BODIES, "HTTP/2")
def http_2(gateway: Gateway, gateways: Running) -> None:
    assert _over_http_2(gateway, "read") == ("2", "200")
    assert _over_http_2(gateway, "revoked") == ("2", "401")


def _over_http_2(gateway: Gateway, key: str) -> tuple[str, str]:
    command = ["curl", "--silent", "--show-error", "--http2", "--cacert", str(gateway.guard.certificate)]
    command += ["--resolve", f"api.example.com:{gateway.port}:127.0.0.1", "--interface", CLIENT, "--output", os.devnull]
    command += ["--header", f"X-API-KEY: {gateway.key(key)}", "--write-out", "%{http_version} %{http_code}"]
    command.append(f"https://api.example.com:{gateway.port}/reports/today")
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    version, _, status = done.stdout.partition(" ")
    return version, status


@trial(BODIES, "A WebSocket opens with a valid key, over HTTP/1.1")
def websocket(gateway: Gateway, gateways: Running) -> None:
    with gateway.connected() as connection:
        _handshake(gateway, connection, "read")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = connection.socket.recv(1)
            assert part, head
            head += part
        assert head.startswith(b"HTTP/1.1 101"), head
        for frame in (b"\x81\x05hello", os.urandom(5000)):
            connection.send(frame)
            echoed = b""
            while len(echoed) < len(frame):
                echoed += connection.socket.recv(65536)
            assert echoed == frame


@trial(BODIES, "A WebSocket does not open without a valid key")
def websocket_refused(gateway: Gateway, gateways: Running) -> None:
    gateway.reset()
    with gateway.connected() as connection:
        _handshake(gateway, connection, "revoked")
        assert connection.reply().status == 401
    assert gateway.received() is None


@trial(BODIES, "Only WebSockets are upgraded: the guard would not see requests after an upgrade to h2c")
def other_upgrades(gateway: Gateway, gateways: Running) -> None:
    for upgrade in ("h2c", "h2c-16", "TLS/1.0", "websocket, h2c", "h2c, websocket"):
        for connection in ("Upgrade", "Upgrade, HTTP2-Settings"):
            headers = (("Connection", connection), ("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"))
            reply = gateway.request("GET", "/reports/a", headers, key="read")
            received = gateway.received()
            assert reply.status in (200, 400, 403), (upgrade, reply)
            assert received is None or received.values("Upgrade") in ([], ["websocket"]), (upgrade, received)


def _handshake(gateway: Gateway, connection: Any, key: str) -> None:
    connection.send(
        (
            "GET /reports/socket HTTP/1.1\r\nHost: api.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"X-API-KEY: {gateway.key(key)}\r\n\r\n"
        ).encode()
    )


@trial(BODIES, "A connection stays open after an error, also for a request with a body")
def keep_alive(gateway: Gateway, gateways: Running) -> None:
    read, revoked = (("X-API-KEY", gateway.key("read")),), (("X-API-KEY", gateway.key("revoked")),)
    with gateway.connected() as connection:
        answers = [
            connection.request("GET", "/reports/a", read),
            connection.request("GET", "/reports/a", revoked),
            connection.request("POST", "/reports/a", revoked, b"x" * 1000),
            connection.request("GET", "/reports/a", read),
        ]
    assert [answer.status for answer in answers] == [200, 401, 401, 200]


@trial(BODIES, "Connections to the guard and to the service are kept open")
def kept_connections(gateway: Gateway, gateways: Running) -> None:
    with gateway.connected() as connection:
        headers = (("X-API-KEY", gateway.key("read")),)
        connection.request("GET", "/reports/a", headers)
        before = gateway.relay.accepted, gateway.upstream.accepted
        for _ in range(20):
            assert connection.request("GET", "/reports/a", headers).status == 200
        after = gateway.relay.accepted, gateway.upstream.accepted
    # A gateway keeps connections for each of its threads.
    assert after[0] - before[0] <= 4, "a new connection to the guard for each request"
    assert after[1] - before[1] <= 4, "a new connection to the service for each request"


@trial(BODIES, "A preflight passes if the service allows it, without a forged account")
def preflight(gateway: Gateway, gateways: Running) -> None:
    gateway = gateways.get(gateway.name, service=gateway.guard.browsers)
    headers = (("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT"), ("X-Account", "forged"))
    assert gateway.request("OPTIONS", "/reports/a", headers).status == 200
    received = gateway.received()
    assert received is not None
    assert {name: received.values(name) for name in ("X-Account", "X-Api-Key-Id")} == {
        "X-Account": ["-"],
        "X-Api-Key-Id": ["-"],
    }


# Keys in the query string -----------------------------------------------------------------------


@trial("Permissions", "A key in the query string works only if the service accepts it there")
def key_in_query(gateway: Gateway, gateways: Running) -> None:
    target = f"/reports/a?b=1&api_key={gateway.key('read')}"
    assert gateways.get(gateway.name, service=gateway.guard.browsers).request("GET", target).status == 200
    received = gateway.received()
    assert received is not None
    assert (received.target, received.values("X-Account")) == (target, ["acme"])
    assert gateway.request("POST", target).status == 401
    assert gateway.received() is None


# Two hops ---------------------------------------------------------------------------------------

HOPS = "Addresses"


@trial(HOPS, "A load balancer trusted by gateway and guard determines the client's address")
def two_hops(gateway: Gateway, gateways: Running) -> None:
    gateway = gateways.get(gateway.name, proxies=f"{PROXY}/32")

    def ask(forwarded: str, source: str) -> int:
        headers = (("X-Forwarded-For", forwarded), ("X-Forwarded-Proto", "https"))
        return gateway.request("GET", "/reports/a", headers, key="network", source=source).status

    assert ask(CLIENT, PROXY) == 200
    assert ask(f"203.0.113.7, {CLIENT}", PROXY) == 200
    assert ask(f"{CLIENT}, {ELSEWHERE}", PROXY) == 403
    assert ask(CLIENT, ELSEWHERE) == 403
    assert ask(f"{CLIENT}, {PROXY}", ELSEWHERE) == 403


# The guard or the service is unavailable --------------------------------------------------------

AWAY = "Failures"


@contextmanager
def _guard_hanging(gateway: Gateway) -> Iterator[None]:
    gateway.relay.hangs = True
    try:
        yield
    finally:
        gateway.relay.hangs = False
        gateway.relay.close_connections()


NOT_IN_JSON = Difference(
    "Traefik's own body, which can't be configured.", "https://github.com/traefik/traefik/issues/7141"
)


def _is_503(gateway: Gateway, reply: Reply) -> None:
    """Assert the gateway's own response."""
    assert reply.status == 503
    assert SECONDS.fullmatch(reply.header("Retry-After") or ""), reply.headers
    if gateway.name == "traefik":
        assert reply.body == b"no available server\n"
    else:
        assert reply.json["Message"]


@trial(
    AWAY,
    "While the guard is unavailable, requests get 503 with Retry-After, and pass as soon as it is back",
    traefik=NOT_IN_JSON,
)
def guard_away(gateway: Gateway, gateways: Running) -> None:
    with gateway.guard_away():
        _is_503(gateway, gateway.request("GET", "/reports/a", key="read"))
        assert gateway.received() is None
    assert gateway.request("GET", "/reports/a", key="read").status == 200


@trial(AWAY, "While the guard hangs, requests get 503 within six seconds", traefik=NOT_IN_JSON)
def guard_hangs(gateway: Gateway, gateways: Running) -> None:
    with _guard_hanging(gateway):
        started = time.monotonic()
        _is_503(gateway, gateway.request("GET", "/reports/a", key="read"))
        assert time.monotonic() - started < 6
        assert gateway.received() is None
    assert gateway.request("GET", "/reports/a", key="read").status == 200


@trial(AWAY, "`maintenance on` does not affect requests")
def maintenance(gateway: Gateway, gateways: Running) -> None:
    port = gateway.guard.server.port
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(PROXY, 0))) as proxy:
        proxy.request("GET", "/v2", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"})
        assert proxy.getresponse().status == 503, "the guard isn't in maintenance"
    assert gateway.request("GET", "/reports/a", key="read").status == 200


@trial(
    AWAY,
    "With `maintenance on --guard` requests get 503 with Retry-After",
    envoy=Difference(
        "Envoy's own message and seconds: Envoy passes on only the status of a 503.",
        "https://github.com/envoyproxy/envoy/issues/34005",
    ),
)
def maintenance_for_services(gateway: Gateway, gateways: Running) -> None:
    with gateway.guard.in_maintenance("--message", "Back at “noon”.", "--retry-after", "77"):
        reply = gateway.request("GET", "/reports/a", key="read")
        assert gateway.received() is None
    assert reply.status == 503
    assert reply.header("Retry-After") == ("5" if gateway.name == "envoy" else "77")
    sentence = (
        "The API key can't be checked at the moment. Please try again later."
        if gateway.name == "envoy"
        else "Back at “noon”."
    )
    assert reply.json == {"Message": sentence}
    assert gateway.request("GET", "/reports/a", key="read").status == 200


@trial(AWAY, "If the service is unavailable, the error is the gateway's, not the guard's")
def service_away(gateway: Gateway, gateways: Running) -> None:
    gateway.upstream.stop()
    try:
        reply = gateway.request("GET", "/reports/a", key="read")
    finally:
        gateway.upstream.start()
    assert reply.status in (502, 503, 504)
    assert b"API key" not in reply.body
    assert b'"Message"' not in reply.body


@trial(
    AWAY,
    "A service's host name may also have an address that does not respond",
    haproxy=Difference(
        "HAProxy resolves a name once, when it starts, and uses its first address: configure the address instead.",
        "https://docs.haproxy.org/2.6/configuration.html#5.2-init-addr",
    ),
)
def name_of_two_addresses(gateway: Gateway, gateways: Running) -> None:
    """`localhost` is ::1 too: by RFC 6761 for Envoy, and where the machine says so for the others."""
    upstream = snippets.addresses("upstream", f"http://localhost:{gateway.upstream.port}")
    gateway = gateways.get(gateway.name, **upstream)
    first = socket.getaddrinfo("localhost", gateway.upstream.port, type=socket.SOCK_STREAM)[0][0]
    expected = 503 if gateway.name == "haproxy" and first == socket.AF_INET6 else 200
    for _ in range(4):
        assert gateway.request("GET", "/reports/a", key="read").status == expected
        assert gateway.request("POST", "/reports/a", body=b"x" * 1_000_000, key="write").status == expected
        with gateway.connected() as connection:
            _handshake(gateway, connection, "read")
            assert connection.reply().status == (101 if expected == 200 else expected)


@trial(AWAY, "The service's own 401, 403, 429 and 500 reach the client unchanged")
def services_own_errors(gateway: Gateway, gateways: Running) -> None:
    for status in (401, 403, 404, 429, 500, 503):
        reply = gateway.request("GET", f"/reports/status/{status}", key="read")
        assert (reply.status, reply.header("X-Of-The-Service")) == (status, "yes")
        assert reply.json["target"] == f"/reports/status/{status}"
        assert reply.header("WWW-Authenticate") != AUTHENTICATE
