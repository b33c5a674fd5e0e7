"""Pages of Settings » Account Settings » API Keys."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST
from django.views.decorators.vary import vary_on_headers

from accounts import ids, links
from accounts.audit import Event
from accounts.decorators import AccountRequest, account_page, initial_data, pop_kept_form, recently_authenticated
from accounts.errors import AlreadyExists, DomainError, Invalid, InvalidState
from accounts.forms import add_service_error, status_of
from accounts.models import AuditEvent
from accounts.policy import KeyPermission, Permission

from .. import charts, scopes, services, tokens
from ..calls import Call
from ..forms import (
    APIKeyForm,
    DescribedRequestForm,
    EditKeyForm,
    HostForm,
    ImportForm,
    KeyFilter,
    KeySettingsForm,
    RotateForm,
    summary_of,
)
from ..guard import configurations
from ..models import APIKey, KeyUsage, KeyUsageQuerySet, Service, State
from ..scopes import Entry
from ..services import Issued, Overlap

#: Keys on a page. With more, each with its menu and sparkline, it would exceed 10 KB.
PAGE_SIZE = 20
LATEST_EVENTS = 10
LATEST_SOURCES = 10
MAX_SOURCES = 100
MAX_SERVICES = 50


# Viewing ------------------------------------------------------------------------------------------


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_READ)
def keys(request: AccountRequest) -> HttpResponse:
    """The list. htmx requests only the `list` fragment for search, filters and sorting."""
    every = APIKey.objects.for_account(request.account)
    filters = KeyFilter(request.GET)
    page = Paginator(filters.apply(every), PAGE_SIZE).get_page(request.GET.get("page"))
    shown = list(page)
    sparks = charts.sparks(shown) if shown else {}
    opened = filters.cleaned_data.get("service")
    context = {
        "page": page,
        "rows": [(api_key, sparks[api_key.pk]) for api_key in shown],
        "filters": filters,
        "opened": opened,
        "service": Service.objects.visible_to(request.account).filter(pk=opened).first() if opened else None,
        "any": page.paginator.count > 0 or every.exists(),
        "scanner_pattern": tokens.SCANNER_PATTERN,
        "api": links.on_page("/v2", request),
    }
    return render(request, "apikeys/keys.html#list" if request.htmx else "apikeys/keys.html", context)


@account_page(Permission.API_KEY_READ)
def key(request: AccountRequest, id: str) -> HttpResponse:
    """The page of one key: settings, usage, history and actions."""
    keys = APIKey.objects.for_account(request.account).select_related("rotated_from")
    api_key = get_object_or_404(keys, pk=id)
    opens = _opens(request, api_key)
    context = {
        "api_key": api_key,
        "opens": opens,
        "test_form": _test_form(request, opens),
        "successor": api_key.successors.first() if api_key.rotated_at else None,
        "usual_rate": settings.API_RATE_LIMIT,
        **_use(request, api_key),
        **_sources(api_key),
        **_history(request, api_key),
    }
    return render(request, "apikeys/key.html", context)


def _use(request: AccountRequest, api_key: APIKey) -> dict[str, Any]:
    usage = KeyUsage.objects.filter(api_key=api_key)
    days = charts.by_day(usage, charts.MONTH)
    return {"chart": charts.chart(days), "by_service": _by_service(request, usage), "today": list(days.values())[-1]}


def _sources(api_key: APIKey) -> dict[str, Any]:
    """The latest sources of the key, and the number of its sources since rotation."""
    sources, rotated_at = api_key.origins.all(), api_key.rotated_at
    return {
        "sources": sources[:LATEST_SOURCES],
        "sources_since": sources.filter(last_used_at__gte=rotated_at)[:MAX_SOURCES].count() if rotated_at else 0,
        "max_sources": MAX_SOURCES,
        "rotated_today": rotated_at is not None and rotated_at.date() == timezone.now().date(),
    }


def _history(request: AccountRequest, api_key: APIKey) -> dict[str, Any]:
    events = AuditEvent.objects.for_account(request.account).filter(target_id=api_key.id)
    return {
        "events": events[:LATEST_EVENTS],
        "exposure": events.filter(event=Event.API_KEY_EXPOSED).first() if api_key.exposed_at else None,
        "revocation": events.filter(event=Event.API_KEY_REVOKED).first() if api_key.revoked_at else None,
    }


def _opens(request: AccountRequest, api_key: APIKey) -> list[tuple[Entry, Service | None]]:
    """The entries of a key's access, each with its service, or None if it was deleted."""
    entries = scopes.load(api_key.access) or ()
    ids = [entry.service for entry in entries if entry.service != scopes.API]
    services = Service.objects.visible_to(request.account).in_bulk(ids) if ids else {}
    return [(entry, services.get(entry.service)) for entry in entries]


def _test_form(request: AccountRequest, opens: Sequence[tuple[Entry, Service | None]]) -> DescribedRequestForm:
    """The form of "Test a request", for the first service and path that the key can access."""
    initial = {}
    if entry := next((entry for entry, service in opens if service), None):
        initial = {"service": entry.service, "path": (entry.paths or ("/",))[0].removesuffix("/*") or "/"}
    return DescribedRequestForm(initial=initial, services=Service.objects.visible_to(request.account))


def _by_service(request: AccountRequest, usage: KeyUsageQuerySet) -> list[tuple[str, Service | None, charts.Use]]:
    """Usage of a key at each service in 30 days. Empty if it was used only at `/v2`.

    The service is None if it was deleted or is no longer shared.
    """
    uses = charts.by_value(usage, "service", charts.MONTH, most=MAX_SERVICES)
    if not uses.keys() - {scopes.API}:
        return []
    services = Service.objects.visible_to(request.account).in_bulk(list(uses))
    return [(id, services.get(id), use) for id, use in uses.items()]


# Creating -----------------------------------------------------------------------------------------


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def new_key(request: AccountRequest) -> HttpResponse:
    """The form. Only its response shows the new key."""
    if request.method != "POST":
        return _new_form(request, APIKeyForm.prefilled(initial_data(request), {}, account=request.account))
    form = APIKeyForm(request.POST, account=request.account)
    if form.is_valid():
        try:
            issued = services.create_api_key(actor=request.actor, **form.settings)
            return _reveal(request, issued, first_calls=_first_calls(request, form, issued.api_key))
        except AlreadyExists:
            return _already_created(request, form.settings["id"])
        except Invalid as error:
            add_service_error(form, error)
    return _new_form(request, form, status=422)


def _new_form(request: AccountRequest, form: APIKeyForm, *, status: int = 200) -> HttpResponse:
    context = {"form": form, "summary": summary_of(form), "for_service": _service_of(request, form)}
    return render(request, "apikeys/new_key.html", context, status=status)


def _service_of(request: AccountRequest, form: APIKeyForm) -> Service | None:
    """The service whose page linked to the form."""
    id = form["for_service"].value() or ""
    return Service.objects.visible_to(request.account).filter(pk=id).first() if ids.is_id(id) else None


class FirstCalls(NamedTuple):
    """Example requests that show whether a service's gateway accepts a new key. `host` is empty if it is unknown."""

    service: Service
    host: str
    url: str
    method: str


def _first_calls(request: AccountRequest, form: APIKeyForm, api_key: APIKey) -> FirstCalls | None:
    """First calls for the service whose page linked to the form, if the key can access it."""
    service = _service_of(request, form)
    entry = service and scopes.entry_of(api_key.access, service.pk)
    if service is None or (entry is None and api_key.access is not None):
        return None
    host = HostForm.host_in(form.cleaned_data["host"])
    path = entry.paths[0].removesuffix("/*") if entry and entry.paths else ""
    url = f"https://{host or configurations.HOST.example}{quote(path or '/')}"
    return FirstCalls(service, host, url, "POST" if api_key.permission == KeyPermission.WRITE else "GET")


@account_page(Permission.API_KEY_CHANGE)
@require_POST
def key_summary(request: AccountRequest) -> HttpResponse:
    """A summary of the key in the form. htmx requests it while the form is filled in."""
    summary = summary_of(KeySettingsForm(request.POST, account=request.account))
    return render(request, "apikeys/_summary.html", {"summary": summary})


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def rotate_key(request: AccountRequest, id: str) -> HttpResponse:
    """The form for the overlap. Only its response shows the new key."""
    api_key = _api_key(request, id)
    form = RotateForm(request.POST) if request.method == "POST" else RotateForm(initial=initial_data(request).dict())
    if form.is_bound and form.is_valid():
        overlap = Overlap(form.cleaned_data["overlap"])
        try:
            issued = services.rotate_api_key(
                actor=request.actor, api_key=api_key, overlap=overlap, id=form.cleaned_data["id"]
            )
        except AlreadyExists:
            return _already_created(request, form.cleaned_data["id"])
        api_key.refresh_from_db()
        return _reveal(request, issued, predecessor=api_key)
    context = {"api_key": api_key, "form": form, "ends": form.ends(api_key)}
    return render(request, "apikeys/rotate_key.html", context, status=status_of(form))


@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def import_keys(request: AccountRequest) -> HttpResponse:
    """Import keys of another system, by their digests."""
    sent = request.method == "POST"
    form = ImportForm(request.POST, request.FILES) if sent else ImportForm(initial=initial_data(request).dict())
    if form.is_bound and form.is_valid():
        try:
            imported = services.import_api_keys(actor=request.actor, rows=form.rows)
        except Invalid as error:
            form.refuse(error)
        else:
            number = len(imported)
            keys = "1 API key" if number == 1 else f"{number:,} API keys"
            messages.success(
                request, f"{keys} imported. Send GET /v2 with each key to see which account it belongs to."
            )
            return redirect("apikeys:keys", request.account.slug)
    return render(request, "apikeys/import_keys.html", {"form": form}, status=status_of(form))


def _reveal(
    request: AccountRequest,
    issued: Issued,
    *,
    predecessor: APIKey | None = None,
    first_calls: FirstCalls | None = None,
) -> HttpResponse:
    context = {
        "issued": issued,
        "predecessor": predecessor,
        "first_calls": first_calls,
        "first_call": Call("GET", links.on_page("/v2", request), key=issued.secret),
    }
    response = render(request, "apikeys/reveal.html", context)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _already_created(request: AccountRequest, id: str) -> HttpResponse:
    existing = APIKey.objects.for_account(request.account).filter(pk=id).first()
    return render(request, "apikeys/already_created.html", {"api_key": existing})


# Changing -----------------------------------------------------------------------------------------


@account_page(Permission.API_KEY_CHANGE)
def edit_key(request: AccountRequest, id: str) -> HttpResponse:
    """Change settings. Asks for the password again only if the change widens the key."""
    api_key = _api_key(request, id)
    if api_key.revoked_at is not None:
        raise InvalidState("A revoked key can't be changed.")
    if request.method != "POST":
        form = EditKeyForm(pop_kept_form(request), account=request.account, api_key=api_key)
        return _edit_form(request, api_key, form)
    form = EditKeyForm(request.POST, account=request.account, api_key=api_key)
    if not form.is_valid():
        return _edit_form(request, api_key, form, status=422)
    widened = services.widens_api_key(api_key, **form.changes)
    return recently_authenticated(_change)(request, api_key, form) if widened else _change(request, api_key, form)


def _change(request: AccountRequest, api_key: APIKey, form: EditKeyForm) -> HttpResponse:
    try:
        services.change_api_key(actor=request.actor, api_key=api_key, **form.changes)
    except DomainError as error:
        add_service_error(form, error)
        return _edit_form(request, api_key, form, status=422)
    messages.success(request, "Changes saved. They take effect on the next request.")
    return redirect("apikeys:key", request.account.slug, api_key.pk)


def _edit_form(request: AccountRequest, api_key: APIKey, form: EditKeyForm, *, status: int = 200) -> HttpResponse:
    context = {"api_key": api_key, "form": form, "summary": summary_of(form)}
    return render(request, "apikeys/edit_key.html", context, status=status)


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
def disable_key(request: AccountRequest, id: str) -> HttpResponse:
    api_key = _api_key(request, id)
    if request.method == "POST":
        services.disable_api_key(actor=request.actor, api_key=api_key)
        messages.success(request, f"API key {api_key.name} disabled")
        return redirect("apikeys:key", request.account.slug, api_key.pk)
    return render(request, "apikeys/disable_key.html", {"api_key": api_key})


@account_page(Permission.API_KEY_CHANGE)
@require_POST
def enable_key(request: AccountRequest, id: str) -> HttpResponse:
    api_key = services.enable_api_key(actor=request.actor, api_key=_api_key(request, id))
    messages.success(request, f"API key {api_key.name} enabled")
    return redirect("apikeys:key", request.account.slug, api_key.pk)


# Revoking -----------------------------------------------------------------------------------------


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def revoke_key(request: AccountRequest, id: str) -> HttpResponse:
    api_key = _api_key(request, id)
    if request.method == "POST":
        services.revoke_api_key(actor=request.actor, api_key=api_key)
        messages.success(request, f"API key {api_key.name} revoked")
        return redirect("apikeys:keys", request.account.slug)
    context = {"api_key": api_key, "is_used_at_services": _are_used_at_services([api_key])}
    return render(request, "apikeys/revoke_key.html", context)


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_CHANGE)
@recently_authenticated
def revoke_keys(request: AccountRequest) -> HttpResponse:
    """Revoke the keys that were selected in the list. Their ids are in the URL or in the form."""
    selected = request.POST if request.method == "POST" else initial_data(request)
    not_revoked = (State.ACTIVE, State.DISABLED, State.EXPIRED)
    ids = [id for id in selected.getlist("id") if "\0" not in id]  # PostgreSQL accepts no NUL
    api_keys = APIKey.objects.for_account(request.account).in_state(*not_revoked).filter(pk__in=ids)
    if request.method == "POST":
        number = len(services.revoke_api_keys(actor=request.actor, api_keys=api_keys))
        messages.success(request, "1 API key revoked" if number == 1 else f"{number} API keys revoked")
        return redirect("apikeys:keys", request.account.slug)
    to_revoke = list(api_keys.order_by("name", "pk"))
    context = {"api_keys": to_revoke, "is_used_at_services": _are_used_at_services(to_revoke)}
    return render(request, "apikeys/revoke_keys.html", context)


def _are_used_at_services(api_keys: Sequence[APIKey]) -> bool:
    """Whether these keys were used at services. There, open connections may outlive a revoked key."""
    return bool(api_keys) and KeyUsage.objects.at_services(api_keys).exists()


def _api_key(request: AccountRequest, id: str) -> APIKey:
    return get_object_or_404(APIKey.objects.for_account(request.account), pk=id)
