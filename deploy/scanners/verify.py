"""Tells TruffleHog which of the API keys that it found still work.

    python3 verify.py https://keys.example.com

It listens on 127.0.0.1:8901, where trufflehog.yaml expects it, and asks `GET /v2` of that server with each key. The
key goes nowhere else: a text that only looks like a key fails its checksum and isn't sent, and no redirect is followed.
"""

import argparse
import re
import string
import zlib
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PORT = 8901
KEY = re.compile(r"\batk_[0-9A-Za-z]{36}\b", re.ASCII)
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
#: Bytes of a body. TruffleHog sends one key in each.
MAX_LENGTH = 64 * 1024


def has_checksum(key: str) -> bool:
    """Whether the last 6 characters are the CRC-32 of the others, in base 62."""
    value = 0
    for digit in key[-6:]:
        value = value * len(ALPHABET) + ALPHABET.index(digit)
    return value == zlib.crc32(key[:-6].encode())


def status_of(key: str, server: str) -> HTTPStatus:
    """The status for TruffleHog: 200 for a key that works, which it calls verified, 403 for another, 502 if unknown."""
    url = urlsplit(server)
    connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = connect(url.netloc, timeout=10)
    try:
        connection.request("GET", "/v2", headers={"X-API-KEY": key})
        answer = connection.getresponse().status
    except (OSError, HTTPException):
        return HTTPStatus.BAD_GATEWAY
    finally:
        connection.close()
    if answer == HTTPStatus.UNAUTHORIZED:
        return HTTPStatus.FORBIDDEN
    # 403 is a key that works from other addresses, or whose account is suspended or closed.
    return HTTPStatus.OK if answer in (HTTPStatus.OK, HTTPStatus.FORBIDDEN) else HTTPStatus.BAD_GATEWAY


class Handler(BaseHTTPRequestHandler):
    server_url: str

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        found = KEY.search(self.rfile.read(length).decode(errors="replace")) if length <= MAX_LENGTH else None
        is_key = found is not None and has_checksum(found.group())
        self.send_response(status_of(found.group(), self.server_url) if found and is_key else HTTPStatus.FORBIDDEN)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser(description="Tells TruffleHog which API keys still work.")
    parser.add_argument("server", help="such as https://keys.example.com")
    parser.add_argument("--port", type=int, default=PORT)
    arguments = parser.parse_args()
    url = urlsplit(arguments.server)
    if url.scheme != "https" and url.hostname not in ("localhost", "127.0.0.1"):
        parser.error("the server needs https://: a key that is sent over plain HTTP has leaked again")
    Handler.server_url = arguments.server
    ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
