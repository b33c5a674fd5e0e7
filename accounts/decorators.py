"""The door of every page: signed in, a member who may, and for weighty things signed in lately."""

import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render, resolve_url
from django.utils.cache import patch_cache_control
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from . import policy, redaction
from .context import RequestContext
from .models import Account, Membership, User
from .policy import Actor, ActorKind, Permission, Role
from .services import Initiator
from .sessions import SIGNED_IN_AT

P = ParamSpec("P")

LAST_ACCOUNT = "last_account"

#: Where a session keeps what was typed into a form that was sent too late, by the form's address.
KEPT_FORM = "typed"

#: What of a form is never kept so: lines to import, in which somebody may have pasted keys of any form, and passwords.
NEVER_KEPT = frozenset({"text", "password", "password1", "password2"})

#: Beside the kept form, the names of its fields that were left out.
LEFT_OUT = "left_out"


class PageRequest(HttpRequest):
    """A request to a page, by whomever."""

    htmx: HtmxDetails


class SignedInRequest(PageRequest):
    """A request of a signed-in person."""

    user: User


class AccountRequest(SignedInRequest):
    """A request of a signed-in person to a page of an account they are a member of."""

    account: Account
    actor: Actor


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Send everybody else to sign-in and back. What a page shows to one person is kept in no shared cache."""

    @wraps(view)
    def page(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            asked_from = request.htmx.current_url_abs_path if request.htmx else None
            return _redirect_with_next(request, settings.LOGIN_URL, back=asked_from or request.get_full_path())
        response = view(request, *args, **kwargs)
        if "Cache-Control" not in response.headers:
            patch_cache_control(response, private=True, no_cache=True)
        return response

    return page


def account_page(
    permission: Permission, *, allow_closed: bool = False
) -> Callable[[Callable[Concatenate[AccountRequest, P], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Let a page be opened only by members with the permission.

    Sets `request.account` and `request.actor`. A stranger gets 404, never 403: another tenant's account is
    no one's business. A member without the permission gets 403 (`NotPermitted`, which
    `ErrorPagesMiddleware` draws).

    A closed account has the pages marked `allow_closed`, for its Owner, and no others.
    """

    def decorate(view: Callable[Concatenate[AccountRequest, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @signed_in
        @wraps(view)
        def page(request: AccountRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            membership = (
                Membership.objects.filter(user=request.user, account__slug=slug).select_related("account").first()
            )
            if membership is None:
                raise Http404
            request.account = membership.account
            request.actor = actor_for(request, membership)
            if response := _blocking_response(request, membership, allow_closed=allow_closed):
                return response
            policy.require(request.actor, permission)
            if request.session.get(LAST_ACCOUNT) != slug and not allow_closed:
                request.session[LAST_ACCOUNT] = slug
            return view(request, *args, **kwargs)

        page.permission = permission  # type: ignore[attr-defined]  # the tests' matrix reads it
        return page

    return decorate


def _blocking_response(request: AccountRequest, membership: Membership, *, allow_closed: bool) -> HttpResponse | None:
    """What stands between a member and every page of the account, if anything does.

    A closed account is there for its Owner alone, who may take it back. The people of a suspended one are
    told so. An account may ask two-factor of its Owner and Admins, who are led to set it up; its being closed
    changes nothing about that.
    """
    account = membership.account
    if account.closed_at is not None:
        if membership.role != Role.OWNER:
            raise Http404
        if not allow_closed:
            return redirect_whole_page(request, "accounts:closed", account.slug)
    elif account.suspended_at is not None:
        return render(request, "accounts/suspended.html", status=403)
    if membership.needs_two_factor and not is_mfa_enabled(request.user):
        return redirect_to_two_factor_setup(request)
    return None


def redirect_to_two_factor_setup(request: AccountRequest) -> HttpResponse:
    """Lead to where one sets up two-factor, and back to the page, or to the Overview if a form was sent."""
    back = request.path if request.method == "GET" else resolve_url("overview", request.account.slug)
    return _redirect_with_next(request, "mfa_index", back=back)


def recently_authenticated(
    view: Callable[Concatenate[AccountRequest, P], HttpResponse],
) -> Callable[Concatenate[AccountRequest, P], HttpResponse]:
    """Ask for the password again when it was last given more than `SUDO_MINUTES` ago, and come back.

    What was typed into a form that was sent too late is kept meanwhile, for `typed`, but for what holds a key.
    A file is not: a browser lets nobody but the reader choose one.
    """

    @wraps(view)
    def page(request: AccountRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if is_recently_authenticated(request):
            return view(request, *args, **kwargs)
        if request.method == "POST":
            _keep_form(request)
        return _redirect_with_next(request, "account_reauthenticate", back=request.get_full_path())

    return page


def _keep_form(request: AccountRequest) -> None:
    """Keep the form in the session. Where a key stands in an address, or as a field's name, nothing is kept of it."""
    sent = request.POST.copy()
    sent.pop("csrfmiddlewaretoken", None)
    left_out = [name for name, values in sent.lists() if any(values) and not _may_be_kept(name, values)]
    for name in left_out:
        del sent[name]
    if not redaction.holds_secret(request.path):
        named = [name for name in left_out if not redaction.holds_secret(name)]
        request.session[KEPT_FORM] = {request.path: sent.urlencode(), LEFT_OUT: named}


def _may_be_kept(name: str, values: Iterable[Any]) -> bool:
    return name not in NEVER_KEPT and not any(redaction.holds_secret(str(text)) for text in (name, *values))


def initial_data(request: SignedInRequest) -> QueryDict:
    """What fills a form in: what was typed before the password was asked for, once, or else what the address says."""
    sent = pop_kept_form(request)
    return request.GET if sent is None else sent


def pop_kept_form(request: SignedInRequest) -> QueryDict | None:
    """The form that was sent before the password was asked for, once."""
    kept = request.session.get(KEPT_FORM, {})
    if request.path not in kept:
        return None
    del request.session[KEPT_FORM]
    notice = "Nothing was saved yet: check the form and send it again."
    if left_out := kept.get(LEFT_OUT):
        fields = ", ".join(name.replace("_", " ") for name in left_out)
        notice += f" Fill in again: {fields}. What may hold a key was not kept while you signed in."
    messages.warning(request, notice)
    return QueryDict(kept[request.path])


def is_recently_authenticated(request: SignedInRequest) -> bool:
    """Whether the person at this browser proved who they are in the last `SUDO_MINUTES`."""
    return time.time() - authenticated_at(request) <= settings.SUDO_MINUTES * 60


def authenticated_at(request: SignedInRequest) -> float:
    """When the person at this browser last proved who they are, the sign-in included, as Unix time.

    allauth records every proof in the session. A session that was opened past its forms has none; there
    the session's own sign-in counts, and never one at another browser.
    """
    records = get_authentication_records(request, request.user)
    if records:
        return max(float(record["at"]) for record in records)
    return float(request.session.get(SIGNED_IN_AT, 0))


def _redirect_with_next(request: PageRequest, name: str, *, back: str) -> HttpResponse:
    """Lead to a page that leads back."""
    return redirect_whole_page(request, f"{resolve_url(name)}?{urlencode({REDIRECT_FIELD_NAME: back})}")


def redirect_whole_page(request: PageRequest, to: str, *args: str) -> HttpResponse:
    """Redirect the whole page, also when a dialog or a part of the page asked."""
    return HttpResponseClientRedirect(resolve_url(to, *args)) if request.htmx else redirect(to, *args)


def user_of(request: HttpRequest) -> User:
    """The person at the browser, where nobody comes who isn't signed in."""
    assert request.user.is_authenticated
    return request.user


def initiator_for(request: HttpRequest, user: User) -> Initiator:
    """The person at the browser, about to make an account."""
    return Initiator(ActorKind.PERSON, str(user.pk), user.email, RequestContext.of(request))


def actor_for(request: HttpRequest, membership: Membership) -> Actor:
    """The person at the browser, in the account of that membership."""
    return policy.person(
        id=str(membership.user_id),
        label=user_of(request).email,
        account=membership.account.ref,
        role=Role(membership.role),
        context=RequestContext.of(request),
    )
