"""Takes the screenshots of README and docs, of the demonstration on a separate database: `make screenshots`."""

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.browser.launch import ARGS
from tests.servers import Installation, serving

TO = Path(__file__).resolve().parent.parent.parent / "docs" / "screenshots"

# A month of usage, so that the screenshots show what the pages are for.
USE = """
import random
from datetime import timedelta
from django.utils import timezone
from accounts import policy
from accounts.models import Account
from apikeys.models import APIKey, Service
from apikeys.services import create_service
from apikeys.usage import problems
from tests import factories
random.seed(7)
now = timezone.now()
SHARES = {"Reports API": 1.4, "Search API": 0.9, "Exports API": 0.2}
actor = policy.system(Account.objects.get().ref, "Demonstration")
services = {service.name: service for service in Service.objects.all()}
for name, gateway in {"Search API": "10.0.1.0/28", "Exports API": "10.0.0.6", "Billing hooks": "10.0.0.7"}.items():
    services[name] = create_service(actor=actor, name=name, gateways=[gateway])
Service.objects.exclude(name="Billing hooks").update(last_question_at=now - timedelta(minutes=2))
Service.objects.filter(name="Exports API").update(
    last_question_at=now - timedelta(hours=1),
    problem=problems.unlisted("10.0.0.9"),
    problem_at=now - timedelta(minutes=19),
)
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
    for service, share in SHARES.items():
        for days in range(30):
            asked = int(share * random.randint(40, 90))
            refused = asked // 4 if share < 0.5 else random.choice([0, 0, 1])
            factories.make_usage(
                key, (now - timedelta(days=days)).date(), services[service].id, requests=asked,
                succeeded=asked - refused, client_errors=refused, in_header=asked,
            )
    for place in range(3 - number):
        key.origins.create(
            origin=f"203.0.113.{7 + number + 10 * place}", requests=random.randint(90, 900),
            last_used_at=key.last_used_at - timedelta(hours=place), last_used_agent="curl/8.14.1",
        )
"""

PAGES = {
    "overview": "",
    "projects": "projects/",
    "services": "services/",
    "api-keys": "settings/api-keys/",
    "members": "settings/members/",
    "audit-log": "settings/audit-log/",
    "general": "settings/",
    "api-reference": "reference/projects/",
}


def main() -> None:
    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder), {"ALLOW_HTTP": "1", "EMAIL_URL": "dummymail://"})
        installation.manage("migrate", "--verbosity", "0")
        password = installation.manage("demo").stdout.split("password ")[1].split()[0]
        installation.manage("shell", "--command", USE)
        with serving(installation, by_command=True) as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
            account = f"http://127.0.0.1:{server.port}/accounts/acme/"
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            _sign_in(context.new_page(), account, password)
            signed_in = context.storage_state()
            drawn: list[tuple[Literal["light", "dark"], ViewportSize, dict[str, str]]] = [
                ("light", {"width": 1280, "height": 800}, PAGES),
                ("dark", {"width": 1280, "height": 800}, {"overview-dark": ""}),
                ("light", {"width": 360, "height": 740}, {"api-keys-narrow": "settings/api-keys/"}),
            ]
            for theme, size, pages in drawn:
                page = chromium.new_context(storage_state=signed_in, color_scheme=theme, viewport=size).new_page()
                for name, path in pages.items():
                    page.goto(account + path)
                    page.screenshot(path=TO / f"{name}.png")
            _draw_service(context.new_page(), account)
            _draw_key_lifecycle(context.new_page(), account)


def _sign_in(page: Page, account: str, password: str) -> None:
    page.goto(account)
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(account)


def _draw_service(page: Page, account: str) -> None:
    """Connecting a service, a key with access to a part of it, and requests that it may and may not send."""
    page.set_viewport_size({"width": 1280, "height": 1180})
    page.goto(f"{account}services/")
    page.get_by_role("link", name="Billing hooks").click()
    page.get_by_role("link", name="Caddy", exact=True).click()
    page.get_by_role("region", name="Caddyfile").wait_for()
    page.get_by_label("Host name of your API").fill("hooks.example.com")
    page.get_by_role("button", name="Fill in").click()
    page.get_by_text("curl -i https://hooks.example.com/", exact=True).wait_for()
    page.screenshot(path=TO / "service.png")

    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{account}settings/api-keys/")
    page.get_by_role("button", name="New API Key", exact=True).click()
    page.get_by_label("API Key Name", exact=True).fill("Partner feed")
    page.get_by_label("Read", exact=True).check()
    page.get_by_label("Selected services", exact=True).check()
    page.get_by_label("Reports API", exact=True).check()
    page.get_by_label("Paths of Reports API").fill("/reports/*\n/exports/daily")
    page.get_by_label("Search API", exact=True).check()
    page.get_by_text("read Search API, all paths").wait_for()
    page.get_by_label("Reports API", exact=True).focus()
    page.screenshot(path=TO / "key-access.png")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name="Partner feed").click()
    page.get_by_label("Path", exact=True).fill("/exports/archive")
    page.get_by_role("button", name="Test request").click()
    page.get_by_text("Decided here").wait_for()
    page.locator("section", has=page.locator("#test-request")).screenshot(path=TO / "test-request.png")


def _draw_key_lifecycle(page: Page, account: str) -> None:
    """The form, the new key and its rotation, each as a dialog."""

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
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name="Deploys from CI").click()
    page.get_by_role("link", name="Rotate", exact=True).click()
    draw("rotate")
    page.get_by_role("dialog").get_by_role("button", name="Rotate API key", exact=True).click()
    page.get_by_label("I've saved this key").check()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name="Deploys from CI").last.click()
    draw("api-key")


if __name__ == "__main__":
    main()
