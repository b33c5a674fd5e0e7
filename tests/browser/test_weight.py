"""The transferred size of pages, from `manage.py serve`: hashed, compressed, cached."""

from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.servers import PASSWORD, install, serving

# A full page of keys whose usage differs every day, because this compresses worst.
FULL = """
from datetime import timedelta
from django.utils import timezone
from accounts import policy
from accounts.models import Account
from apikeys.services import create_api_key
from tests import factories
today = timezone.now().date()
actor = policy.system(Account.objects.get().ref)
for number in range(25):
    name = f"Service number {number} of the fleet"
    api_key = create_api_key(actor=actor, name=name, permission=policy.KeyPermission.READ).api_key
    factories.make_service(api_key.account, name, gateways=[f"10.0.0.{number}"], upstream=f"http://10.0.1.{number}:3000")
    for days in range(30):
        requests = (number + 3) ** 3 * (days + 7) % 991
        factories.make_usage(
            api_key, today - timedelta(days=days), requests=requests, succeeded=requests, in_header=requests
        )
"""
SERVICE = "from apikeys.models import Service; print(Service.objects.last().id)"
PAGES = ["/accounts/acme/", "/accounts/acme/settings/api-keys/", "/accounts/acme/services/", "/profile/"]
PAGES += ["/accounts/acme/settings/api-keys/new/"]


#: These pages have their own style sheet and script.
REFERENCE = ["", "errors", "api-keys", "guides/errors"]


def weigh(page: Page, address: str) -> tuple[int, int]:
    """A page's requests and bytes, with the headers of the responses."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[int] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    page.goto(address)
    page.wait_for_timeout(300)
    session.detach()
    return len([size for size in sizes if size]), sum(sizes)


def test_a_page_takes_60_kb_in_6_requests_and_10_kb_the_second_time(chromium: Browser, tmp_path: Path) -> None:
    installation = install(tmp_path, ALLOW_HTTP="1")
    installation.manage("shell", "--command", FULL)
    with serving(installation) as server:
        site = f"http://127.0.0.1:{server.port}"
        page = chromium.new_page()
        weights = {"/auth/login/": (weigh(page, site + "/auth/login/"), weigh(page, site + "/auth/login/"))}
        page.get_by_label("E-mail").fill("owner@example.com")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url("**/accounts/acme/")
        signed_in = page.context.storage_state()
        page.context.close()
        service = installation.manage("shell", "--command", SERVICE).stdout.split()[-1]
        for path in [*PAGES, f"/accounts/acme/services/{service}/?gateway=envoy"]:
            page = chromium.new_context(storage_state=signed_in).new_page()
            weights[path] = (weigh(page, site + path), weigh(page, site + path))
            page.context.close()

        reference = {}
        for start in ("/v2/docs", "/accounts/acme/reference"):
            for path in REFERENCE:
                page = chromium.new_context(storage_state=signed_in).new_page()
                end = "/" if start.startswith("/accounts") else ""
                reference[start, path] = weigh(page, f"{site}{start}{f'/{path}' if path else ''}{end}")
                page.context.close()

    for (start, path), (requests, first) in reference.items():
        assert requests == 8, (start, path)
        assert 15_000 < first <= 60_000, (start, path)
    for path, ((requests, first), (_, again)) in weights.items():
        assert requests == 6, path
        assert 15_000 < first <= 60_000, path
        assert 1_000 < again <= 10_000, path
