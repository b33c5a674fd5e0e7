"""A service in Django behind docs/examples/django_guard.py. gunicorn runs it."""

from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import re_path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="a service's own", MIDDLEWARE=["django_guard.Guard"]
)
django.setup()


def echo(request: Any) -> JsonResponse:
    return JsonResponse({"account": request.account, "api_key": request.api_key["id"], "path": request.path})


urlpatterns = [re_path("", echo)]
application = get_wsgi_application()
