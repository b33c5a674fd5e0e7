"""Links use PUBLIC_URL: in mail, in the output of commands, on pages and in the API's answers."""

import io
import re
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts import ids, policy, services
from accounts.models import Account, Invitation, Membership
from accounts.policy import Role
from apikeys.networks import parse_network
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.mail import delivered

PUBLIC = "https://keys.example.com:8443"
RESET = "/auth/password/reset/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_limits_from_before() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def public_url(settings: Settings) -> str:
    settings.PUBLIC_URL = PUBLIC
    return PUBLIC


def addresses(text: str) -> list[str]:
    return re.findall(r"https?://[^\s\"<]+", text)


def mailed() -> list[str]:
    """The URLs in the sent mail. Text and HTML have the same."""
    found = []
    for message in delivered():
        links = addresses(str(message.body))
        assert set(addresses(message.alternatives[0].content)) == set(links)
        found += links
    return found


def send_notices() -> None:
    call_command("send_notices", stdout=io.StringIO())


def reset(browser: Browser, host: str) -> str:
    browser.post(RESET, {"email": "owner@example.com"}, HTTP_HOST=host)
    return mailed()[0]


# Mail -------------------------------------------------------------------------------------------


def test_a_reset_link_uses_the_public_url(cast: Cast, browser: Browser, public_url: str) -> None:
    assert reset(browser, "localhost:1337").startswith(f"{PUBLIC}/auth/password/reset/key/")


@pytest.mark.parametrize("host", ["testserver:1337", "testserver:8000", "TESTSERVER:443", "testserver.:81"])
def test_a_reset_link_never_takes_its_port_from_the_host_header(cast: Cast, browser: Browser, host: str) -> None:
    link = reset(browser, host)

    assert link.startswith(("https://testserver/auth/", "https://testserver:443/auth/"))
    assert host not in str(delivered()[0].message())


def test_a_link_keeps_the_port_that_the_server_itself_listens_on(
    cast: Cast, browser: Browser, settings: Settings
) -> None:
    browser.post(RESET, {"email": "owner@example.com"}, HTTP_HOST="127.0.0.1:8000", SERVER_PORT="8000")

    assert mailed()[0].startswith("https://127.0.0.1:8000/auth/")


def test_behind_a_proxy_the_port_of_the_server_is_in_no_link(cast: Cast, browser: Browser, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = (parse_network("127.0.0.0/8"),)
    proxied = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    browser.post(
        RESET, {"email": "owner@example.com"}, HTTP_HOST="testserver:8000", SERVER_PORT="8000", headers=proxied
    )

    assert mailed()[0].startswith("https://testserver/auth/")


def test_a_confirmation_link_uses_the_public_url(cast: Cast, browser: Browser, public_url: str) -> None:
    browser.as_(cast.owner).post(reverse("account_email"), {"email": "work@example.com", "action_add": ""})

    assert mailed()[0].startswith(f"{PUBLIC}/auth/confirm-email/")


def test_mail_to_an_existing_address_that_signs_up_uses_the_public_url(
    cast: Cast, browser: Browser, settings: Settings, public_url: str
) -> None:
    settings.SIGNUP_OPEN = True
    form = {"email": "owner@example.com", "account_name": "Copy"}
    browser.post(reverse("account_signup"), {**form, "password1": factories.PASSWORD, "password2": factories.PASSWORD})

    assert f"{PUBLIC}{reverse('account_reset_password')}" in mailed()


def test_invitations_of_the_page_and_of_the_api_lead_to_the_public_address(
    cast: Cast, browser: Browser, administrator: Program, public_url: str
) -> None:
    page = reverse("accounts:invite", args=["acme"])
    browser.as_(cast.owner).post(page, {"email": "new@example.com", "role": "user"}, HTTP_HOST="localhost:81")
    administrator.send("POST", "/v2/invitations", {"email": "newer@example.com", "role": "user"})
    invitation = Invitation.objects.get(email="new@example.com")
    mailed()
    browser.post(reverse("accounts:resend_invitation", args=["acme", invitation.id]))

    links = mailed()
    assert len(links) == 3
    assert all(link.startswith(f"{PUBLIC}/invitations/") for link in links)


def test_an_invitation_never_takes_its_port_from_the_host_header(
    cast: Cast, browser: Browser, administrator: Program
) -> None:
    page = reverse("accounts:invite", args=["acme"])
    browser.as_(cast.owner).post(page, {"email": "new@example.com", "role": "user"}, HTTP_HOST="testserver:81")
    invitation = {"email": "newer@example.com", "role": "user"}
    administrator.send("POST", "/v2/invitations", invitation, HTTP_HOST="testserver:81")

    assert all(link.startswith("https://testserver/invitations/") for link in mailed())


def test_a_notice_leads_to_the_page_of_its_key(cast: Cast, public_url: str) -> None:
    api_key = factories.make_key(cast.account).api_key
    send_notices()

    page = reverse("apikeys:key", args=["acme", api_key.id])
    assert mailed() == [f"{PUBLIC}{page}"] * 2


def test_a_notice_has_no_link_without_a_public_url(cast: Cast) -> None:
    factories.make_key(cast.account)
    send_notices()

    assert mailed() == []


def test_mail_about_members_and_ownership_leads_to_the_page_it_is_about(
    cast: Cast, public_url: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    actor = policy.system(cast.account.ref)
    admin = Membership.objects.get(user=cast.admin)
    with django_capture_on_commit_callbacks(execute=True):
        services.change_role(actor=actor, membership=Membership.objects.get(user=cast.user), role=Role.ADMIN)
        services.offer_ownership(actor=actor, membership=admin)

    members = f"{PUBLIC}{reverse('accounts:members', args=['acme'])}"
    assert mailed() == [f"{PUBLIC}{reverse('overview', args=['acme'])}", members]


def test_mail_of_a_closed_account_links_to_the_page_that_reopens_it(
    cast: Cast, public_url: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        services.close_account(actor=policy.system(cast.account.ref), name="Acme")

    assert set(mailed()) == {f"{PUBLIC}{reverse('accounts:closed', args=['acme'])}"}


def test_mail_about_a_new_device_links_to_the_next_steps(
    cast: Cast, browser: Browser, public_url: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    form = {"login": "owner@example.com", "password": factories.PASSWORD}
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(reverse("account_login"), form, HTTP_HOST="testserver:1337")

    assert mailed() == [f"{PUBLIC}{reverse('account_change_password')}", f"{PUBLIC}{reverse('usersessions_list')}"]


# Commands ---------------------------------------------------------------------------------------


def run(*command: str) -> str:
    output = io.StringIO()
    call_command(*command, stdout=output)
    return output.getvalue()


def test_commands_print_the_next_page_to_open(settings: Settings, public_url: str) -> None:
    settings.ACCOUNT_OWNER_PASSWORD = factories.PASSWORD
    account = run("create_account", "Acme", "--owner", "olivia@example.com")
    key = run("create_api_key", "--account", "acme", "--name", "Deploys", "--permission", "read")

    assert addresses(account) == [f"{PUBLIC}{reverse('account_login')}"]
    assert account.split()[-1] == "acme"
    api_key = Account.objects.get().api_keys.get()
    assert addresses(key) == [f"{PUBLIC}{reverse('apikeys:key', args=['acme', api_key.id])}"]
    assert key.splitlines()[-1].startswith("atk_")


def test_commands_print_no_address_if_none_is_set(settings: Settings) -> None:
    settings.ACCOUNT_OWNER_PASSWORD = factories.PASSWORD
    account = run("create_account", "Acme", "--owner", "olivia@example.com")
    key = run("create_api_key", "--account", "acme", "--name", "Deploys", "--permission", "read")

    assert addresses(account) == addresses(key) == []


# Pages ------------------------------------------------------------------------------------------


def test_texts_to_copy_have_the_public_url(cast: Cast, browser: Browser, public_url: str) -> None:
    project = factories.make_project(cast.account)
    browser.as_(cast.owner)
    new_key = reverse("apikeys:new_key", args=["acme"])
    pages = {
        "overview": browser.get(reverse("overview", args=["acme"])),
        "keys": browser.get(reverse("apikeys:keys", args=["acme"])),
        "project": browser.get(reverse("accounts:project", args=["acme", project.id])),
        "reveal": browser.post(new_key, {"name": "Deploys", "permission": "read", "id": ids.new_key_id()}),
    }

    for name, page in pages.items():
        html = page.content.decode()
        assert f"{PUBLIC}/v2" in html, name
        assert "testserver/v2" not in html, name


def test_without_a_public_address_a_page_gives_the_one_that_it_was_opened_by(cast: Cast, browser: Browser) -> None:
    page = browser.as_(cast.owner).get(reverse("apikeys:keys", args=["acme"]), HTTP_HOST="localhost:9000")

    assert "https://localhost:9000/v2" in page.content.decode()


# The API's answers ------------------------------------------------------------------------------


def test_a_client_of_the_public_host_gets_links_with_its_port(cast: Cast, program: Program, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://testserver:8443"
    made = program.send("POST", "/v2/projects", {"name": "web"}, HTTP_HOST="testserver:1337")
    program.send("POST", "/v2/projects", {"name": "api"})
    listed = program.get("/v2/projects?limit=1", HTTP_HOST="testserver")

    assert made["Location"] == f"https://testserver:8443/v2/projects/{made.json()['id']}"
    assert listed.json()["next"].startswith("https://testserver:8443/v2/projects?")
    assert listed["Link"] == f'<{listed.json()["next"]}>; rel="next"'


def test_a_client_of_another_host_gets_links_that_work_for_it(cast: Cast, program: Program, public_url: str) -> None:
    made = program.send("POST", "/v2/projects", {"name": "web"}, HTTP_HOST="localhost:9000")

    assert made["Location"] == f"https://localhost:9000/v2/projects/{made.json()['id']}"


def test_no_link_of_the_api_contains_a_key(cast: Cast, public_url: str, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://testserver"
    key = factories.make_key(cast.account).secret
    for name in ("web", "api"):
        factories.make_project(cast.account, name)
    listed = Program().get(f"/v2/projects?limit=1&api_key={key}")

    assert listed.json()["next"].startswith("https://testserver/v2/projects?")
    assert "api_key" not in listed.json()["next"]
