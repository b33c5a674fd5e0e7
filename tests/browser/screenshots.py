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
from apikeys.models import APIKey
from tests import factories
random.seed(7)
now = timezone.now()
for number, key in enumerate(APIKey.objects.order_by("name")):
    for days in range(30):
        asked, failed = random.randint(40, 90) * (3 - number % 3), random.choice([0, 0, 0, 2])
        factories.make_usage(
            key, (now - timedelta(days=days)).date(), requests=asked, succeeded=asked - failed,
            client_errors=failed, in_header=asked,
        )
    key.last_used_at, key.last_used_from = now - timedelta(minutes=4 + 50 * number), f"203.0.113.{7 + number}"
    key.expires_at = now + timedelta(days=5) if number == 1 else None
    key.save()
    for place in range(3 - number):
        key.origins.create(
            origin=f"203.0.113.{7 + number + 10 * place}", requests=random.randint(90, 900),
            last_used_at=key.last_used_at - timedelta(hours=place), last_used_agent="curl/8.14.1",
        )
"""

PAGES = {
    "overview": "",
    "projects": "projects/",
    "api-keys": "settings/api-keys/",
    "members": "settings/members/",
    "audit-log": "settings/audit-log/",
    "general": "settings/",
}


def main() -> None:
    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder), {"ALLOW_HTTP": "1", "EMAIL_URL": "dummymail://"})
        installation.manage("migrate", "--verbosity", "0")
        password = installation.manage("demo").stdout.split("password ")[1].split()[0]
        installation.manage("shell", "--command", USE)
        with serving(installation) as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
            account = f"http://127.0.0.1:{server.port}/accounts/acme/"
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            _sign_in(context.new_page(), account, password)
            signed_in = context.storage_state()
            for theme, size, pages in [
                ("light", {"width": 1280, "height": 800}, PAGES),
                ("dark", {"width": 1280, "height": 800}, {"overview-dark": ""}),
                ("light", {"width": 360, "height": 740}, {"api-keys-narrow": "settings/api-keys/"}),
            ]:
                page = chromium.new_context(storage_state=signed_in, color_scheme=theme, viewport=size).new_page()
                for name, path in pages.items():
                    page.goto(account + path)
                    page.screenshot(path=TO / f"{name}.png")
            _draw_life_of_a_key(context.new_page(), account)


def _sign_in(page: Page, account: str, password: str) -> None:
    page.goto(account)
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(account)


def _draw_life_of_a_key(page: Page, account: str) -> None:
    """From the form over the one look at the key to its rotation, each as a dialog."""

    def draw(name: str) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=TO / f"{name}.png")

    page.goto(f"{account}settings/api-keys/")
    page.get_by_role("button", name="New API Key", exact=True).click()
    page.get_by_label("API Key Name", exact=True).fill("Status board")
    page.get_by_label("Read", exact=True).check()
    draw("new-api-key")
    page.get_by_role("button", name="Create", exact=True).click()
    page.locator("code").first.wait_for()
    draw("reveal")
    page.get_by_label("I have stored it").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name="Deploys from CI").click()
    page.get_by_role("link", name="Rotate", exact=True).click()
    draw("rotate")
    page.get_by_role("dialog").get_by_role("button", name="Rotate", exact=True).click()
    page.get_by_label("I have stored it").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name="Deploys from CI").last.click()
    draw("api-key")


if __name__ == "__main__":
    main()
