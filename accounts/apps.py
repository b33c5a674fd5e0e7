from django.apps import AppConfig
from django.db.backends.signals import connection_created


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from . import redaction, sign_in  # noqa: F401  # sign_in connects its signal receivers

        connection_created.connect(redaction.mask_connection)
