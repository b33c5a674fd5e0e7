"""Draws the pictures of README and docs anew, from the demonstration on a database of its own: `make screenshots`."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.launch import ARGS
from tests.servers import Installation, serving

TO = Path(__file__).resolve().parent.parent.parent / "docs" / "screenshots"

# Use as a month of it looks, so that the pictures show what the pages are for.
USE = """
import random
from datetime import timedelta
from django.utils import timezone
from apikeys.models import APIKey, KeyUsage
random.seed(7)
now = timezone.now()
for number, key in enumerate(APIKey.objects.order_by("name")):
    for days in range(30):
        asked, failed = random.randint(40, 90) * (3 - number % 3), random.choice([0, 0, 0, 2])
        KeyUsage.objects.create(
            api_key=key, day=(now - timedelta(days=days)).date(), requests=asked, succeeded=asked - failed,
            client_errors=failed, in_header=asked,
        )
    key.last_used_at, key.last_used_from = now - timedelta(minutes=4 + 50 * number), f"203.0.113.{7 + number}"
    key.expires_at = now + timedelta(days=5) if number == 1 else None
    key.save()
"""

PAGES = {"overview": "", "api-keys": "settings/api-keys/", "audit-log": "settings/audit-log/"}


def main() -> None:
    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder), {"ALLOW_HTTP": "1", "EMAIL_URL": "dummymail://"})
        installation.manage("migrate", "--verbosity", "0")
        password = installation.manage("demo").stdout.split("password ")[1].split()[0]
        installation.manage("shell", "--command", USE)
        with serving(installation) as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            _draw(context.new_page(), f"http://127.0.0.1:{server.port}", password)


def _draw(page: Page, address: str, password: str) -> None:
    page.goto(f"{address}/auth/login/")
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/accounts/acme/")
    for name, path in PAGES.items():
        page.goto(f"{address}/accounts/acme/{path}")
        page.screenshot(path=TO / f"{name}.png")
    page.goto(f"{address}/accounts/acme/settings/api-keys/")
    page.get_by_role("link", name="Deploys from CI").click()
    page.screenshot(path=TO / "api-key.png")


if __name__ == "__main__":
    main()
