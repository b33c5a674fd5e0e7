"""Pages that need both apps, and the probes."""

from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from accounts.access import LAST_ACCOUNT, AccountRequest, account_page
from accounts.models import Account
from accounts.policy import Permission


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Lead to the Overview of the account that was open last, or of the first one."""
    accounts = Account.objects.of(request.user)
    account = accounts.filter(slug=request.session.get(LAST_ACCOUNT)).first() or accounts.first()
    if account is None:
        return render(request, "no_account.html")
    return redirect("overview", slug=account.slug)


@account_page(Permission.ACCOUNT_READ)
def overview(request: AccountRequest) -> HttpResponse:
    return render(request, "overview.html")


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
