"""The page of an invitation's link, for any visitor."""

from collections.abc import Callable

from allauth.account.utils import perform_login
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from .. import services
from ..context import RequestContext
from ..errors import DomainError
from ..forms import JoinForm, status_of
from ..models import Invitation, Membership, User


def _keep_token_private(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep the URL, which contains the token, out of caches and out of `Referer`."""

    def page(request: HttpRequest, token: str) -> HttpResponse:
        response = view(request, token)
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return page


@_keep_token_private
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    found = services.find_invitation(token)
    if found is None:
        return render(request, "accounts/invitation_ended.html", status=404)
    if not found.is_acceptable:
        return _ended(request, found)
    if request.user.is_authenticated:
        return _for_signed_in(request, request.user, found, token)
    if services.is_registered(found.email):
        return _for_signed_out(request, found)
    return _for_newcomer(request, found, token)


def _ended(request: HttpRequest, found: Invitation) -> HttpResponse:
    is_member = request.user.is_authenticated and _is_member(request.user, found)
    return render(request, "accounts/invitation_ended.html", {"invitation": found, "is_member": is_member}, status=410)


def _is_member(user: User, found: Invitation) -> bool:
    open_account = found.account.closed_at is None
    return open_account and Membership.objects.for_account(found.account).filter(user=user).exists()


def _for_signed_in(request: HttpRequest, user: User, found: Invitation, token: str) -> HttpResponse:
    if not services.has_address(user, found.email):
        return render(request, "accounts/invitation_of_another.html", {"invitation": found}, status=403)
    if request.method != "POST":
        return render(request, "accounts/invitation.html", {"invitation": found})
    try:
        services.accept_invitation(token=token, user=user, context=RequestContext.of(request))
    except DomainError:
        # Withdrawn or used in the meantime: the page says which.
        return redirect(request.path)
    return redirect("overview", found.account.slug)


def _for_signed_out(request: HttpRequest, found: Invitation) -> HttpResponse:
    sign_in = f"{resolve_url('account_login')}?{urlencode({REDIRECT_FIELD_NAME: request.path})}"
    if request.method == "POST":
        return redirect(sign_in)
    return render(request, "accounts/invitation.html", {"invitation": found, "sign_in": sign_in})


def _for_newcomer(request: HttpRequest, found: Invitation, token: str) -> HttpResponse:
    form = JoinForm(request.POST or None, email=found.email)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.join(token=token, **form.cleaned_data, context=RequestContext.of(request))
        except DomainError:
            return redirect(request.path)
        overview = resolve_url("overview", found.account.slug)
        response: HttpResponse = perform_login(request, user, redirect_url=overview, signup=True)
        return response
    return render(request, "accounts/invitation.html", {"invitation": found, "form": form}, status=status_of(form))
