"""The whole path of a request: deploy/nginx.conf in front of `manage.py serve`, over TLS and over plain HTTP."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..servers import serving
from .conftest import WayIn
from .front import FORM, in_front_of, needs_nginx

pytestmark = needs_nginx


def _curl(front: WayIn, *arguments: str, write_out: str = "\n%{http_code}") -> str:
    command = ["curl", "--silent", "--show-error", "--cacert", str(front.certificate), "--write-out", write_out]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


def _answer(output: str) -> tuple[int, Any]:
    body, _, status = output.rpartition("\n")
    return int(status), json.loads(body)


needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and "REQUIRE_NGINX" not in os.environ, reason="curl is not installed"
)


@needs_curl
def test_curl_with_the_key_in_a_header(front: WayIn, key: str) -> None:
    status, body = _answer(_curl(front, "-H", f"X-API-KEY: {key}", f"https://localhost:{front.https_port}/v2"))
    assert (status, body["account"]["slug"]) == (200, "acme")


@needs_curl
def test_curl_with_the_key_in_the_query(front: WayIn, key: str) -> None:
    status, body = _answer(_curl(front, f"https://localhost:{front.https_port}/v2?api_key={key}"))
    assert (status, body["account"]["slug"]) == (200, "acme")


@needs_curl
def test_curl_with_the_key_in_the_body(front: WayIn, key: str) -> None:
    project = f"https://localhost:{front.https_port}/v2/projects"
    status, body = _answer(_curl(front, "-F", f"api_key={key}", "-F", "name=From curl", project))
    assert (status, body["name"]) == (201, "From curl")


@needs_curl
def test_http_2_works(front: WayIn, key: str) -> None:
    url = f"https://localhost:{front.https_port}/v2"
    version = _curl(front, "--http2", "--output", os.devnull, url, write_out="%{http_version}")
    assert version == "2"


def test_plain_http_gets_the_same_response_with_a_valid_or_invalid_key(front: WayIn, key: str) -> None:
    def raw(sent: str) -> bytes:
        with socket.create_connection(("127.0.0.1", front.http_port), timeout=10) as connection:
            connection.sendall(
                f"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: {sent}\r\nX-Request-ID: same\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return re.sub(rb"(?i)\r\ndate: [^\r]+", b"", answer)

    good, bad = raw(key), raw("atk_" + "0" * 36)
    assert good == bad
    assert good.startswith(b"HTTP/1.1 403 ")
    assert good.endswith(b'{"Message":"HTTPS is required."}')


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/", "/v2/projects", "/v2/nowhere", "/v2?api_key=atk_x", "/api", "/track/x"]
)
def test_plain_http_to_the_api_is_never_redirected(front: WayIn, path: str) -> None:
    answer = front.ask(path, plain_http=True)
    assert (answer.status, answer.json) == (403, {"Message": "HTTPS is required."})
    assert "location" not in answer.headers


def test_plain_http_to_a_page_redirects_to_https(front: WayIn) -> None:
    answer = front.ask("/auth/login/?next=/", plain_http=True)
    assert (answer.status, answer.headers["location"]) == (301, "https://localhost/auth/login/?next=/")


def test_without_nginx_a_page_over_plain_http_redirects_to_the_public_address(front: WayIn) -> None:
    answer = front.server.get("/auth/login/", Host="localhost:1337")
    assert (answer.status, answer.headers["location"]) == (301, f"https://localhost:{front.https_port}/auth/login/")


def test_an_unknown_host_is_redirected_to_our_name_over_plain_http(front: WayIn) -> None:
    page = front.ask("/auth/login/", plain_http=True, Host="evil.example.com:1337")
    api = front.ask("/v2", plain_http=True, Host="evil.example.com:1337")
    assert (page.status, page.headers["location"]) == (301, "https://localhost/auth/login/")
    assert (api.status, api.json) == (403, {"Message": "HTTPS is required."})


@pytest.mark.parametrize("host", ["localhost", "localhost:1337", "LOCALHOST:80", "localhost.", "localhost:81@evil"])
def test_links_have_the_public_address_with_any_port_of_the_client(front: WayIn, key: str, host: str) -> None:
    made = front.ask("/v2/projects", method="POST", body=b"name=web", X_API_KEY=key, Host=host, **FORM)
    assert made.headers["location"] == f"https://localhost:{front.https_port}/v2/projects/{made.json['id']}"


def test_the_port_in_a_clients_host_does_not_reach_the_application(front: WayIn, key: str, tmp_path: Path) -> None:
    with (
        serving(front.installation, ALLOWED_HOSTS="localhost 127.0.0.1", PUBLIC_URL=None) as server,
        in_front_of(tmp_path, server.port) as alone,
    ):
        made = alone.ask("/v2/projects", method="POST", body=b"name=web", X_API_KEY=key, Host="localhost:1337", **FORM)
    assert made.headers["location"] == f"https://localhost/v2/projects/{made.json['id']}"


GZIP = "gzip on; gzip_proxied any; gzip_types application/json; gzip_min_length 1;"


@pytest.mark.parametrize("options", ["", GZIP], ids=["plain", "gzip"])
def test_an_etag_protects_a_change_behind_nginx_even_if_it_compresses(
    front: WayIn, key: str, tmp_path: Path, options: str
) -> None:
    with in_front_of(tmp_path, front.server.port, options=options) as nginx:
        asked: dict[str, Any] = {"X_API_KEY": key, "Accept_Encoding": "gzip"}
        path = urlsplit(
            nginx.ask("/v2/projects", method="POST", body=b"name=web", **asked, **FORM).headers["location"]
        ).path
        first = nginx.ask(path, **asked)
        etag = first.headers["etag"]
        assert (etag.startswith("W/"), first.headers.get("content-encoding")) == (
            (True, "gzip") if options else (False, None)
        )
        known = nginx.ask(path, If_None_Match=etag, **asked)
        assert (known.status, known.body, known.headers["etag"].removeprefix("W/")) == (
            304,
            b"",
            etag.removeprefix("W/"),
        )
        changed, late = (
            nginx.ask(path, method="PATCH", body=b"name=site", If_Match=etag, **asked, **FORM).status for _ in range(2)
        )
        assert (changed, late) == (200, 412)


def test_an_idempotency_key_passes_nginx(front: WayIn, key: str) -> None:
    once: dict[str, Any] = {"X_API_KEY": key, "Idempotency_Key": '"behind-nginx"', **FORM}
    first, again = (front.ask("/v2/projects", method="POST", body=b"name=web", **once) for _ in range(2))
    assert (first.status, again.json, again.headers["idempotent-replayed"]) == (201, first.json, "true")


def test_a_forged_scheme_is_ignored(front: WayIn, key: str) -> None:
    forged = front.ask("/v2", plain_http=True, X_API_KEY=key, X_Forwarded_Proto="https")
    assert forged.status == 403


def test_a_forged_scheme_with_underscores_is_ignored(front: WayIn, key: str) -> None:
    connection = http.client.HTTPConnection("localhost", front.http_port, timeout=10)
    with closing(connection):
        connection.request("GET", "/v2", headers={"X-API-KEY": key, "X_Forwarded_Proto": "https"})
        assert connection.getresponse().status == 403


def test_a_forged_address_is_ignored(front: WayIn) -> None:
    elsewhere = front.installation.key("Elsewhere", "read", "--allow", "203.0.113.0/24")
    forged = front.ask("/v2", X_API_KEY=elsewhere, X_Forwarded_For="203.0.113.7")
    assert (forged.status, forged.json) == (403, {"Message": "This API key may not be used from this address."})


def test_the_clients_own_address_is_passed_on(front: WayIn) -> None:
    here = front.installation.key("Here", "read", "--allow", "127.0.0.1/32")
    assert front.ask("/v2", X_API_KEY=here).status == 200


def test_a_request_id_is_kept_or_created(front: WayIn, key: str) -> None:
    name = uuid.uuid4().hex
    assert front.ask("/v2", X_API_KEY=key, X_Request_ID=name).headers["x-request-id"] == name
    assert re.fullmatch("[0-9a-f]{32}", front.ask("/v2", X_API_KEY=key).headers["x-request-id"])


def test_a_request_line_and_a_header_of_eight_kibibytes_pass(front: WayIn, key: str) -> None:
    query = "a" * (8192 - len("GET /v2?filler= HTTP/1.1"))
    assert front.ask(f"/v2?filler={query}", X_API_KEY=key, X_Filler="a" * (8192 - len("X-Filler: "))).status == 200


def test_a_page_is_shown_and_signing_in_works(front: WayIn) -> None:
    page = front.ask("/auth/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body.decode())
    cookie = re.search(r"__Host-csrftoken=([^;]+)", page.headers["set-cookie"])
    assert token
    assert cookie
    origin = f"https://localhost:{front.https_port}"
    form = f"csrfmiddlewaretoken={token[1]}&login=owner@example.com&password=correct+horse+battery+staple"
    answer = front.ask(
        "/auth/login/",
        method="POST",
        body=form.encode(),
        Content_Type="application/x-www-form-urlencoded",
        Cookie=f"__Host-csrftoken={cookie[1]}",
        Origin=origin,
        Referer=f"{origin}/auth/login/",
    )
    assert (answer.status, answer.headers["location"]) == (302, "/")
    assert "Secure" in answer.headers["set-cookie"]
