from django.apps import AppConfig


class AtatusDashConfig(AppConfig):
    name = "atatus_dash"
    verbose_name = "Atatus Dash"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers them
