"""Every role and every page of the URLconf. A new page fails here until it is listed."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts import policy, services
from accounts.decorators import account_page
from accounts.models import AuditEvent, Membership
from tests import factories
from tests.clones import Clone
from tests.conftest import Browser, Cast, alike

HTMX = {"HX-Request": "true"}

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


def test_every_page_of_an_account_uses_the_same_decorator() -> None:
    others = [name for name in PAGES_OF_AN_ACCOUNT if not getattr(ROUTES[name][1], "permission", None)]

    assert not others, f"they need {account_page.__name__}"


@pytest.mark.parametrize("role", alike(["owner", "admin", "user"], repeat="owner"))
def test_pages_open_to_the_roles_that_the_policy_allows(role: str, cast: Cast, browser: Browser, address: Any) -> None:
    expected = {name: statuses[role] for name, statuses in PAGES_OF_AN_ACCOUNT.items()}
    browser.as_(getattr(cast, role))

    pages = {name: browser.get(address(name)) for name in expected}
    parts = {name: browser.get(address(name), headers=HTMX) for name in expected if expected[name] != 302}

    assert {name: page.status_code for name, page in pages.items()} == expected
    assert {name: part.status_code for name, part in parts.items()} == {name: expected[name] for name in parts}
    _vary_by_htmx_headers(pages, parts)
    for name, page in pages.items():
        if expected[name] == 403 and role == "user":
            _says_who_may_open_it(name, page.content.decode())


def _vary_by_htmx_headers(pages: dict[str, Any], parts: dict[str, Any]) -> None:
    """Pages with fragments, because a cache must not return a fragment for a page."""
    templates = {
        name: [[used.name for used in answers[name].templates] for answers in (pages, parts)] for name in parts
    }
    fragments = [name for name, (whole, part) in templates.items() if whole != part]

    assert fragments
    for name in fragments:
        assert "HX-Request" in pages[name].headers["Vary"], name
        assert "HX-Request" in parts[name].headers["Vary"], name


def _says_who_may_open_it(name: str, page: str) -> None:
    assert "You don't have access" in page, name
    assert "This item is for" in page, name
    assert "Traceback" not in page, name


@pytest.mark.parametrize("htmx", alike([False, True], repeat=False))
@pytest.mark.parametrize("role", alike(["owner", "admin", "user"], repeat="owner"))
def test_only_the_roles_that_the_policy_allows_can_make_a_change(
    role: str, htmx: bool, cast: Cast, browser: Browser, address: Any
) -> None:
    heir = Membership.objects.get(account=cast.account, user=cast.admin)
    cast.account.offered_to = heir
    cast.account.save()
    before = AuditEvent.objects.count()
    browser.as_(getattr(cast, role))

    for name, (fields, answers) in CHANGES.items():
        with transaction.atomic():
            sent = {"member": heir.id, **fields}
            response = browser.post(address(name), sent, headers=HTMX if htmx else {})
            led_on = response.status_code == 302 or "HX-Redirect" in response.headers
            assert led_on if answers[role] == 302 else response.status_code == answers[role], name
            assert (AuditEvent.objects.count() > before) == (answers[role] != 403), name
            transaction.set_rollback(True)  # the next page finds everything as it was


@pytest.mark.parametrize("method", alike(["get", "post"], repeat="get"))
def test_a_stranger_gets_404_for_every_page(method: str, cast: Cast, browser: Browser, address: Any) -> None:
    ask = getattr(browser.as_(cast.stranger), method)

    assert [name for name in PAGES_OF_AN_ACCOUNT if ask(address(name)).status_code != 404] == []


def test_items_of_another_account_are_not_found_under_the_own_account(
    cast: Cast, browser: Browser, address: Any
) -> None:
    browser.as_(cast.stranger)
    for name in PAGES_OF_AN_ACCOUNT:
        if "<id:id>" in ROUTES[name][0]:
            own = address(name).replace(f"/{cast.account.slug}/", f"/{cast.elsewhere.slug}/")
            ask = browser.post if 405 in PAGES_OF_AN_ACCOUNT[name].values() else browser.get

            assert ask(own).status_code == 404, name


@pytest.mark.parametrize("method", alike(["get", "post"], repeat="get"))
def test_a_visitor_is_redirected_to_sign_in_and_back(method: str, browser: Browser, address: Any) -> None:
    for name in PAGES_OF_AN_ACCOUNT:
        response = getattr(browser, method)(address(name))

        assert response.status_code == 302, name
        assert response.headers["Location"] == f"{reverse('account_login')}?next={address(name).replace('/', '%2F')}"


@pytest.mark.parametrize("name", sorted(PAGES_OF_A_PERSON))
def test_a_users_page_requires_a_sign_in(name: str, browser: Browser) -> None:
    assert browser.get(reverse(name)).headers["Location"].startswith(reverse("account_login"))


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
def test_a_closed_account_has_one_page_and_only_for_its_owner(method: str, cast: Cast, address: Any) -> None:
    services.close_account(actor=policy.system(cast.account.ref), name="Acme")
    closed, before = reverse("accounts:closed", args=[cast.account.slug]), AuditEvent.objects.count()
    owner, admin, user = (getattr(Browser().as_(person), method) for person in (cast.owner, cast.admin, cast.user))

    for name in sorted(set(PAGES_OF_AN_ACCOUNT) - {"accounts:closed", "accounts:reopen"}):
        assert owner(address(name)).headers["Location"] == closed, name
        assert admin(address(name)).status_code == 404, name
        assert user(address(name)).status_code == 404, name
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


def test_lists_hold_nothing_of_another_account(cast: Cast, browser: Browser) -> None:
    project = factories.make_project(cast.account, "Secret project")
    factories.make_deployment(project, "secret-revision")
    factories.make_key(cast.account, name="Secret key")
    factories.make_service(cast.account, "Secret service")
    browser.as_(cast.stranger)
    for name in LISTS:
        page = browser.get(reverse(name, args=[cast.elsewhere.slug]))
        text = page.getvalue().decode() if page.streaming else page.content.decode()
        assert page.status_code == 200, name
        assert not {word for word in ("Secret", "secret-revision", "owner@example.com", "Acme") if word in text}, name
