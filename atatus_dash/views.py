"""Pages that need both apps, and the probes."""

from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from accounts.access import LAST_ACCOUNT, AccountRequest, SignedInRequest, account_page, signed_in
from accounts.models import Account, AuditEvent, Deployment, Project
from accounts.policy import Permission
from apikeys.models import APIKey, State

LATEST = 5


@signed_in
def home(request: SignedInRequest) -> HttpResponse:
    """Lead to the Overview of the account that was open last, or of the first one."""
    accounts = Account.objects.of(request.user)
    account = accounts.filter(slug=request.session.get(LAST_ACCOUNT)).first() or accounts.first()
    if account is None:
        return render(request, "no_account.html")
    return redirect("overview", slug=account.slug)


@account_page(Permission.ACCOUNT_READ)
def overview(request: AccountRequest) -> HttpResponse:
    account = request.account
    deployments = Deployment.objects.for_account(account).select_related("project")
    keys = APIKey.objects.for_account(account)
    may_make_keys = request.actor.may(Permission.API_KEY_CHANGE)
    context = {
        "active_keys": keys.in_state(State.ACTIVE).count(),
        "projects": Project.objects.for_account(account).count(),
        "deployments": deployments.count(),
        "latest_deployments": deployments[:LATEST],
        "latest_events": AuditEvent.objects.for_account(account)[:LATEST],
        "guide": may_make_keys and not keys.filter(last_used_at__isnull=False).exists(),
        "api": request.build_absolute_uri("/v2"),
    }
    return render(request, "overview.html", context)


def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """The process can answer: database, cache and migrations are as they should be."""
    results = {"database": _database, "migrations": _migrations, "cache": _cache}
    states = {name: _works(probe) for name, probe in results.items()}
    return JsonResponse(states, status=200 if all(states.values()) else 503)


def _works(probe: object) -> bool:
    try:
        return bool(probe())  # type: ignore[operator]
    except Exception:
        return False


def _database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def _migrations() -> bool:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _cache() -> bool:
    cache.set("readyz", "1", timeout=10)
    return bool(cache.get("readyz") == "1")
