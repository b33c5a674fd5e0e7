"""A real Chromium against a real server, over plain HTTP on this machine."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.cache import cache
from django.http import FileResponse, HttpRequest, HttpResponse
from django.test import override_settings
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer
from pytest_django.plugin import DjangoDbBlocker

from tests.browser.launch import ARGS
from tests.conftest import Cast, SecureClient
from tests.factories import PASSWORD

# Playwright's event loop runs in the tests' thread, where the ORM would otherwise refuse to work.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

OVER_HTTP = {
    "ALLOW_HTTP": True,
    "SECURE_SSL_REDIRECT": False,
    "SESSION_COOKIE_SECURE": False,
    "CSRF_COOKIE_SECURE": False,
    "COOKIE_PREFIX": "",
    "SESSION_COOKIE_NAME": "sessionid",
    "CSRF_COOKIE_NAME": "csrftoken",
    "SECURE_HSTS_SECONDS": 0,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class CachedStaticFiles(StaticFilesHandler):
    """A window asks once for each file, as in installations, instead of asking at each page whether it changed."""

    def serve(self, request: HttpRequest) -> HttpResponse | FileResponse:
        response = super().serve(request)
        response["Cache-Control"] = "max-age=86400, immutable"
        return response


@pytest.fixture(scope="session")
def server(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveServer]:
    """One server for all tests.

    Chromium keeps connections open, whose threads would outlive a server of one test. The server is never completely
    stopped, because then these threads would lose the database.
    """
    with django_db_blocker.unblock(), override_settings(**OVER_HTTP):
        server = LiveServer("127.0.0.1", start=False)
        # The default would be another handler, because settings name the app of static files by its configuration.
        server.thread.static_handler = CachedStaticFiles
        server.start()
    yield server
    server.thread.terminate()


@pytest.fixture(scope="session")
def chromium(server: LiveServer) -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("REQUIRE_BROWSER is set, and there is no Chromium.")
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def site(server: LiveServer, transactional_db: None) -> Iterator[str]:
    """The URL of a server with the pages and the API."""
    cache.clear()
    with override_settings(**OVER_HTTP):
        yield server.url
    cache.clear()


class Visitor:
    """A person at a browser. Console messages and page errors are collected in `complaints`."""

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.site = site
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def goto(self, path: str) -> Any:
        return self.page.goto(self.site + path)

    def sign_in(self, email: str) -> "Visitor":
        """A visitor who is signed in by a request outside the browser. No page is opened yet."""
        client = SecureClient(HTTP_HOST=urlsplit(self.site).netloc)
        client.post("/auth/login/", {"login": email, "password": PASSWORD}, plain_http=True)
        session = client.cookies["sessionid"].value
        self.page.context.add_cookies([{"name": "sessionid", "value": session, "url": self.site}])
        return self

    def forgive(self, status: int) -> None:
        """Remove Chromium's message about a status that the test expects."""
        said = f"Failed to load resource: the server responded with a status of {status}"
        self.complaints = [text for text in self.complaints if not text.startswith(said)]


@pytest.fixture
def visit(chromium: Browser, site: str, cast: Cast) -> Iterator[Callable[..., Visitor]]:
    """Opens a browser window. At the end of the test, no window may have complaints."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def visit(**options: Any) -> Visitor:
        context = chromium.new_context(**{"base_url": site, "viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        visitors.append(Visitor(context, site))
        return visitors[-1]

    yield visit
    complaints = [text for visitor in visitors for text in visitor.complaints]
    for context in contexts:
        context.close()
    assert complaints == []
