"""Two-factor authentication for Owners and Admins, transfer of ownership, closing and reopening the account."""

from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST
from django.views.decorators.vary import vary_on_headers

from .. import services
from ..decorators import (
    AccountRequest,
    account_page,
    initial_data,
    recently_authenticated,
    redirect_to_two_factor_setup,
    redirect_whole_page,
)
from ..errors import DomainError
from ..forms import CloseForm, OfferForm, TwoFactorForm, add_service_error, status_of
from ..models import Membership
from ..policy import TWO_FACTOR_ROLES, Permission


@vary_on_headers("HX-Request")
@account_page(Permission.ACCOUNT_CHANGE)
@recently_authenticated
def two_factor(request: AccountRequest) -> HttpResponse:
    """Require two-factor authentication of Owner and Admins, or make it optional again."""
    form = TwoFactorForm(request.POST)
    if request.method == "POST" and form.is_valid():
        required = form.cleaned_data["requires_two_factor"]
        services.change_account(actor=request.actor, requires_two_factor=required)
        messages.success(request, f"Two-factor authentication {'' if required else 'no longer '}required")
        return redirect_whole_page(request, "accounts:general", request.account.slug)
    asked = Membership.objects.for_account(request.account).filter(role__in=TWO_FACTOR_ROLES).select_related("user")
    context = {
        "without": asked.without_two_factor(),
        "has_two_factor": is_mfa_enabled(request.user),
    }
    return render(request, "accounts/two_factor.html", context)


# Transfer ---------------------------------------------------------------------------------------


@account_page(Permission.ACCOUNT_TRANSFER)
@recently_authenticated
def transfer(request: AccountRequest) -> HttpResponse:
    """Offer the account to a member, who becomes its Owner when they accept."""
    others = Membership.objects.for_account(request.account).exclude(user=request.user).select_related("user")
    form = OfferForm(
        request.POST or None, initial=initial_data(request).dict(), members=others, account=request.account
    )
    if request.method == "POST" and form.is_valid():
        membership = form.cleaned_data["member"]
        services.offer_ownership(actor=request.actor, membership=membership)
        messages.success(request, f"Ownership offered to {membership.user.get_short_name()}")
        return redirect("accounts:members", request.account.slug)
    return render(request, "accounts/transfer.html", {"form": form, "others": others}, status=status_of(form))


@account_page(Permission.ACCOUNT_READ)
@recently_authenticated
def accept_transfer(request: AccountRequest) -> HttpResponse:
    """Become the Owner. A banner on every page has the form. Entering the password again leads to this page."""
    if request.account.requires_two_factor and not is_mfa_enabled(request.user):
        return redirect_to_two_factor_setup(request)
    if request.method == "POST":
        services.accept_ownership(actor=request.actor)
        messages.success(request, f"Ownership accepted. You are now the Owner of {request.account.name}.")
        return redirect("accounts:general", request.account.slug)
    offered_to = request.account.offered_to
    if offered_to is None or offered_to.user_id != request.user.pk:
        messages.error(request, f"The ownership of {request.account.name} is no longer offered to you.")
        return redirect_whole_page(request, "overview", request.account.slug)
    return render(request, "accounts/accept_transfer.html", {"offered": False})  # the page itself has the banner's form


@account_page(Permission.ACCOUNT_READ)
@require_POST
def withdraw_transfer(request: AccountRequest) -> HttpResponse:
    """The Owner withdraws the offer, or its recipient declines it."""
    services.withdraw_ownership(actor=request.actor)
    may_offer = request.actor.may(Permission.ACCOUNT_TRANSFER)
    messages.success(request, "Offer withdrawn" if may_offer else "Offer declined")
    return redirect("accounts:members", request.account.slug)


# Closing ----------------------------------------------------------------------------------------


@account_page(Permission.ACCOUNT_CLOSE)
@recently_authenticated
def close(request: AccountRequest) -> HttpResponse:
    form = CloseForm(request.POST or None, initial=initial_data(request).dict())
    if request.method == "POST" and form.is_valid():
        try:
            services.close_account(actor=request.actor, name=form.cleaned_data["name"])
        except DomainError as error:
            add_service_error(form, error)
        else:
            return redirect("accounts:closed", request.account.slug)
    context = {"form": form, "until": timezone.now() + services.GRACE_PERIOD}
    return render(request, "accounts/close.html", context, status=status_of(form))


@account_page(Permission.ACCOUNT_CLOSE, allow_closed=True)
def closed(request: AccountRequest) -> HttpResponse:
    """The only page of a closed account, for its Owner."""
    if request.account.closed_at is None:
        return redirect("overview", request.account.slug)
    return render(request, "accounts/closed.html", {"until": request.account.closed_at + services.GRACE_PERIOD})


@account_page(Permission.ACCOUNT_CLOSE, allow_closed=True)
@require_POST
def reopen(request: AccountRequest) -> HttpResponse:
    services.reopen_account(actor=request.actor)
    messages.success(request, f"Account {request.account.name} reopened")
    return redirect("overview", request.account.slug)
