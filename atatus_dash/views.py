"""Pages that need both apps."""

import sys
from inspect import unwrap
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views import defaults
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRefresh

from accounts import links
from accounts.audit import SIGN_INS
from accounts.decorators import LAST_ACCOUNT, AccountRequest, SignedInRequest, account_page, signed_in
from accounts.forms import status_of
from accounts.models import Account, AuditEvent, Deployment, Membership, Project
from accounts.policy import Permission
from apikeys import charts, tokens
from apikeys.forms import DescribedRequestForm
from apikeys.models import AccountUsage, APIKey, KeyUsage, Service, State

from . import availability, search
from .dry_runs import DescribedRequest, dry_run

LATEST = 5
MAX_ATTENTION = 8
#: How many services the Overview counts, newest first, and over how many days.
MAX_SERVICES, SERVICE_DAYS = 100, 7

#: The chart's spans: days, days in one bar, label.
SPANS = {"7": (7, 1, "7 days"), "30": (30, 1, "30 days"), "365": (364, 7, "year")}
DEFAULT_SPAN = "30"


def server_error(request: HttpRequest) -> HttpResponse:
    """The page for an uncaught exception: 503 if the database or Redis is unavailable, else 500."""
    error = sys.exception()
    if availability.is_outage(error):
        return availability.page(availability.unavailable(error))
    # Without Django's decorator `requires_csrf_token`, which reads the form: this page uses no token.
    response: HttpResponse = unwrap(defaults.server_error)(request)
    return response


@signed_in
def home(request: SignedInRequest) -> HttpResponse:
    """Redirect to the Overview of the account that was open last, or of the first active one."""
    accounts = Account.objects.for_user(request.user).active()
    account = accounts.filter(slug=request.session.get(LAST_ACCOUNT)).first() or accounts.first()
    if account is not None:
        return redirect("overview", slug=account.slug)
    if Membership.objects.visible_to(request.user).exists():
        return redirect("accounts:accounts")
    return render(request, "no_account.html")


@account_page(Permission.ACCOUNT_READ)
def overview(request: AccountRequest) -> HttpResponse:
    """The account's requests, what needs attention, and its latest deployments and events."""
    account = request.account
    deployments = Deployment.objects.for_account(account).select_related("project")
    keys = APIKey.objects.for_account(account)
    context = {
        **_usage_chart(request),
        "active_keys": keys.in_state(State.ACTIVE).count(),
        "expiring_keys": keys.expiring().count(),
        "projects": Project.objects.for_account(account).count(),
        "deployments": deployments.count(),
        "latest_deployments": deployments[:LATEST],
        "latest_events": AuditEvent.objects.for_account(account).exclude(event__in=SIGN_INS)[:LATEST],
        "attention": _urgent_keys(request),
        **_services(request),
        "most_attention": MAX_ATTENTION,
        "guide": _guide(request),
        "api": links.on_page("/v2", request),
    }
    return render(request, "overview.html", context)


@account_page(Permission.ACCOUNT_READ)
def guide(request: AccountRequest) -> HttpResponse:
    """Polled by the first-run guide: 204 while its step is unchanged, else the next step.

    When the first call has arrived, the Overview is reloaded.
    """
    step = _guide(request)
    if step == request.GET.get("step"):
        return HttpResponse(status=204)
    if step:
        return render(request, "overview.html#guide", {"guide": step, "api": links.on_page("/v2", request)})
    if request.actor.may(Permission.API_KEY_CHANGE):
        messages.success(request, "The first call has arrived")
    return HttpResponseClientRefresh()


@vary_on_headers("HX-Request", "HX-Target")
@account_page(Permission.ACCOUNT_READ)
def find(request: AccountRequest) -> HttpResponse:
    """The account's search. The text is sent by POST, because it may be a key, which must not be in a URL."""
    typed = request.POST.get("q", "")
    context = {"found": search.search(request, typed), "typed": "" if tokens.is_in(typed) else typed}
    return render(request, "_found.html" if request.htmx.target == "found" else "find.html", context)


@vary_on_headers("HX-Request")
@account_page(Permission.API_KEY_READ)
def test_request(request: AccountRequest, id: str) -> HttpResponse:
    """*Test a request*: what would happen to a request with this key. Changes and counts nothing."""
    api_key = get_object_or_404(APIKey.objects.for_account(request.account), pk=id)
    services = Service.objects.visible_to(request.account)
    form = DescribedRequestForm(request.GET if "path" in request.GET else None, services=services)
    result = None
    if form.is_bound and form.is_valid():
        result = dry_run(
            key_id=api_key.id, described=DescribedRequest(**form.cleaned_data), api=links.on_page("/v2", request)
        )
    template = "apikeys/_test_request.html" if request.htmx else "apikeys/test_request.html"
    context = {
        "api_key": api_key,
        "test_form": form,
        "dry_run": result,
        "passing": [(one, form.name_of(one.service)) for one in result.passing] if result else [],
    }
    return render(request, template, context, status=status_of(form))


def _urgent_keys(request: AccountRequest) -> list[APIKey]:
    """The keys that most need attention. Empty for members who may not see keys."""
    if not request.actor.may(Permission.API_KEY_READ):
        return []
    urgent = APIKey.objects.for_account(request.account).needing_attention()[: 2 * MAX_ATTENTION]
    return [api_key for api_key in urgent if not api_key.is_safe_to_retire][:MAX_ATTENTION]


def _services(request: AccountRequest) -> dict[str, Any]:
    """The services with the most requests, and those that recently refused their gateway."""
    services = {service.id: service for service in Service.objects.visible_to(request.account)[:MAX_SERVICES]}
    usage = KeyUsage.objects.for_account(request.account).filter(service__in=services)
    uses = charts.by_value(usage, "service", SERVICE_DAYS, most=LATEST) if services else {}
    refused = [one for one in services.values() if one.has_recent_problem and not one.is_connected]
    may_change = request.actor.may(Permission.SERVICE_CHANGE)
    return {
        "top_services": [(services[id], use) for id, use in uses.items()],
        "service_days": SERVICE_DAYS,
        "refused_services": [one for one in refused if may_change and one.account_id == request.account.id],
    }


def _guide(request: AccountRequest) -> str:
    """The step of the first-run guide: `key`, `call`, or empty when it is done or the member may not create keys."""
    if not request.actor.may(Permission.API_KEY_CHANGE):
        return ""
    keys = APIKey.objects.for_account(request.account)
    if keys.filter(last_used_at__isnull=False).exists():
        return ""
    # Only the creator of a key knows its secret, and no member has created the demonstration's keys.
    members = Membership.objects.for_account(request.account).values("user__email")
    return "call" if keys.in_state(State.ACTIVE).filter(created_by__in=members).exists() else "key"


def _usage_chart(request: AccountRequest) -> dict[str, Any]:
    """The chart for the span in the URL, and the change from the span before it. One query."""
    span = request.GET.get("days", DEFAULT_SPAN)
    days, days_per_bar, words = SPANS.get(span, SPANS[DEFAULT_SPAN])
    every = list(charts.by_day(AccountUsage.objects.for_account(request.account), 2 * days).items())
    before = charts.Use.total(use for _, use in every[:days])
    chart = charts.chart(dict(every[days:]), days_per_bar=days_per_bar)
    growth = round(100 * (chart.total.requests / before.requests - 1)) if before.requests else None
    return {
        "chart": chart,
        "growth": growth,
        "span": span if span in SPANS else DEFAULT_SPAN,
        "span_words": words,
        "spans": [(name, label) for name, (_, _, label) in SPANS.items()],
    }
