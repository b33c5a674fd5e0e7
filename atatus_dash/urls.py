"""Routes of pages, admin and health checks. The API's are in `api.urls`."""

from inspect import unwrap

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views import defaults

from accounts.codes import GenerateRecoveryCodesView

from . import probes, reference, views

urlpatterns = [
    path("", include("atatus_dash.api.urls")),
    path("", views.home, name="home"),
    path("healthz", probes.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    # Before allauth's view of the same name and path.
    path("auth/2fa/recovery-codes/generate/", GenerateRecoveryCodesView.as_view(), name="mfa_generate_recovery_codes"),
    path("auth/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path("accounts/<slug:slug>/", views.overview, name="overview"),
    path("accounts/<slug:slug>/find/", views.find, name="find"),
    path("accounts/<slug:slug>/guide/", views.guide, name="guide"),
    path("accounts/<slug:slug>/settings/api-keys/<id:id>/test/", views.test_request, name="test_request"),
    path("accounts/<slug:slug>/", include("apikeys.urls")),
    path("admin/", admin.site.urls),
]

if settings.API_DOCS:
    urlpatterns += [
        path(".well-known/api-catalog", reference.api_catalog, name="api_catalog"),
        path("accounts/<slug:slug>/reference/", reference.start, name="reference"),
        path("accounts/<slug:slug>/reference/errors/", reference.errors, name="reference_errors"),
        path("accounts/<slug:slug>/reference/guides/<slug:name>/", reference.guide, name="reference_guide"),
        path("accounts/<slug:slug>/reference/<slug:resource>/", reference.resource, name="reference_resource"),
    ]

# Django's own without their decorator `requires_csrf_token`: it reads the form, and a malformed form would turn a 400
# into a 500.
handler400 = unwrap(defaults.bad_request)
handler404 = unwrap(defaults.page_not_found)
#: For errors outside of views: in middleware, in an error page's template, while a session is saved.
handler500 = views.server_error
