"""Pages of services."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.vary import vary_on_headers

from accounts import keyset, links
from accounts.decorators import AccountRequest, account_page, pop_kept_form, recently_authenticated, redirect_whole_page
from accounts.errors import DomainError
from accounts.forms import add_service_error, status_of
from accounts.models import Account, AuditEvent
from accounts.policy import Permission

from .. import charts, scopes
from .. import services as actions
from ..forms import EditServiceForm, HostForm, ServiceForm
from ..guard import configurations
from ..guard.configurations import GATEWAYS, Gateway
from ..models import APIKey, KeyUsage, KeyUsageQuerySet, Service, State
from ..scopes import Entry
from ..usage import problems

PAGE_SIZE = 25
LATEST_EVENTS = 10
NEWEST_KEYS = 10
#: The most keys or accounts in a service's usage: those with the most requests.
MAX_USERS = 25
#: The session key for the service, gateway and host of the configuration that was shown last.
LAST_CONFIGURATION = "configuration"


@account_page(Permission.SERVICE_READ)
def services(request: AccountRequest) -> HttpResponse:
    visible = Service.objects.visible_to(request.account)
    try:
        page = keyset.page(visible, size=PAGE_SIZE, cursor=request.GET.get("page", ""))
    except ValueError:  # a URL that was edited by hand
        page = keyset.page(visible, size=PAGE_SIZE)
    ids = [service.pk for service in page]
    own = [service.pk for service in page if service.account_id == request.account.id]
    usage = KeyUsage.objects.visible_to(request.account, own_services=own)
    sparks = charts.sparks_by(usage, "service", ids) if ids else {}
    keys = {}
    if request.actor.may(Permission.API_KEY_READ):
        keys = APIKey.objects.for_account(request.account).in_state(State.ACTIVE).count_with_access_to(ids)
    rows = [(service, sparks[service.pk], keys.get(service.pk), _connection(service)["unlisted"]) for service in page]
    return render(request, "apikeys/services.html", {"page": page, "rows": rows})


@account_page(Permission.SERVICE_READ)
def service(request: AccountRequest, id: str) -> HttpResponse:
    """The page of one service. For another account's shared service it shows only the name."""
    service = _service(request, id)
    events = AuditEvent.objects.for_account(request.account).filter(target_id=service.id)
    keys = _keys_opening(request, service) if Permission.API_KEY_READ in request.actor.permissions else []
    context = {
        "service": service,
        "asked_at": links.for_gateways(f"/v2/verify/{service.id}/", request),
        "check_at": links.for_gateways(f"/v2/verify/{service.id}", request),
        "keys": keys[:NEWEST_KEYS],
        "has_more_keys": len(keys) > NEWEST_KEYS,
        "events": events[:LATEST_EVENTS],
        **_use(request, service),
    }
    if service.account_id == request.account.id:
        context |= {**_configuration(request, service), **_connection(service)}
        context["received"] = _received(request, service, [api_key for api_key, _ in keys])
    context["new_key_query"] = _new_key_query(service, host=context.get("host", ""))
    return render(request, "apikeys/service.html", context)


def _new_key_query(service: Service, *, host: str) -> str:
    """The query string for the form of a new key for only this service. It makes the form link back to its page."""
    query = {"access": "chosen", "service": service.id, "for_service": service.id}
    return urlencode({**query, "host": host} if host else query)


def _received(request: AccountRequest, service: Service, keys: Sequence[APIKey]) -> dict[str, str]:
    """The headers that the service receives, for a key that can access it, as an example."""
    api_key = keys[0] if keys else None
    return {
        "X-Account": "the account's slug" if service.shared else request.account.slug,
        "X-Api-Key-Id": api_key.id if api_key else "key_…",
        "X-Api-Key-Name": quote(api_key.name, safe="") if api_key else "Nightly%20report",
        "X-Api-Key-Permission": api_key.permission if api_key else "read",
        "X-Request-ID": "0f6b2c…",
    }


def _configuration(request: AccountRequest, service: Service) -> dict[str, Any]:
    """The configuration of the gateway in the URL, or else of the gateway that this service's page showed last.

    So the page looks the same after its reader edits the service or creates a key for it.
    """
    last = request.session.get(LAST_CONFIGURATION, {})
    chosen = {**(last if last.get("service") == service.id else {}), **request.GET.dict()}
    gateway = GATEWAYS.get(chosen.get("gateway", "")) or next(iter(GATEWAYS.values()))
    form = HostForm(chosen)
    host = form.cleaned_data["host"] if form.is_valid() else ""
    shown = {"service": service.id, "gateway": gateway.name, "host": host}
    if request.GET and shown != last:
        request.session[LAST_CONFIGURATION] = shown
    examples = configurations.examples(gateway, upstream=service.upstream, host=host)
    return {
        "gateways": GATEWAYS.values(),
        "gateway": gateway,
        "files": [(file, _highlighted(file.text, examples)) for file in _files(request, service, gateway, host)],
        "host_form": form,
        "host": host,
        "url": f"https://{host or configurations.HOST.example}/",
    }


def _files(request: AccountRequest, service: Service, gateway: Gateway, host: str = "") -> list[configurations.File]:
    guard = links.for_gateways("/", request).rstrip("/")
    return configurations.files(gateway, service=service.id, guard=guard, upstream=service.upstream, host=host)


def _highlighted(text: str, examples: list[str]) -> SafeString:
    """A configuration as HTML, with comments and the examples to replace highlighted."""
    lines = [
        f'<span class="c">{line}</span>' if line.lstrip().startswith(("#", "--")) else line
        for line in str(escape(text)).split("\n")
    ]
    html = "\n".join(lines)
    if examples:
        pattern = "|".join(re.escape(str(escape(example))) for example in examples)
        html = re.sub(pattern, lambda found: f"<mark>{found[0]}</mark>", html)
    return mark_safe(html)  # noqa: S308  escaped above


@account_page(Permission.SERVICE_READ)
def configuration(request: AccountRequest, id: str, gateway: str, file: str = "") -> HttpResponse:
    """A file of a gateway's configuration: the one in the URL, or the first."""
    service = _own(request, id)
    if gateway not in GATEWAYS:
        raise Http404
    host = HostForm.host_in(request.GET.get("host", ""))
    files = {found.name: found for found in _files(request, service, GATEWAYS[gateway], host)}
    found = files.get(file) if file else next(iter(files.values()))
    if found is None:
        raise Http404
    name = {"Content-Disposition": f'attachment; filename="{found.name}"'}
    return HttpResponse(found.text, content_type="text/plain; charset=utf-8", headers=name)


@account_page(Permission.SERVICE_READ)
def connection(request: AccountRequest, id: str) -> HttpResponse:
    """The connection status of a service's gateway, which the page polls.

    The status is 204 while the page already shows the current one. `seen` is the problem that the page shows, or empty.
    """
    service = _own(request, id)
    context = _connection(service)
    if not service.is_connected and request.GET.get("seen") == context["problem"]:
        return HttpResponse(status=204)
    return render(request, "apikeys/_connection.html", {"service": service, "is_answer": True, **context})


def _connection(service: Service) -> dict[str, Any]:
    problem = service.problem if service.has_recent_problem and not service.is_connected else ""
    return {
        "problem": problem,
        "unlisted": problems.unlisted_in(problem),
        # HTTPS is served by a proxy only, which refuses unlisted gateways before their requests reach this server.
        "asked_through_proxy": settings.GUARD_URL.startswith("https:"),
    }


def _keys_opening(request: AccountRequest, service: Service) -> list[tuple[APIKey, Entry | None]]:
    """The account's newest keys that can access the service, one more than is shown, with their entries for it."""
    keys = APIKey.objects.for_account(request.account).in_state(State.ACTIVE).with_access_to(service.pk)
    return [(api_key, scopes.entry_of(api_key.access, service.pk)) for api_key in keys[: NEWEST_KEYS + 1]]


def _use(request: AccountRequest, service: Service) -> dict[str, Any]:
    """Usage in 30 days: by account if this account owns a shared service, otherwise by the account's keys."""
    if service.shared and service.account_id == request.account.id:
        usage = KeyUsage.objects.at_own_services([service.id])
        users = {"by_account": _busiest(usage, "api_key__account", Account.objects.all())}
    else:
        usage = KeyUsage.objects.for_account(request.account).matching(service=service.id)
        users = {"by_key": _busiest(usage, "api_key", APIKey.objects.for_account(request.account))}
    return {"chart": charts.chart(charts.by_day(usage, charts.MONTH)), "most": MAX_USERS, **users}


def _busiest(usage: KeyUsageQuerySet, column: str, users: QuerySet[Any]) -> list[tuple[Any, charts.Use]]:
    """The keys or accounts with the most requests that `users` contains."""
    uses = charts.by_value(usage, column, charts.MONTH, most=MAX_USERS)
    found = users.in_bulk(list(uses))
    return [(found[id], use) for id, use in uses.items() if id in found]


@vary_on_headers("HX-Request")
@account_page(Permission.SERVICE_CHANGE)
def new_service(request: AccountRequest) -> HttpResponse:
    form = ServiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        service = actions.create_service(actor=request.actor, **form.cleaned_data)
        messages.success(request, f"Service {service.name} created")
        return redirect_whole_page(request, "apikeys:service", request.account.slug, service.pk)
    return render(request, "apikeys/new_service.html", {"form": form}, status=status_of(form))


@account_page(Permission.SERVICE_CHANGE)
def edit_service(request: AccountRequest, id: str) -> HttpResponse:
    """Change settings. Asks for the password again only if the change widens the service."""
    service = _changeable(request, id)
    if request.method != "POST":
        typed = pop_kept_form(request) or _with_gateway(service, request.GET.get("gateway", ""))
        return _edit_form(request, service, EditServiceForm(typed, service=service))
    form = EditServiceForm(request.POST, service=service)
    if not form.is_valid():
        return _edit_form(request, service, form, status=422)
    widened = actions.widens_service(service, **form.changes)
    return recently_authenticated(_change)(request, service, form) if widened else _change(request, service, form)


def _with_gateway(service: Service, gateway: str) -> QueryDict | None:
    """The form's data with one more gateway, which the member still has to save."""
    if not gateway:
        return None
    typed = QueryDict(mutable=True)
    for name, value in EditServiceForm.settings_of(service).items():
        if value:
            typed[name] = "on" if value is True else value
    typed["gateways"] = "\n".join([*service.gateways, gateway])
    return typed


def _change(request: AccountRequest, service: Service, form: EditServiceForm) -> HttpResponse:
    try:
        actions.change_service(actor=request.actor, service=service, **form.changes)
    except DomainError as error:
        add_service_error(form, error)
        return _edit_form(request, service, form, status=422)
    messages.success(request, "Changes saved. They take effect on the next request.")
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
        messages.success(request, f"Service {service.name} deleted")
        return redirect("apikeys:services", request.account.slug)
    return render(request, "apikeys/delete_service.html", {"service": service})


def _service(request: AccountRequest, id: str) -> Service:
    return get_object_or_404(Service.objects.visible_to(request.account), pk=id)


def _own(request: AccountRequest, id: str) -> Service:
    """The account's own service. For a shared service, other accounts can't see this page."""
    return get_object_or_404(Service.objects.for_account(request.account), pk=id)


def _changeable(request: AccountRequest, id: str) -> Service:
    """Raises `NotPermitted` for a shared service of another account."""
    service = _service(request, id)
    actions.require_may_change(request.actor, service)
    return service
