"""The API reference in the dashboard, with examples of the member's account, and where programs find it."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts import links
from accounts.decorators import AccountRequest, account_page
from accounts.models import AuditEvent, Invitation, Membership, Project
from accounts.policy import Permission
from apikeys.models import APIKey, Service

from .api.docs import START
from .api.reference import pages
from .api.reference.pages import Named, Page, Site

#: A profile of linksets (RFC 9264), which says that this one is an API catalog (RFC 9727, §4).
CATALOG = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'


@account_page(Permission.ACCOUNT_READ)
def start(request: AccountRequest) -> HttpResponse:
    """The start page, or with `q` what the search finds."""
    return _page(request, pages.start(site(request), request.GET.get("q", "")))


@account_page(Permission.ACCOUNT_READ)
def errors(request: AccountRequest) -> HttpResponse:
    return _page(request, pages.errors(site(request)))


@account_page(Permission.ACCOUNT_READ)
def guide(request: AccountRequest, name: str) -> HttpResponse:
    return _page(request, pages.guide(site(request), name))


@account_page(Permission.ACCOUNT_READ)
def resource(request: AccountRequest, resource: str) -> HttpResponse:
    """A resource, with the member's newest items in its examples."""
    return _page(request, pages.resource(site(request, **dict(_items(request))), resource))


def _page(request: AccountRequest, page: Page) -> HttpResponse:
    return render(request, page.template, {**page.context, "frame": "base.html"})


def site(request: AccountRequest, **items: Named) -> Site:
    """The reference in the account's part of the dashboard. `items` are those that its examples name."""
    path = reverse("reference", args=[request.account.slug]).removesuffix("/")
    return Site(path, "/", links.on_page("/v2", request).removesuffix("/v2"), items)


def _items(request: AccountRequest) -> Iterator[tuple[str, Named]]:
    """The newest item of each kind that the member may see, under the first letters of its id."""
    account, may = request.account, request.actor.may
    if project := Project.objects.for_account(account).first():
        yield "prj", Named(project.public_id, project.name)
        if deployment := project.deployments.first():
            yield "dep", Named(deployment.id, deployment.revision)
    if service := Service.objects.for_account(account).first():
        yield "svc", Named(service.id, service.name)
    if may(Permission.API_KEY_READ) and (api_key := APIKey.objects.for_account(account).first()):
        yield "key", Named(api_key.id, api_key.name)
    if may(Permission.MEMBER_CHANGE):
        others = Membership.objects.for_account(account).exclude(user=request.user).select_related("user")
        if member := others.first():
            yield "mbr", Named(member.id, member.user.email)
        if invitation := Invitation.objects.for_account(account).open().first():
            yield "inv", Named(invitation.id, invitation.email)
    if may(Permission.AUDIT_READ) and (event := AuditEvent.objects.for_account(account).first()):
        yield "evt", Named(event.id, event.event)


@require_safe
def api_catalog(request: HttpRequest) -> HttpResponse:
    """`/.well-known/api-catalog` (RFC 9727): where the API, its description, its reference and its health are."""
    api = links.on_page("/v2", request)
    linkset: dict[str, Any] = {
        "anchor": api,
        "service-desc": [{"href": f"{api}/openapi.json", "type": "application/json"}],
        "service-doc": [{"href": links.on_page(START, request), "type": "text/html"}],
        "status": [{"href": links.on_page(reverse("healthz"), request)}],
    }
    response = JsonResponse({"linkset": [linkset]}, content_type=CATALOG)
    here = links.on_page(reverse("api_catalog"), request)
    response.headers["Link"] = f'<{here}>; rel="api-catalog", <{api}>; rel="item"'
    return response
