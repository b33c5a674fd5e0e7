"""Pages of a person: their accounts, their profile."""

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from .. import services
from ..access import SignedInRequest, maker_for, signed_in
from ..forms import NewAccountForm, ProfileForm, Theme, ThemeForm, status_of
from ..models import Membership

A_YEAR = 365 * 24 * 3600


@signed_in
def accounts(request: SignedInRequest) -> HttpResponse:
    """In which account one has which role."""
    return render(request, "accounts/accounts.html", {"rows": Membership.objects.seen_by(request.user)})


@signed_in
def new_account(request: SignedInRequest) -> HttpResponse:
    form = NewAccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        account = services.create_account(**form.cleaned_data, owner=request.user, by=maker_for(request, request.user))
        messages.success(request, f"{account.name} is made. You are its Owner.")
        return redirect("overview", account.slug)
    return render(request, "accounts/new_account.html", {"form": form}, status=status_of(form))


@signed_in
def profile(request: SignedInRequest) -> HttpResponse:
    form = ProfileForm(request.POST or None, initial={"name": request.user.name, "time_zone": request.user.time_zone})
    if request.method == "POST" and form.is_valid():
        for field, value in form.cleaned_data.items():
            setattr(request.user, field, value)
        request.user.save(update_fields=form.cleaned_data)
        messages.success(request, "Profile saved.")
        return redirect("accounts:profile")
    context = {
        "form": form,
        "theme_form": ThemeForm(initial={"theme": request.COOKIES.get(Theme.COOKIE, Theme.SYSTEM)}),
        "has_two_factor": is_mfa_enabled(request.user),
    }
    return render(request, "accounts/profile.html", context, status=status_of(form))


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    form = ThemeForm(request.POST)
    response = redirect("accounts:profile")
    if form.is_valid():
        response.set_cookie(
            Theme.COOKIE,
            form.cleaned_data["theme"],
            max_age=A_YEAR,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response
