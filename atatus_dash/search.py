"""Ctrl K: searches the account's keys, services, projects, members and pages, and the operations of the API."""

from collections.abc import Iterator
from typing import NamedTuple

from django.conf import settings
from django.db.models import Q
from django.urls import reverse

from accounts.decorators import AccountRequest
from accounts.models import Membership, Project
from accounts.policy import Permission
from apikeys import tokens
from apikeys.models import APIKey, APIKeyQuerySet, Service

from .api.reference import pages
from .api.reference.search import find_operations
from .reference import site

#: Results of each kind, and characters of the search text.
MAX_RESULTS, MAX_LENGTH = 5, 100

_PAGES = {
    "Overview": ("overview", Permission.ACCOUNT_READ),
    "Projects": ("accounts:projects", Permission.PROJECT_READ),
    "Services": ("apikeys:services", Permission.SERVICE_READ),
    "API Keys": ("apikeys:keys", Permission.API_KEY_READ),
    "Members": ("accounts:members", Permission.MEMBER_READ),
    "Audit Log": ("accounts:audit_log", Permission.AUDIT_READ),
    "Account Settings": ("accounts:general", Permission.ACCOUNT_READ),
    **({"API reference": ("reference", Permission.ACCOUNT_READ)} if settings.API_DOCS else {}),
}


class SearchResult(NamedTuple):
    kind: str
    name: str
    #: Distinguishes results of the same name.
    detail: str
    url: str


def search(request: AccountRequest, typed: str) -> list[SearchResult]:
    """Items that match the text (part of a name, an id, a mask or a whole key) and that the member may see."""
    text = typed.replace("\0", "").strip()
    keys = APIKey.objects.for_account(request.account)
    if tokens.may_be_a_key(text) and (found := list(_keys(request, keys.filter(digest=tokens.digest(text))))):
        return found
    text = text[:MAX_LENGTH]
    return [*_pages(request, text), *((*_things(request, text), *_operations(request, text)) if text else ())]


def _pages(request: AccountRequest, text: str) -> Iterator[SearchResult]:
    for name, (route, permission) in _PAGES.items():
        if request.actor.may(permission) and text.lower() in name.lower():
            yield SearchResult("Page", name, "", reverse(route, args=[request.account.slug]))


def _things(request: AccountRequest, text: str) -> Iterator[SearchResult]:
    account = request.account
    yield from _keys(request, APIKey.objects.for_account(account).search(text))
    for service in Service.objects.visible_to(account).search(text)[:MAX_RESULTS]:
        yield SearchResult(
            "Service", service.name, service.id, reverse("apikeys:service", args=[account.slug, service.id])
        )
    for project in Project.objects.for_account(account).search(text)[:MAX_RESULTS]:
        yield SearchResult(
            "Project", project.name, "", reverse("accounts:project", args=[account.slug, project.public_id])
        )
    if request.actor.may(Permission.MEMBER_READ):
        who = Q(user__email__icontains=text) | Q(user__name__icontains=text)
        for member in Membership.objects.for_account(account).filter(who).select_related("user")[:MAX_RESULTS]:
            url = reverse("accounts:members", args=[account.slug])
            yield SearchResult("Member", member.user.get_short_name(), member.user.email, url)


def _operations(request: AccountRequest, text: str) -> Iterator[SearchResult]:
    if settings.API_DOCS:
        here = site(request)
        for one in find_operations(pages.reference(), text)[:MAX_RESULTS]:
            yield SearchResult("API operation", one.title, one.detail, here.url(one.path))


def _keys(request: AccountRequest, keys: APIKeyQuerySet) -> Iterator[SearchResult]:
    if request.actor.may(Permission.API_KEY_READ):
        for api_key in keys[:MAX_RESULTS]:
            url = reverse("apikeys:key", args=[request.account.slug, api_key.id])
            yield SearchResult("API key", api_key.name, api_key.mask, url)
