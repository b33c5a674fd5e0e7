from django.apps import AppConfig

from accounts import redaction

from . import tokens


class APIKeysConfig(AppConfig):
    name = "apikeys"
    verbose_name = "API keys"

    def ready(self) -> None:
        redaction.register(tokens)
