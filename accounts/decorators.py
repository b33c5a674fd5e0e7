"""Decorators of the pages: signed in, a member with the permission, recently authenticated."""

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
from .sessions import SIGNED_IN_AT, was_renewed
from .turns import turns

P = ParamSpec("P")

LAST_ACCOUNT = "last_account"

#: The session's key for a form that was sent when the password had to be entered again, by the form's path.
KEPT_FORM = "typed"

#: Fields that are never kept: passwords, and lines to import, which may contain keys of any format.
NEVER_KEPT = frozenset({"text", "password", "password1", "password2"})

#: In the same session, the key for the names of the form's fields that were not kept.
LEFT_OUT = "left_out"


class PageRequest(HttpRequest):
    """A request to a page, signed in or not."""

    htmx: HtmxDetails


class SignedInRequest(PageRequest):
    """A request by a signed-in user."""

    user: User


class AccountRequest(SignedInRequest):
    """A request by a signed-in user to a page of an account they are a member of."""

    account: Account
    actor: Actor


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Redirect anonymous users to sign in and back. No shared cache may store the page."""

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
    """Allow a page only for members with the permission.

    Sets `request.account` and `request.actor`. Others get 404, never 403, so they don't learn that the account
    exists. A member without the permission gets 403 (`NotPermitted`, which `ErrorPagesMiddleware` renders).

    A closed account shows only the pages with `allow_closed`, and only to its Owner.
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
            if request.method == "POST" and not was_renewed(request):
                turns.take(request.META, request.account.pk)
            if request.session.get(LAST_ACCOUNT) != slug and not allow_closed:
                request.session[LAST_ACCOUNT] = slug
            return view(request, *args, **kwargs)

        page.permission = permission  # type: ignore[attr-defined]  # the tests' matrix reads it
        return page

    return decorate


def _blocking_response(request: AccountRequest, membership: Membership, *, allow_closed: bool) -> HttpResponse | None:
    """The response that replaces every page of the account, if something blocks it.

    Only its Owner sees a closed account, and can reopen it. Members of a suspended account get a page that says so.
    If the account requires two-factor authentication, its Owner and Admins must set it up first, even if the account is
    closed.
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
    """Redirect to the two-factor set-up, and from there back to the page, or to the Overview after a POST."""
    back = request.path if request.method == "GET" else resolve_url("overview", request.account.slug)
    return _redirect_with_next(request, "mfa_index", back=back)


def recently_authenticated(
    view: Callable[Concatenate[AccountRequest, P], HttpResponse],
) -> Callable[Concatenate[AccountRequest, P], HttpResponse]:
    """Ask for the password again if it was last entered more than `SUDO_MINUTES` ago, then return to the page.

    A form that was sent is kept for `initial_data`, without fields that contain a key. Files are not kept: a page
    can't fill in a file input.
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
    """Keep the form in the session, without fields that contain a key. If the path contains one, keep nothing."""
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
    """A form's initial data: the kept form, once, or else the query string."""
    sent = pop_kept_form(request)
    return request.GET if sent is None else sent


def pop_kept_form(request: SignedInRequest) -> QueryDict | None:
    """The form that was sent before the password had to be entered again. It is returned once."""
    kept = request.session.get(KEPT_FORM, {})
    if request.path not in kept:
        return None
    del request.session[KEPT_FORM]
    notice = "Nothing was saved yet: check the form and send it again."
    if left_out := kept.get(LEFT_OUT):
        fields = ", ".join(name.replace("_", " ") for name in left_out)
        notice += f" Fill in again: {fields}. Fields that may contain a key were not kept while you signed in."
    messages.warning(request, notice)
    return QueryDict(kept[request.path])


def is_recently_authenticated(request: SignedInRequest) -> bool:
    """Whether the user authenticated in this session in the last `SUDO_MINUTES`."""
    return time.time() - authenticated_at(request) <= settings.SUDO_MINUTES * 60


def authenticated_at(request: SignedInRequest) -> float:
    """When the user last authenticated in this session, the sign-in included, as Unix time.

    allauth records every authentication in the session. A session that was started without allauth's forms
    has no record. Then the sign-in of this session counts, never a sign-in in another browser.
    """
    records = get_authentication_records(request, request.user)
    if records:
        return max(float(record["at"]) for record in records)
    return float(request.session.get(SIGNED_IN_AT, 0))


def _redirect_with_next(request: PageRequest, name: str, *, back: str) -> HttpResponse:
    """Redirect to a page that redirects back."""
    return redirect_whole_page(request, f"{resolve_url(name)}?{urlencode({REDIRECT_FIELD_NAME: back})}")


def redirect_whole_page(request: PageRequest, to: str, *args: str) -> HttpResponse:
    """Redirect the whole page, even if htmx requested only a dialog or a part of it."""
    return HttpResponseClientRedirect(resolve_url(to, *args)) if request.htmx else redirect(to, *args)


def user_of(request: HttpRequest) -> User:
    """The signed-in user, in code that only signed-in users reach."""
    assert request.user.is_authenticated
    return request.user


def initiator_for(request: HttpRequest, user: User) -> Initiator:
    """The signed-in user as the initiator of a change that has no actor yet."""
    return Initiator(ActorKind.PERSON, str(user.pk), user.email, RequestContext.of(request))


def actor_for(request: HttpRequest, membership: Membership) -> Actor:
    """The signed-in user as an actor in the membership's account."""
    return policy.person(
        id=str(membership.user_id),
        label=user_of(request).email,
        account=membership.account.ref,
        role=Role(membership.role),
        context=RequestContext.of(request),
    )
