from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.contrib.staticfiles import apps as staticfiles


class AtatusDashConfig(AppConfig):
    name = "atatus_dash"
    verbose_name = "Atatus Dash"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers the checks


class OperatorAdminConfig(admin.AdminConfig):
    """django.contrib.admin with our site."""

    default = False  # AtatusDashConfig is this package's default
    default_site = "atatus_dash.admin_site.OperatorSite"


class StaticFilesConfig(staticfiles.StaticFilesConfig):
    """django.contrib.staticfiles without the files of DRF's browsable API, which is off."""

    default = False  # as above
    ignore_patterns = [*staticfiles.StaticFilesConfig.ignore_patterns, "rest_framework"]
