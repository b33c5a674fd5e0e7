"""Pages of a user: their accounts, their profile."""

from typing import Any

from allauth.core import ratelimit
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from django.views.decorators.vary import vary_on_headers

from .. import cookies, services
from ..decorators import SignedInRequest, initiator_for, signed_in
from ..errors import NotPermitted, TooManyRequests
from ..forms import (
    PASSWORD_RULES,
    AppearanceForm,
    NewAccountForm,
    ProfileForm,
    Shortcuts,
    Theme,
    add_service_error,
    status_of,
)
from ..models import Membership

A_YEAR = 365 * 24 * 3600


@signed_in
def accounts(request: SignedInRequest) -> HttpResponse:
    """The user's accounts and their role in each."""
    return render(request, "accounts/accounts.html", {"rows": Membership.objects.visible_to(request.user)})


@signed_in
def new_account(request: SignedInRequest) -> HttpResponse:
    """Create another account, if `SIGNUP_OPEN` allows it."""
    if not settings.SIGNUP_OPEN:
        raise NotPermitted("Only the operator of this server can create accounts.")
    form = NewAccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if not ratelimit.consume(request, action="new_account"):
            return _too_many_accounts(request, form)
        account = services.create_account(
            **form.cleaned_data, owner=request.user, by=initiator_for(request, request.user)
        )
        messages.success(request, f"Account {account.name} created")
        return redirect("overview", account.slug)
    return render(request, "accounts/new_account.html", {"form": form}, status=status_of(form))


def _too_many_accounts(request: SignedInRequest, form: NewAccountForm) -> HttpResponse:
    error = TooManyRequests("Too many accounts were created. Try again in an hour.", retry_after=3600)
    add_service_error(form, error)
    response = render(request, "accounts/new_account.html", {"form": form}, status=error.status)
    response.headers["Retry-After"] = str(error.retry_after)
    return response


@signed_in
def profile(request: SignedInRequest) -> HttpResponse:
    form = ProfileForm(request.POST or None, initial={"name": request.user.name, "time_zone": request.user.time_zone})
    if request.method == "POST" and form.is_valid():
        for field, value in form.cleaned_data.items():
            setattr(request.user, field, value)
        request.user.save(update_fields=form.cleaned_data)
        messages.success(request, "Changes saved")
        return redirect("accounts:profile")
    context = {
        "form": form,
        "appearance_form": AppearanceForm(initial=_appearance(request)),
        "password_rules": PASSWORD_RULES,
        "has_two_factor": is_mfa_enabled(request.user),
    }
    return render(request, "accounts/profile.html", context, status=status_of(form))


@require_POST
def appearance(request: HttpRequest) -> HttpResponse:
    form = AppearanceForm(request.POST)
    response = redirect("accounts:profile")
    if form.is_valid():
        _set_cookie(response, Theme.COOKIE, form.cleaned_data["theme"])
        _set_cookie(response, Shortcuts.COOKIE, "" if form.cleaned_data["shortcuts"] else Shortcuts.OFF)
        messages.success(request, "Appearance saved in this browser")
    return response


@vary_on_headers("HX-Request")
@signed_in
def keyboard(request: SignedInRequest) -> HttpResponse:
    """The keyboard shortcuts, with a link to switch them off."""
    return render(request, "accounts/keyboard.html")


def _appearance(request: HttpRequest) -> dict[str, Any]:
    return {
        "theme": request.COOKIES.get(cookies.name(Theme.COOKIE), Theme.SYSTEM),
        "shortcuts": request.COOKIES.get(cookies.name(Shortcuts.COOKIE)) != Shortcuts.OFF,
    }


def _set_cookie(response: HttpResponse, cookie: str, value: str) -> None:
    response.set_cookie(
        cookies.name(cookie),
        value,
        max_age=A_YEAR,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
