"""Pages, admin and probes; the API's routes stand in `api.urls`."""

from inspect import unwrap

from django.contrib import admin
from django.urls import include, path
from django.views import defaults

from accounts.codes import GenerateRecoveryCodesView

from . import probes, views

urlpatterns = [
    path("", include("atatus_dash.api.urls")),
    path("", views.home, name="home"),
    path("healthz", probes.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    # In front of allauth's view of the same name and address.
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

# Django's own, but for their look into the form for a CSRF token, which they don't use: a form that can't be read
# would make a 500 of a refusal.
handler400 = unwrap(defaults.bad_request)
handler404 = unwrap(defaults.page_not_found)
#: What no view answers for: a middleware, a template of an error page, the saving of a session.
handler500 = views.server_error
