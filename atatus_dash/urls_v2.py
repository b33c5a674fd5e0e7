"""The API's routes. `atatus_dash.api` answers whatever matches none of them with a JSON 404."""

from django.urls import include, path

urlpatterns = [
    path("", include("apikeys.api.urls")),
    path("", include("accounts.api.urls")),
]
