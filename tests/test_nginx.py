"""The whole way in: deploy/nginx.conf in front of `manage.py serve`, over TLS and over plain HTTP."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .servers import ROOT, Answer, Installation, Server, free_port, install, serving, wait_for

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

SELF_SIGNED = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
)
FORM = {"Content_Type": "application/x-www-form-urlencoded"}

pytestmark = [
    pytest.mark.xdist_group("nginx"),
    pytest.mark.skipif(NGINX is None and "REQUIRE_NGINX" not in os.environ, reason="nginx is not installed"),
]


@dataclass
class Front:
    """nginx with its two ports and its logs, and the server behind it."""

    https_port: int
    http_port: int
    certificate: Path
    directory: Path
    server: Server
    installation: Installation

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None, plain_http: bool = False, **headers: str
    ) -> Answer:
        if plain_http:
            connection = http.client.HTTPConnection("localhost", self.http_port, timeout=10)
        else:
            context = ssl.create_default_context(cafile=str(self.certificate))
            connection = http.client.HTTPSConnection("localhost", self.https_port, timeout=10, context=context)
        with closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def logs(self) -> str:
        return "".join(path.read_text() for path in (*self.directory.glob("*.log"), self.server.log))


def _configure(directory: Path, https_port: int, http_port: int, app_port: int) -> Path:
    """deploy/nginx.conf as it is, but for its ports, its paths and the frame that /etc/nginx/nginx.conf would be."""
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    for shipped, ours in {
        "listen 443 ": f"listen 127.0.0.1:{https_port} ",
        "listen 80;": f"listen 127.0.0.1:{http_port};",
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{app_port};",
        "/etc/ssl/atatus-dash": str(directory),
        "/var/log/nginx": str(directory),
        "keys.example.com": "localhost",
    }.items():
        assert shipped in site
        site = site.replace(shipped, ours)
    site = re.sub(r"^ *listen \[::\].*$", "", site, flags=re.MULTILINE)
    (directory / "site.conf").write_text(site)
    places = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # whom else the test's directory is closed to
    frame = f"""
        {user}
        daemon off;
        pid {directory}/nginx.pid;
        error_log {directory}/nginx.error.log;
        events {{}}
        http {{ {places} include {directory}/site.conf; }}
    """
    path = directory / "nginx.conf"
    path.write_text(frame)
    return path


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("nginx")
    directory.chmod(0o755)
    certificate, private = directory / "fullchain.pem", directory / "privkey.pem"
    subprocess.run(
        [*SELF_SIGNED.split(), "-keyout", str(private), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    https_port, http_port = free_port(), free_port()
    installation = install(
        directory,
        ALLOWED_HOSTS="localhost",
        PUBLIC_URL=f"https://localhost:{https_port}",
        TRUSTED_PROXIES="127.0.0.1/32",
        FAILED_AUTH_LIMIT="1000/minute",
    )
    with serving(installation, ALLOWED_HOSTS="localhost 127.0.0.1") as server:
        configuration = _configure(directory, https_port, http_port, server.port)
        assert NGINX is not None
        nginx = subprocess.Popen([NGINX, "-c", str(configuration)], stderr=subprocess.PIPE)
        front = Front(https_port, http_port, certificate, directory, server, installation)
        try:
            wait_for(lambda: nginx.poll() is not None or _listens(https_port), "nginx")
            assert nginx.poll() is None, nginx.stderr and nginx.stderr.read().decode()
            yield front
        finally:
            nginx.terminate()
            nginx.wait(timeout=10)
            assert nginx.stderr is not None
            nginx.stderr.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _nginx_alone(front: Front, directory: Path, app_port: int) -> Iterator[Front]:
    """Another nginx with its logs in `directory`, in front of whatever listens on `app_port`."""
    https_port, http_port = free_port(), free_port()
    for name in ("fullchain.pem", "privkey.pem"):
        shutil.copy(front.directory / name, directory)
    assert NGINX is not None
    nginx = subprocess.Popen([NGINX, "-c", str(_configure(directory, https_port, http_port, app_port))])
    try:
        wait_for(lambda: _listens(https_port), "nginx")
        yield Front(https_port, http_port, front.certificate, directory, front.server, front.installation)
    finally:
        nginx.terminate()
        nginx.wait(timeout=10)


@pytest.fixture(scope="module")
def key(front: Front) -> str:
    return front.installation.key("Behind nginx", "read_write", "--rate-limit", "1000000/minute")


def _curl(front: Front, *arguments: str, write_out: str = "\n%{http_code}") -> str:
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
def test_curl_with_the_key_in_a_header(front: Front, key: str) -> None:
    status, body = _answer(_curl(front, "-H", f"X-API-KEY: {key}", f"https://localhost:{front.https_port}/v2"))
    assert (status, body["account"]["slug"]) == (200, "acme")


@needs_curl
def test_curl_with_the_key_in_the_query(front: Front, key: str) -> None:
    status, body = _answer(_curl(front, f"https://localhost:{front.https_port}/v2?api_key={key}"))
    assert (status, body["account"]["slug"]) == (200, "acme")


@needs_curl
def test_curl_with_the_key_in_the_body(front: Front, key: str) -> None:
    project = f"https://localhost:{front.https_port}/v2/projects"
    status, body = _answer(_curl(front, "-F", f"api_key={key}", "-F", "name=From curl", project))
    assert (status, body["name"]) == (201, "From curl")


@needs_curl
def test_http_2_is_spoken_where_the_client_does(front: Front, key: str) -> None:
    url = f"https://localhost:{front.https_port}/v2"
    version = _curl(front, "--http2", "--output", os.devnull, url, write_out="%{http_version}")
    assert version == "2"


def test_plain_http_gets_one_answer_whether_the_key_is_good_or_not(front: Front, key: str) -> None:
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


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/projects", "/v2/nowhere", "/v2?api_key=atk_x"])
def test_plain_http_to_the_api_is_never_redirected(front: Front, path: str) -> None:
    answer = front.ask(path, plain_http=True)
    assert (answer.status, answer.json) == (403, {"Message": "HTTPS is required."})
    assert "location" not in answer.headers


def test_plain_http_to_a_page_moves_to_https(front: Front) -> None:
    answer = front.ask("/auth/login/?next=/", plain_http=True)
    assert (answer.status, answer.headers["location"]) == (301, "https://localhost/auth/login/?next=/")


def test_without_nginx_a_page_over_plain_http_moves_to_the_public_address_as_well(front: Front) -> None:
    answer = front.server.get("/auth/login/", Host="localhost:1337")
    assert (answer.status, answer.headers["location"]) == (301, f"https://localhost:{front.https_port}/auth/login/")


@pytest.mark.parametrize("host", ["evil.example.com", "localhost.example.com", "127.0.0.1", "a.b"])
@pytest.mark.parametrize("path", ["/v2", "/v2/projects", "/auth/login/", "/healthz", "/static/css/theme.css"])
def test_a_host_that_is_not_ours_is_served_nothing(front: Front, host: str, path: str) -> None:
    answer = front.ask(path, Host=host)
    assert answer.status == 400
    assert answer.json["Message"] in ("This host is not served here.", "The request is malformed.")
    assert answer.headers["content-type"] == "application/json"
    assert "location" not in answer.headers


def test_a_host_that_is_not_ours_is_led_to_our_own_name_over_plain_http(front: Front) -> None:
    page = front.ask("/auth/login/", plain_http=True, Host="evil.example.com:1337")
    api = front.ask("/v2", plain_http=True, Host="evil.example.com:1337")
    assert (page.status, page.headers["location"]) == (301, "https://localhost/auth/login/")
    assert (api.status, api.json) == (403, {"Message": "HTTPS is required."})


@pytest.mark.parametrize("host", ["localhost", "localhost:1337", "LOCALHOST:80", "localhost.", "localhost:81@evil"])
def test_links_have_the_public_address_whatever_port_the_client_names(front: Front, key: str, host: str) -> None:
    made = front.ask("/v2/projects", method="POST", body=b"name=web", X_API_KEY=key, Host=host, **FORM)
    assert made.headers["location"] == f"https://localhost:{front.https_port}/v2/projects/{made.json['id']}"


def test_no_port_that_a_client_names_reaches_the_application(front: Front, key: str, tmp_path: Path) -> None:
    with (
        serving(front.installation, ALLOWED_HOSTS="localhost 127.0.0.1", PUBLIC_URL=None) as server,
        _nginx_alone(front, tmp_path, server.port) as alone,
    ):
        made = alone.ask("/v2/projects", method="POST", body=b"name=web", X_API_KEY=key, Host="localhost:1337", **FORM)
    assert made.headers["location"] == f"https://localhost/v2/projects/{made.json['id']}"


def test_a_forged_scheme_is_not_believed(front: Front, key: str) -> None:
    forged = front.ask("/v2", plain_http=True, X_API_KEY=key, X_Forwarded_Proto="https")
    assert forged.status == 403


def test_a_forged_scheme_with_underscores_is_not_believed(front: Front, key: str) -> None:
    connection = http.client.HTTPConnection("localhost", front.http_port, timeout=10)
    with closing(connection):
        connection.request("GET", "/v2", headers={"X-API-KEY": key, "X_Forwarded_Proto": "https"})
        assert connection.getresponse().status == 403


def test_a_forged_address_is_not_believed(front: Front) -> None:
    elsewhere = front.installation.key("Elsewhere", "read", "--allow", "203.0.113.0/24")
    forged = front.ask("/v2", X_API_KEY=elsewhere, X_Forwarded_For="203.0.113.7")
    assert (forged.status, forged.json) == (403, {"Message": "This API key may not be used from this address."})


def test_the_clients_own_address_is_passed_on(front: Front) -> None:
    here = front.installation.key("Here", "read", "--allow", "127.0.0.1/32")
    assert front.ask("/v2", X_API_KEY=here).status == 200


def test_a_request_id_is_kept_and_made_where_there_is_none(front: Front, key: str) -> None:
    name = uuid.uuid4().hex
    assert front.ask("/v2", X_API_KEY=key, X_Request_ID=name).headers["x-request-id"] == name
    assert re.fullmatch("[0-9a-f]{32}", front.ask("/v2", X_API_KEY=key).headers["x-request-id"])


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 3 * 1024 * 1024], ids=["said by us", "said by nginx"])
def test_a_body_that_is_too_large_is_413_in_json(front: Front, key: str, size: int) -> None:
    answer = front.ask("/v2/projects", method="POST", body=b" " * size, X_API_KEY=key, Content_Type="application/json")
    assert (answer.status, answer.json) == (413, {"Message": "The body is larger than 1 MiB."})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]


def test_large_bodies_as_fast_as_they_come_are_429_in_json_and_small_ones_pass(front: Front, key: str) -> None:
    large = json.dumps({"name": "x" * 10_000}).encode()
    json_type = {"X_API_KEY": key, "Content_Type": "application/json"}
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: front.ask("/v2/projects", method="POST", body=large, **json_type), range(200))
        )
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {400, 429}
    assert refused[0].json == {"Message": "Too many attempts. Please slow down."}
    assert refused[0].headers["retry-after"] == "1"
    assert front.ask("/v2", X_API_KEY=key).status == 200
    assert front.ask("/v2/leaked-keys", method="POST", body=b'{"credentials": ["x"]}', **json_type).status == 202
    time.sleep(7)  # for the tests after this one


def test_a_request_line_and_a_header_of_eight_kibibytes_pass(front: Front, key: str) -> None:
    query = "a" * (8192 - len("GET /v2?filler= HTTP/1.1"))
    assert front.ask(f"/v2?filler={query}", X_API_KEY=key, X_Filler="a" * (8192 - len("X-Filler: "))).status == 200


@pytest.mark.parametrize(
    "too_long", [{"path": "/v2?" + "a" * 20_000}, {"X_Filler": "a" * 20_000}], ids=["line", "header"]
)
def test_a_head_that_is_too_long_is_400_in_json(front: Front, too_long: dict[str, str]) -> None:
    answer = front.ask(**{"path": "/v2", **too_long})
    assert (answer.status, answer.json) == (400, {"Message": "The request is malformed."})


def test_plain_http_on_the_port_of_https_is_400_in_json(front: Front) -> None:
    connection = http.client.HTTPConnection("localhost", front.https_port, timeout=10)
    with closing(connection):
        connection.request("GET", "/v2")
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (400, {"Message": "The request is malformed."})


def test_a_page_is_drawn_and_signing_in_works(front: Front) -> None:
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


def test_no_key_reaches_a_log(front: Front, key: str) -> None:
    marker = uuid.uuid4().hex
    front.ask(f"/v2?api_key={key}", X_Request_ID=marker)
    front.ask(f"/v2?api_key={key}", plain_http=True, Referer=f"https://localhost/v2?api_key={key}")
    front.ask(f"/v2?api_key={key}&filler=" + "a" * 20_000)
    wait_for(lambda: marker in front.logs(), "the access log")
    # Mail goes to the console by default, and names keys by their masks, which end after four characters.
    assert not re.search("atk_[0-9A-Za-z]{5}", front.logs())


def test_no_link_of_a_mail_reaches_a_log(front: Front) -> None:
    front.ask("/invitations/tokentoken/")
    front.ask("/auth/password/reset/key/1-tokentoken/")
    front.ask("/auth/login/?next=/invitations/tokentoken/")

    wait_for(lambda: '"GET /auth/login/' in front.logs(), "the access log")
    assert '"GET /invitations/- HTTP' in front.logs()
    assert "tokentoken" not in front.logs()


def test_without_the_application_the_api_is_503_in_json_and_no_key_is_logged(
    front: Front, key: str, tmp_path: Path
) -> None:
    with _nginx_alone(front, tmp_path, app_port=free_port()) as alone:
        api, page = alone.ask(f"/v2?api_key={key}", X_Request_ID="lonely"), alone.ask("/auth/login/")
        plain = alone.ask(f"/v2?api_key={key}", plain_http=True)
    assert (api.status, api.json) == (503, {"Message": "We are out of reach. Please try again later."})
    assert (api.headers["retry-after"], api.headers["x-request-id"]) == ("5", "lonely")
    assert (page.status, page.headers["retry-after"], page.headers["content-type"]) == (503, "5", "text/plain")
    assert (plain.status, plain.json) == (403, {"Message": "HTTPS is required."})
    assert "atk_" not in "".join(path.read_text() for path in tmp_path.glob("*.log"))
