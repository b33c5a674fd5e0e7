"""Services: the APIs that stand behind an account's keys."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.vary import vary_on_headers

from accounts import keyset, links
from accounts.access import AccountRequest, account_page, lead_to, recently_authenticated, sent_before
from accounts.errors import DomainError, Invalid
from accounts.forms import refuse, status_of
from accounts.models import Account, AuditEvent
from accounts.policy import Permission

from .. import charts, scopes
from .. import services as actions
from ..forms import EditServiceForm, ServiceForm
from ..models import APIKey, KeyUsage, Service, State
from ..scopes import Entry

PAGE_SIZE = 25
LATEST_EVENTS = 10
NEWEST_KEYS = 10
#: Keys or accounts whose requests to a service are told, those with the most.
MOST_USERS = 25


@account_page(Permission.SERVICE_READ)
def services(request: AccountRequest) -> HttpResponse:
    rows = Service.objects.visible_to(request.account)
    try:
        page = keyset.page(rows, size=PAGE_SIZE, cursor=request.GET.get("page", ""))
    except ValueError:  # an address that was changed by hand
        page = keyset.page(rows, size=PAGE_SIZE)
    return render(request, "apikeys/services.html", {"page": page})


@account_page(Permission.SERVICE_READ)
def service(request: AccountRequest, id: str) -> HttpResponse:
    """Everything about one service. Of another account's that is shared, its name."""
    service = _service(request, id)
    events = AuditEvent.objects.for_account(request.account).filter(target_id=service.id)
    keys = _keys_opening(request, service) if Permission.API_KEY_READ in request.actor.permissions else []
    context = {
        "service": service,
        "asked_at": links.for_gateways(f"/v2/verify/{service.id}/", request),
        "keys": keys[:NEWEST_KEYS],
        "has_more_keys": len(keys) > NEWEST_KEYS,
        "events": events[:LATEST_EVENTS],
        **_use(request, service),
    }
    return render(request, "apikeys/service.html", context)


def _keys_opening(request: AccountRequest, service: Service) -> list[tuple[APIKey, Entry | None]]:
    """The account's newest keys that open the service, one more than is shown: each with its entry, if it has any."""
    keys = APIKey.objects.for_account(request.account).in_state(State.ACTIVE).opening(service.pk)
    return [(api_key, scopes.entry_of(api_key.access, service.pk)) for api_key in keys[: NEWEST_KEYS + 1]]


def _use(request: AccountRequest, service: Service) -> dict[str, Any]:
    """The requests of 30 days: by key for the account's own keys; by account for the owner of a shared service."""
    usage = KeyUsage.objects.filter(service=service.id)
    if service.shared and service.account_id == request.account.id:
        uses = charts.by_value(usage, "api_key__account", charts.MONTH, most=MOST_USERS)
        accounts = Account.objects.in_bulk(list(uses))
        return {
            "chart": charts.chart(charts.by_day(usage, charts.MONTH)),
            "by_account": [(accounts[id], use) for id, use in uses.items() if id in accounts],
            "most": MOST_USERS,
        }
    usage = usage.for_account(request.account)
    uses = charts.by_value(usage, "api_key", charts.MONTH, most=MOST_USERS)
    keys = APIKey.objects.for_account(request.account).in_bulk(list(uses))
    return {
        "chart": charts.chart(charts.by_day(usage, charts.MONTH)),
        "by_key": [(keys[id], use) for id, use in uses.items() if id in keys],
        "most": MOST_USERS,
    }


@vary_on_headers("HX-Request")
@account_page(Permission.SERVICE_CHANGE)
def new_service(request: AccountRequest) -> HttpResponse:
    form = ServiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            service = actions.create_service(actor=request.actor, **form.cleaned_data)
        except Invalid as error:
            refuse(form, error)
        else:
            messages.success(request, f"Service {service.name} created.")
            return lead_to(request, "apikeys:service", request.account.slug, service.pk)
    return render(request, "apikeys/new_service.html", {"form": form}, status=status_of(form))


@account_page(Permission.SERVICE_CHANGE)
def edit_service(request: AccountRequest, id: str) -> HttpResponse:
    """Change settings. The password is asked for again only where the service lets more through."""
    service = _changeable(request, id)
    if request.method != "POST":
        return _edit_form(request, service, EditServiceForm(sent_before(request), service=service))
    form = EditServiceForm(request.POST, service=service)
    if not form.is_valid():
        return _edit_form(request, service, form, status=422)
    widened = actions.widens_service(service, **form.changes)
    return recently_authenticated(_change)(request, service, form) if widened else _change(request, service, form)


def _change(request: AccountRequest, service: Service, form: EditServiceForm) -> HttpResponse:
    try:
        actions.change_service(actor=request.actor, service=service, **form.changes)
    except DomainError as error:
        refuse(form, error)
        return _edit_form(request, service, form, status=422)
    messages.success(request, "Service saved. Changes apply to the next request.")
    return redirect("apikeys:service", request.account.slug, service.pk)


def _edit_form(request: AccountRequest, service: Service, form: EditServiceForm, *, status: int = 200) -> HttpResponse:
    return render(request, "apikeys/edit_service.html", {"service": service, "form": form}, status=status)


@vary_on_headers("HX-Request")
@account_page(Permission.SERVICE_CHANGE)
@recently_authenticated
def delete_service(request: AccountRequest, id: str) -> HttpResponse:
    service = _changeable(request, id)
    if request.method == "POST":
        actions.delete_service(actor=request.actor, service=service)
        messages.success(request, f"Service {service.name} deleted.")
        return redirect("apikeys:services", request.account.slug)
    return render(request, "apikeys/delete_service.html", {"service": service})


def _service(request: AccountRequest, id: str) -> Service:
    return get_object_or_404(Service.objects.visible_to(request.account), pk=id)


def _changeable(request: AccountRequest, id: str) -> Service:
    """Raises `NotPermitted` for a shared one."""
    service = _service(request, id)
    actions.require_may_change(request.actor, service)
    return service
