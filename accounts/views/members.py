"""Settings » Account Settings » Members: members, invitations, and what each role may do."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from django.views.decorators.vary import vary_on_headers

from .. import links, policy, services
from ..decorators import AccountRequest, account_page, initial_data, recently_authenticated, redirect_whole_page
from ..errors import DomainError, TooManyRequests
from ..forms import ChangeRoleForm, InviteForm, add_service_error, status_of
from ..models import Invitation, Membership
from ..policy import Permission, Role

PAGE_SIZE = 25


@account_page(Permission.MEMBER_READ)
def members(request: AccountRequest) -> HttpResponse:
    rows = Membership.objects.for_account(request.account).select_related("user")
    context = {"roles": list(Role), "role_table": policy.role_table()}
    if request.actor.may(Permission.MEMBER_CHANGE):
        rows = rows.with_two_factor()
        context["invitations"] = list(Invitation.objects.for_account(request.account).open())
    context["page"] = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "accounts/members.html", context)


# Members ----------------------------------------------------------------------------------------


@vary_on_headers("HX-Request")
@account_page(Permission.MEMBER_CHANGE)
@recently_authenticated
def change_role(request: AccountRequest, id: str) -> HttpResponse:
    membership = _member(request, id)
    form = ChangeRoleForm(request.POST or None, initial={"role": membership.role}, item=membership)
    if request.method == "POST" and form.is_valid():
        role = Role(form.changes.get("role", membership.role))
        services.change_role(actor=request.actor, membership=membership, role=role)
        messages.success(request, f"Role of {membership.user.get_short_name()} changed to {role.label}")
        return _back(request)
    context = {"form": form, "person": membership.user}
    return render(request, "accounts/change_role.html", context, status=status_of(form))


@vary_on_headers("HX-Request")
@account_page(Permission.MEMBER_CHANGE)
@recently_authenticated
def remove_member(request: AccountRequest, id: str) -> HttpResponse:
    membership = _member(request, id)
    if request.method == "POST":
        services.remove_member(actor=request.actor, membership=membership)
        messages.success(request, f"{membership.user.get_short_name()} removed from {request.account.name}")
        return _back(request)
    return render(request, "accounts/remove_member.html", {"membership": membership})


@vary_on_headers("HX-Request")
@account_page(Permission.MEMBER_READ)
def leave(request: AccountRequest) -> HttpResponse:
    if request.method == "POST":
        services.leave(actor=request.actor)
        messages.success(request, f"You left {request.account.name}")
        return redirect("home")
    services.require_not_owner(request.actor.role)
    return render(request, "accounts/leave.html")


def _member(request: AccountRequest, id: str) -> Membership:
    """A member who can be changed or removed: anyone but the Owner."""
    members = Membership.objects.for_account(request.account).select_related("user")
    membership = get_object_or_404(members, pk=id)
    services.require_not_owner(membership.role)
    return membership


# Invitations ------------------------------------------------------------------------------------


@vary_on_headers("HX-Request")
@account_page(Permission.MEMBER_CHANGE)
@recently_authenticated
def invite(request: AccountRequest) -> HttpResponse:
    form = InviteForm(request.POST or None, initial=initial_data(request).dict())
    if request.method == "POST" and form.is_valid():
        email, role = form.cleaned_data["email"], Role(form.cleaned_data["role"])
        try:
            sent = services.invite(actor=request.actor, email=email, role=role, link=links.invitations(request))
        except DomainError as error:
            add_service_error(form, error)
        else:
            messages.success(request, f"{sent.email} invited")
            return _back(request)
    return render(request, "accounts/invite.html", {"form": form}, status=status_of(form))


@account_page(Permission.MEMBER_CHANGE)
@require_POST
def resend_invitation(request: AccountRequest, id: str) -> HttpResponse:
    try:
        sent = services.resend_invitation(
            actor=request.actor, invitation=_invitation(request, id), link=links.invitations(request)
        )
    except TooManyRequests as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"Invitation sent to {sent.email} again. The old link no longer works.")
    return _back(request)


@vary_on_headers("HX-Request")
@account_page(Permission.MEMBER_CHANGE)
@recently_authenticated
def change_invitation(request: AccountRequest, id: str) -> HttpResponse:
    invitation = _invitation(request, id)
    form = ChangeRoleForm(request.POST or None, initial={"role": invitation.role}, item=invitation)
    if request.method == "POST" and form.is_valid():
        role = Role(form.changes.get("role", invitation.role))
        services.change_invitation(actor=request.actor, invitation=invitation, role=role)
        messages.success(request, f"Role of {invitation.email} changed to {role.label}")
        return _back(request)
    context = {"form": form, "invitation": invitation}
    return render(request, "accounts/change_role.html", context, status=status_of(form))


@vary_on_headers("HX-Request")
@account_page(Permission.MEMBER_CHANGE)
def withdraw_invitation(request: AccountRequest, id: str) -> HttpResponse:
    invitation = _invitation(request, id)
    if request.method == "POST":
        services.withdraw_invitation(actor=request.actor, invitation=invitation)
        messages.success(request, f"Invitation for {invitation.email} withdrawn")
        return _back(request)
    return render(request, "accounts/withdraw_invitation.html", {"invitation": invitation})


def _invitation(request: AccountRequest, id: str) -> Invitation:
    return get_object_or_404(Invitation.objects.for_account(request.account).open(), pk=id)


def _back(request: AccountRequest) -> HttpResponse:
    return redirect_whole_page(request, "accounts:members", request.account.slug)
