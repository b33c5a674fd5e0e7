"""Pages, admin and probes; the API's routes stand in `urls_v2`."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from accounts.codes import GenerateRecoveryCodesView
from apikeys.api.views import WhoAmIView

from . import probes, views

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth documents it
admin.site.site_header = admin.site.site_title = "Atatus Dash"

urlpatterns = [
    path("v2", WhoAmIView.as_view()),
    path("v2/", include("atatus_dash.urls_v2")),
    path("", views.home, name="home"),
    path("healthz", probes.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    # In front of allauth's view of the same name and address.
    path("auth/2fa/recovery-codes/generate/", GenerateRecoveryCodesView.as_view(), name="mfa_generate_recovery_codes"),
    path("auth/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path("accounts/<slug:slug>/", views.overview, name="overview"),
    path("accounts/<slug:slug>/settings/api-keys/", include("apikeys.urls")),
    path("admin/", admin.site.urls),
]
