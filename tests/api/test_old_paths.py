"""Older URLs of Atatus return JSON for any request, and never a page."""

import json

import pytest

from tests import factories
from tests.conftest import Browser, Cast, Program

pytestmark = pytest.mark.django_db

NOT_FOUND = "The item could not be found."
PATHS = ["/api", "/api/", "/api/deployments", "/api/v1/logs", "/api/browser/sourcemap", "/track/logs/ingest", "/track"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_an_old_path_is_a_404_with_its_message_in_both_spellings(db: None, path: str, method: str) -> None:
    response = Program().generic(method, path, headers={"Accept": "text/html", "X-Request-ID": "req-1"})
    assert (response.status_code, response["Content-Type"]) == (404, "application/json")
    assert json.loads(response.content) == {"Message": NOT_FOUND, "message": NOT_FOUND}
    assert response["X-Request-ID"] == "req-1"
    assert response["Cache-Control"] == "private, no-store"


def test_an_old_path_needs_no_csrf_token_and_reads_no_body(cast: Cast) -> None:
    client = Program(factories.make_key(cast.account).secret, enforce_csrf_checks=True)
    assert client.post("/api/deployments", {"admin_api_key": "x", "revision": "1"}).status_code == 404
    assert client.post("/track/logs/ingest", b"\x1f\x8b", content_type="application/gzip").status_code == 404


def test_an_old_path_returns_problem_json_if_the_client_accepts_it(db: None) -> None:
    response = Program().get("/api/deployments", headers={"Accept": "application/problem+json"})
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert response.json()["detail"] == NOT_FOUND


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["*/*", "application/problem+json"])
def test_an_old_path_over_plain_http_is_refused_as_v2_is(program: Program, path: str, accept: str) -> None:
    headers = {"Accept": accept, "X-Request-ID": "same"}
    old = program.post(path, {"a": 1}, plain_http=True, headers=headers)
    new = program.post("/v2", {"a": 1}, plain_http=True, headers=headers)
    assert old.status_code == 403
    assert (old.content, dict(old.headers)) == (new.content, dict(new.headers))


def test_a_path_that_only_begins_like_an_old_path_is_a_page(browser: Browser, db: None) -> None:
    for path in ("/apis", "/tracks", "/api-keys/"):
        assert browser.get(path)["Content-Type"].startswith("text/html")


def test_errors_of_v2_have_one_message(program: Program) -> None:
    assert program.get("/v2/nowhere").json() == {"Message": NOT_FOUND}
