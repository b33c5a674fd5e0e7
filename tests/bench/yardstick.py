"""The yardsticks, as separate WSGI applications: `BENCH_VIEW` chooses the view.

`bare` is a default DRF view that returns the same JSON, without authentication, limit, count or middleware. `plain` is
the same as a plain Django view. `api_key` is the DRF view with djangorestframework-api-key, which neither limits nor
counts.
"""

import os
from collections.abc import Callable

import django
from django.conf import settings

VIEW = os.environ["BENCH_VIEW"]

settings.configure(
    SECRET_KEY="only-for-the-benchmark",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "rest_framework_api_key"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("BENCH_DATABASE", ":memory:"),
            "CONN_MAX_AGE": None,
        }
    },
    MIDDLEWARE=[],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponseBase, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.permissions import BasePermission  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_api_key.permissions import HasAPIKey  # noqa: E402

ANSWER = {
    "account": {"slug": "bench", "name": "Bench"},
    "api_key": {
        "id": "key_0000000000000000",
        "name": "Key 1",
        "permission": "read",
        "administrator": False,
        "expires_at": None,
    },
    "rate_limit": {"limit": 600, "remaining": 599, "window": 60},
}


class Bare(APIView):
    authentication_classes = ()
    permission_classes: tuple[type[BasePermission], ...] = ()

    def get(self, request: Request) -> Response:
        return Response(ANSWER)


class Guarded(Bare):
    permission_classes = (HasAPIKey,)


def plain(request: HttpRequest) -> JsonResponse:
    return JsonResponse(ANSWER)


VIEWS: dict[str, Callable[..., HttpResponseBase]] = {
    "bare": Bare.as_view(),
    "plain": plain,
    "api_key": Guarded.as_view(),
}

urlpatterns = [path("v2", VIEWS[VIEW])]
application = get_wsgi_application()
