"""Settings » Account Settings » API Keys."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.vary import vary_on_headers

from accounts.access import AccountRequest, account_page, recently_authenticated
from accounts.errors import AlreadyExists
from accounts.policy import Permission

from . import services
from .forms import APIKeyForm, KeyFilter
from .models import APIKey

PAGE_SIZE = 25


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_READ)
def keys(request: AccountRequest) -> HttpResponse:
    """The list. htmx asks for its lower part alone while one searches and filters."""
    every = APIKey.objects.for_account(request.account)
    filters = KeyFilter(request.GET)
    page = Paginator(filters.apply(every), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"page": page, "filters": filters, "any": page.paginator.count > 0 or every.exists()}
    return render(request, "apikeys/_keys.html" if request.htmx else "apikeys/keys.html", context)


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def new_key(request: AccountRequest) -> HttpResponse:
    """The form, and once the key: in the answer to the form itself and nowhere else."""
    if request.method != "POST":
        return render(request, "apikeys/new_key.html", {"form": APIKeyForm(initial=request.GET.dict())})
    form = APIKeyForm(request.POST)
    if not form.is_valid():
        return render(request, "apikeys/new_key.html", {"form": form}, status=422)
    try:
        issued = services.issue(actor=request.actor, **form.terms)
    except AlreadyExists:
        made = APIKey.objects.for_account(request.account).filter(pk=form.terms["id"]).first()
        return render(request, "apikeys/made_already.html", {"api_key": made})
    response = render(request, "apikeys/reveal.html", {"issued": issued, "api": request.build_absolute_uri("/v2")})
    response.headers["Cache-Control"] = "private, no-store"
    return response


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def revoke_key(request: AccountRequest, id: str) -> HttpResponse:
    api_key = get_object_or_404(APIKey.objects.for_account(request.account), pk=id)
    if request.method == "POST":
        services.revoke(actor=request.actor, api_key=api_key)
        messages.success(request, f"{api_key.name} is revoked. It opens nothing any more.")
        return redirect("apikeys:keys", request.account.slug)
    return render(request, "apikeys/revoke_key.html", {"api_key": api_key})
