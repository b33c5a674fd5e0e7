"""Every role and every page of the URLconf. A new page fails here until it is listed."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts import policy, services
from accounts.decorators import account_page
from accounts.models import AuditEvent, Membership, User
from tests import factories
from tests.clones import Clone
from tests.conftest import Browser, Cast, alike

LOOK = {"owner": 200, "admin": 200, "user": 200}
ADMINISTER = {"owner": 200, "admin": 200, "user": 403}
OWN = {"owner": 200, "admin": 403, "user": 403}
#: Changes something immediately, so it accepts POST only.
POST_ONLY = {"owner": 405, "admin": 405, "user": 405}
POST_ALONE = {"owner": 405, "admin": 405, "user": 403}
#: There is nothing to show, so the page redirects to one that says so.
LEAD = {"owner": 302, "admin": 302, "user": 302}

#: The status of a GET for each role, by the name of the page.
PAGES_OF_AN_ACCOUNT = {
    "overview": LOOK,
    "guide": LOOK,
    "accounts:projects": LOOK,
    "accounts:project": LOOK,
    "accounts:new_project": ADMINISTER,
    "accounts:edit_project": ADMINISTER,
    "accounts:delete_project": ADMINISTER,
    "accounts:new_deployment": ADMINISTER,
    "accounts:general": LOOK,
    "accounts:key_policy": ADMINISTER,
    "accounts:two_factor": ADMINISTER,
    "accounts:transfer": OWN,
    "accounts:accept_transfer": LEAD,
    "accounts:withdraw_transfer": POST_ONLY,
    "accounts:close": OWN,
    "accounts:closed": {**OWN, "owner": 302},
    "accounts:reopen": {**OWN, "owner": 405},
    "accounts:members": LOOK,
    "accounts:invite": ADMINISTER,
    "accounts:leave": {**LOOK, "owner": 403},
    "accounts:change_role": ADMINISTER,
    "accounts:remove_member": ADMINISTER,
    "accounts:resend_invitation": {"owner": 405, "admin": 405, "user": 403},
    "accounts:change_invitation": ADMINISTER,
    "accounts:withdraw_invitation": ADMINISTER,
    "accounts:audit_log": ADMINISTER,
    "accounts:audit_log_csv": ADMINISTER,
    "accounts:audit_log_json": ADMINISTER,
    "apikeys:keys": ADMINISTER,
    "apikeys:new_key": ADMINISTER,
    "apikeys:key_summary": POST_ALONE,
    "apikeys:import_keys": ADMINISTER,
    "apikeys:revoke_keys": ADMINISTER,
    "apikeys:key": ADMINISTER,
    "test_request": ADMINISTER,
    "find": LOOK,
    "reference": LOOK,
    "reference_errors": LOOK,
    "reference_guide": LOOK,
    "reference_resource": LOOK,
    "apikeys:edit_key": ADMINISTER,
    "apikeys:rotate_key": ADMINISTER,
    "apikeys:disable_key": ADMINISTER,
    "apikeys:enable_key": POST_ALONE,
    "apikeys:revoke_key": ADMINISTER,
    "apikeys:services": LOOK,
    "apikeys:new_service": ADMINISTER,
    "apikeys:service": LOOK,
    "apikeys:connection": LOOK,
    "apikeys:configuration": LOOK,
    "apikeys:configuration_file": LOOK,
    "apikeys:edit_service": ADMINISTER,
    "apikeys:delete_service": ADMINISTER,
}
#: Arguments of a page's URL besides an id.
GIVEN_BESIDE = {
    "reference_guide": {"name": "errors"},
    "reference_resource": {"resource": "projects"},
    "apikeys:configuration": {"gateway": "nginx"},
    "apikeys:configuration_file": {"gateway": "nginx", "file": "nginx.conf"},
}
PAGES_OF_A_PERSON = {"home", "accounts:profile", "accounts:keyboard", "accounts:accounts", "accounts:new_account"}
OPEN_TO_ALL = {"accounts:appearance", "accounts:invitation", "healthz", "readyz", "api_catalog"}

DONE = {"owner": 302, "admin": 302, "user": 403}
DONE_BY_OWNER = {"owner": 302, "admin": 403, "user": 403}

#: The fields of a POST and its status for each role, by the name of the page.
CHANGES: dict[str, tuple[dict[str, str], dict[str, int]]] = {
    "accounts:new_project": ({"name": "web"}, DONE),
    "accounts:edit_project": ({"name": "site"}, DONE),
    "accounts:delete_project": ({}, DONE),
    "accounts:new_deployment": ({"revision": "1a2b3c4", "release_stage": "production"}, DONE),
    "accounts:general": ({"name": "Other"}, DONE),
    "accounts:key_policy": ({"accepts_query": "on"}, DONE),
    "accounts:invite": ({"email": "guest@example.com", "role": "admin"}, DONE),
    "accounts:leave": ({}, {"owner": 403, "admin": 302, "user": 302}),
    "accounts:change_role": ({"role": "admin"}, DONE),
    "accounts:remove_member": ({}, DONE),
    "accounts:resend_invitation": ({}, DONE),
    "accounts:change_invitation": ({"role": "admin"}, DONE),
    "accounts:withdraw_invitation": ({}, DONE),
    "accounts:two_factor": ({"requires_two_factor": "1"}, DONE),
    "accounts:transfer": ({"name": "Acme"}, DONE_BY_OWNER),
    "accounts:accept_transfer": ({}, {"owner": 403, "admin": 302, "user": 403}),
    "accounts:withdraw_transfer": ({}, DONE),
    "accounts:close": ({"name": "Acme"}, DONE_BY_OWNER),
    "apikeys:new_key": ({"name": "Deploys", "permission": "read", "access": "everything"}, ADMINISTER),
    "apikeys:import_keys": ({"text": f"name,permission,digest\nNightly,read,{'0' * 64}"}, DONE),
    "apikeys:edit_key": ({"name": "Reports", "permission": "read", "expiry": "keep", "access": "everything"}, DONE),
    "apikeys:rotate_key": ({"overlap": "1h"}, ADMINISTER),
    "apikeys:disable_key": ({}, DONE),
    "apikeys:revoke_key": ({}, DONE),
    "apikeys:new_service": ({"name": "Reports API"}, DONE),
    "apikeys:edit_service": ({"name": "Search API"}, DONE),
    "apikeys:delete_service": ({}, DONE),
}

#: These pages change a closed account, a disabled key and selected keys. Their own tests post to them.
CHANGE_OTHER_STATES = {"accounts:reopen", "apikeys:enable_key", "apikeys:revoke_keys"}


def _routes(resolver: URLResolver, prefix: str = "", names: str = "") -> Iterator[tuple[str, str, Any]]:
    """The name, route and view of every page, without those of the API, admin and allauth."""
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if route.startswith(("v2", "admin/", "auth/")):
            continue
        if isinstance(entry, URLResolver):
            yield from _routes(entry, route, names + (f"{entry.namespace}:" if entry.namespace else ""))
        elif isinstance(entry, URLPattern):
            yield f"{names}{entry.name}", route, entry.callback


ROUTES = {name: (route, view) for name, route, view in _routes(get_resolver())}


def _ids(cast: Cast) -> dict[str, str]:
    """An item of each kind, by the end of the route before its id."""
    return {
        "api-keys/": factories.make_key(cast.account).api_key.id,
        "projects/": factories.make_project(cast.account).id,
        "services/": factories.make_service(cast.account).id,
        "invitations/": factories.make_invitation(cast.account).invitation.id,
        "members/": Membership.objects.get(account=cast.account, user=cast.user).id,
    }


IDS = Clone(_ids)


@pytest.fixture
def address(cast: Cast) -> Any:
    """Returns the URL of a page of the account, with ids of existing items."""
    ids = IDS.get(cast)

    def of(name: str) -> str:
        given = {"slug": cast.account.slug}
        before, takes_id, _ = ROUTES[name][0].partition("<id:id>")
        if takes_id:
            given["id"] = next(id for end, id in ids.items() if before.endswith(end))
        given |= GIVEN_BESIDE.get(name, {})
        return reverse(name, kwargs=given)

    return of


def test_every_page_is_listed() -> None:
    assert set(ROUTES) == set(PAGES_OF_AN_ACCOUNT) | PAGES_OF_A_PERSON | OPEN_TO_ALL


def test_every_page_whose_view_calls_a_service_function_is_listed_in_changes() -> None:
    sources = {name: inspect.getsource(inspect.unwrap(ROUTES[name][1])) for name in PAGES_OF_AN_ACCOUNT}
    changing = {name for name, source in sources.items() if "actor=request.actor" in source}
    assert changing - set(CHANGES) == CHANGE_OTHER_STATES


@pytest.mark.parametrize("name", PAGES_OF_AN_ACCOUNT)
def test_every_page_of_an_account_uses_the_same_decorator(name: str) -> None:
    view = ROUTES[name][1]

    assert view.permission, f"{name} needs {account_page.__name__}"


@pytest.mark.parametrize("role", alike(["owner", "admin", "user"], repeat="owner"))
@pytest.mark.parametrize("name", PAGES_OF_AN_ACCOUNT)
def test_a_page_opens_to_the_roles_that_the_policy_allows(
    name: str, role: str, cast: Cast, browser: Browser, address: Any
) -> None:
    person: User = getattr(cast, role)

    browser.as_(person)

    assert browser.get(address(name)).status_code == PAGES_OF_AN_ACCOUNT[name][role]
    if PAGES_OF_AN_ACCOUNT[name][role] != 302:
        in_part = browser.get(address(name), headers={"HX-Request": "true"})
        assert in_part.status_code == PAGES_OF_AN_ACCOUNT[name][role]


@pytest.mark.parametrize("name", [name for name, answers in PAGES_OF_AN_ACCOUNT.items() if 200 in answers.values()])
def test_a_page_with_fragments_varies_by_htmx_headers(name: str, cast: Cast, browser: Browser, address: Any) -> None:
    browser.as_(cast.owner if PAGES_OF_AN_ACCOUNT[name]["owner"] == 200 else cast.admin)
    whole, part = browser.get(address(name)), browser.get(address(name), headers={"HX-Request": "true"})

    if [template.name for template in whole.templates] != [template.name for template in part.templates]:
        assert "HX-Request" in whole.headers["Vary"]
        assert "HX-Request" in part.headers["Vary"]


@pytest.mark.parametrize("htmx", alike([False, True], repeat=False))
@pytest.mark.parametrize("role", alike(["owner", "admin", "user"], repeat="owner"))
@pytest.mark.parametrize("name", CHANGES)
def test_only_the_roles_that_the_policy_allows_can_make_a_change(
    name: str, role: str, htmx: bool, cast: Cast, browser: Browser, address: Any
) -> None:
    heir = Membership.objects.get(account=cast.account, user=cast.admin)
    cast.account.offered_to = heir
    cast.account.save()
    fields, answers = CHANGES[name]
    before = AuditEvent.objects.count()
    headers = {"HX-Request": "true"} if htmx else {}

    response = browser.as_(getattr(cast, role)).post(address(name), {"member": heir.id, **fields}, headers=headers)

    led_on = response.status_code == 302 or "HX-Redirect" in response.headers
    assert led_on if answers[role] == 302 else response.status_code == answers[role]
    assert (AuditEvent.objects.count() > before) == (answers[role] != 403)


@pytest.mark.parametrize("method", alike(["get", "post"], repeat="get"))
@pytest.mark.parametrize("name", PAGES_OF_AN_ACCOUNT)
def test_a_stranger_gets_404_for_every_page(name: str, method: str, cast: Cast, browser: Browser, address: Any) -> None:
    assert getattr(browser.as_(cast.stranger), method)(address(name)).status_code == 404


@pytest.mark.parametrize("name", [name for name in PAGES_OF_AN_ACCOUNT if "<id:id>" in ROUTES[name][0]])
def test_items_of_another_account_are_not_found_under_the_own_account(
    name: str, cast: Cast, browser: Browser, address: Any
) -> None:
    own = address(name).replace(f"/{cast.account.slug}/", f"/{cast.elsewhere.slug}/")

    ask = browser.post if 405 in PAGES_OF_AN_ACCOUNT[name].values() else browser.get
    browser.as_(cast.stranger)

    assert ask(own).status_code == 404


@pytest.mark.parametrize("method", alike(["get", "post"], repeat="get"))
@pytest.mark.parametrize("name", PAGES_OF_AN_ACCOUNT)
def test_a_visitor_is_redirected_to_sign_in_and_back(name: str, method: str, browser: Browser, address: Any) -> None:
    response = getattr(browser, method)(address(name))

    assert response.status_code == 302
    assert response.headers["Location"] == f"{reverse('account_login')}?next={address(name).replace('/', '%2F')}"


@pytest.mark.parametrize("name", sorted(PAGES_OF_A_PERSON))
def test_a_users_page_requires_a_sign_in(name: str, browser: Browser) -> None:
    assert browser.get(reverse(name)).headers["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("name", [name for name, roles in PAGES_OF_AN_ACCOUNT.items() if roles["user"] == 403])
def test_a_user_reads_who_may_open_the_page(name: str, cast: Cast, browser: Browser, address: Any) -> None:
    page = browser.as_(cast.user).get(address(name)).content.decode()

    assert "You don't have access" in page
    assert "This item is for" in page
    assert "Traceback" not in page


def test_a_post_by_a_user_to_a_page_they_may_only_see_changes_nothing(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.user).post(reverse("accounts:general", args=[cast.account.slug]), {"name": "Mine"})

    cast.account.refresh_from_db()
    assert response.status_code == 403
    assert cast.account.name == "Acme"


def test_an_htmx_request_of_a_session_that_ended_sends_the_whole_page_to_sign_in_and_back_to_itself(
    cast: Cast, browser: Browser
) -> None:
    keys = reverse("apikeys:keys", args=[cast.account.slug])

    response = browser.get(
        reverse("apikeys:new_key", args=[cast.account.slug]),
        headers={"HX-Request": "true", "HX-Current-URL": f"https://testserver{keys}?state=active"},
    )

    assert response.status_code == 200
    assert response.headers["HX-Redirect"] == (
        f"{reverse('account_login')}?next={keys.replace('/', '%2F')}%3Fstate%3Dactive"
    )


def test_pages_of_a_person_stay_out_of_shared_caches(cast: Cast, browser: Browser) -> None:
    response = browser.as_(cast.owner).get(reverse("overview", args=[cast.account.slug]))

    assert "private" in response.headers["Cache-Control"]


@pytest.mark.parametrize("method", alike(["get", "post"], repeat="get"))
@pytest.mark.parametrize("name", sorted(set(PAGES_OF_AN_ACCOUNT) - {"accounts:closed", "accounts:reopen"}))
def test_a_closed_account_has_one_page_and_only_for_its_owner(
    name: str, method: str, cast: Cast, browser: Browser, address: Any
) -> None:
    services.close_account(actor=policy.system(cast.account.ref), name="Acme")
    closed, before = reverse("accounts:closed", args=[cast.account.slug]), AuditEvent.objects.count()

    assert getattr(browser.as_(cast.owner), method)(address(name)).headers["Location"] == closed
    assert getattr(Browser().as_(cast.admin), method)(address(name)).status_code == 404
    assert getattr(Browser().as_(cast.user), method)(address(name)).status_code == 404
    assert AuditEvent.objects.count() == before


LISTS = [
    name
    for name in PAGES_OF_AN_ACCOUNT
    if name.split(":")[-1]
    in {
        "overview",
        "projects",
        "services",
        "members",
        "audit_log",
        "audit_log_csv",
        "audit_log_json",
        "keys",
        "general",
    }
]


@pytest.mark.parametrize("name", LISTS)
def test_lists_hold_nothing_of_another_account(name: str, cast: Cast, browser: Browser) -> None:
    project = factories.make_project(cast.account, "Secret project")
    factories.make_deployment(project, "secret-revision")
    factories.make_key(cast.account, name="Secret key")
    factories.make_service(cast.account, "Secret service")
    page = browser.as_(cast.stranger).get(reverse(name, args=[cast.elsewhere.slug]))
    text = page.getvalue().decode() if page.streaming else page.content.decode()
    assert page.status_code == 200
    assert not {word for word in ("Secret", "secret-revision", "owner@example.com", "Acme") if word in text}
