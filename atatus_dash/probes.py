"""Health checks for supervisors and load balancers: `/healthz`, `/readyz`. Open to all, over plain HTTP too."""

from collections.abc import Callable

from django.conf import settings
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse


def healthz(_request: HttpRequest) -> HttpResponse:
    """The process is alive. Database and Redis are not checked."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(_request: HttpRequest) -> HttpResponse:
    """Whether database, migrations and cache are ready, each by name. The status is 503 if one is not.

    With `LIMITS_WITHOUT_REDIS=allow` the cache is optional.
    """
    probes = {"database": _database, "migrations": _migrations, "cache": _cache}
    states = {name: _works(probe) for name, probe in probes.items()}
    optional = {"cache"} if settings.LIMITS_WITHOUT_REDIS == "allow" else set()
    is_ready = all(works or name in optional for name, works in states.items())
    return JsonResponse(states, status=200 if is_ready else 503)


def _works(probe: Callable[[], bool]) -> bool:
    try:
        return probe()
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
