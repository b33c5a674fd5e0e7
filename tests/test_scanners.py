"""The rules of deploy/scanners: their regular expressions, and the requests that TruffleHog sends about a key.

The scanners themselves don't run here. They are Go programs, and Python's `re` reads these expressions as RE2 does,
with `re.ASCII` for `\\b`.
"""

import json
import math
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apikeys import tokens

from .servers import ROOT, free_port, install, serving, wait_for

SCANNERS = ROOT / "deploy" / "scanners"
[GITLEAKS] = tomllib.loads((SCANNERS / "gitleaks.toml").read_text())["rules"]
[TRUFFLEHOG] = yaml.safe_load((SCANNERS / "trufflehog.yaml").read_text())["detectors"]
PATTERNS = {"gitleaks": GITLEAKS["regex"], "trufflehog": TRUFFLEHOG["regex"]["key"]}
#: Well-formed and with a correct checksum, but not keys of any server.
KEYS = [tokens.generate() for _ in range(3)]
KEY = KEYS[0]

FOUND = [
    KEY,
    f'API_KEY="{KEY}"',
    f"curl https://keys.example.com/v2?api_key={KEY}&limit=5",
    f"é{KEY}é",
    f"X-API-KEY:{KEY}\r\n",
    f"- {KEY}.",
    f"{KEY}\n{KEYS[1]}",
]
NOT_FOUND = [
    KEY[:-1],
    f"{KEY}z",
    f"{KEY}_",
    f"my{KEY}",
    f"_{KEY}",
    KEY.replace("atk_", "ATK_"),
    KEY.replace("atk_", "atk-"),
    f"{KEY[:20]}-{KEY[21:]}",
    f"{KEY[:20]}é{KEY[21:]}",
    tokens.mask(KEY),
    "atk_…",
    tokens.SCANNER_PATTERN,
]


def entropy(text: str) -> float:
    """Bits per character (Shannon), as gitleaks counts them."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_the_rules_have_the_pattern_of_keys(pattern: str) -> None:
    assert pattern == tokens.SCANNER_PATTERN


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
@pytest.mark.parametrize("text", FOUND, ids=range(len(FOUND)))
def test_a_key_is_found(pattern: str, text: str) -> None:
    assert re.findall(pattern, text, re.ASCII) == [key for key in KEYS if key in text]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
@pytest.mark.parametrize("text", NOT_FOUND, ids=range(len(NOT_FOUND)))
def test_what_is_no_key_is_not_found(pattern: str, text: str) -> None:
    assert re.findall(pattern, text, re.ASCII) == []


@pytest.mark.parametrize("keyword", [*GITLEAKS["keywords"], *TRUFFLEHOG["keywords"]])
def test_a_keyword_is_in_every_key_and_in_lower_case(keyword: str) -> None:
    assert KEY.startswith(keyword.lower())
    assert keyword == keyword.lower()


@given(st.builds(tokens.generate))
def test_every_key_has_the_entropy_that_gitleaks_needs(key: str) -> None:
    assert entropy(key) > GITLEAKS["entropy"]


@pytest.mark.parametrize("placeholder", ["atk_" + "x" * 36, "atk_" + "0" * 36, "atk_" + "your" * 9])
def test_a_placeholder_has_less_entropy(placeholder: str) -> None:
    assert re.search(GITLEAKS["regex"], placeholder)
    assert entropy(placeholder) < GITLEAKS["entropy"]


# TruffleHog -------------------------------------------------------------------------------------


@dataclass
class Verifier:
    """A running deploy/scanners/verify.py, and what TruffleHog sends it."""

    port: int

    def ask(self, body: bytes) -> int:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("POST", "/", body=body)
            response = connection.getresponse()
            assert response.read() == b""
            return response.status

    def status_of(self, key: str) -> int:
        return self.ask(json.dumps({TRUFFLEHOG["name"]: {"key": [key]}}).encode())

    def is_up(self) -> bool:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            try:
                connection.connect()
            except OSError:
                return False
        return True


@contextmanager
def verifying(server: str) -> Iterator[Verifier]:
    verifier = Verifier(free_port())
    command = [sys.executable, str(SCANNERS / "verify.py"), server, "--port", str(verifier.port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(verifier.is_up, "the verifier")
            yield verifier
        finally:
            process.terminate()


def test_trufflehog_asks_the_address_where_the_verifier_listens() -> None:
    [verify] = TRUFFLEHOG["verify"]
    port = re.search(r"^PORT = (\d+)$", (SCANNERS / "verify.py").read_text(), re.MULTILINE)
    assert port is not None
    assert verify == {"endpoint": f"http://127.0.0.1:{port[1]}/", "unsafe": True}


def test_a_running_server_says_which_keys_work(tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1", FAILED_AUTH_LIMIT="3/minute")
    root = installation.key("Root", "read_write", "--administrator")
    writer, revoked = installation.key("Writer", "write"), installation.key("Revoked")
    with serving(installation) as server, verifying(f"http://127.0.0.1:{server.port}") as verifier:
        fields = json.dumps({"name": "Elsewhere", "permission": "read", "allowed_networks": ["203.0.113.0/24"]})
        elsewhere = server.get("/v2/api-keys", root, "POST", fields, Content_Type="application/json").json["key"]
        server.get("/v2/leaked-keys", None, "POST", json.dumps([{"token": revoked}]), Content_Type="application/json")
        assert [verifier.status_of(key) for key in (root, writer, elsewhere)] == [200, 200, 200]
        assert [verifier.status_of(key) for key in (revoked, KEY)] == [403, 403]
        no_keys = [f"{KEY[:-6]}000000", *NOT_FOUND]
        assert {verifier.status_of(text) for text in no_keys * 2} == {403}  # a longer body than TruffleHog sends
        assert verifier.ask(b"x" * 70_000) == verifier.ask(b"\xff") == 403
        assert verifier.status_of(KEY) == 403
        assert verifier.status_of(KEY) == 502  # the server's 429: unknown
    assert verifier_without_server(server.port, root) == 502


def verifier_without_server(port: int, key: str) -> int:
    with verifying(f"http://127.0.0.1:{port}") as verifier:
        return verifier.status_of(key)


@pytest.mark.parametrize("status", [301, 302, 307, 404, 429, 500, 503])
def test_another_answer_leaves_a_key_unknown_and_no_redirect_is_followed(status: int) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['X-API-KEY']}")
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as stub:
        Thread(target=stub.serve_forever, daemon=True).start()
        with verifying(f"http://127.0.0.1:{stub.server_port}") as verifier:
            assert verifier.status_of(KEY) == 502
        stub.shutdown()
    assert asked == [f"/v2 {KEY}"]


@pytest.mark.parametrize("server", ["http://keys.example.com", "keys.example.com", "http://127.0.0.1.example.com"])
def test_the_verifier_sends_no_key_over_plain_http(server: str) -> None:
    command = [sys.executable, str(SCANNERS / "verify.py"), server]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert stopped.returncode == 2
    assert "https://" in stopped.stderr
