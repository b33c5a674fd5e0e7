"""Names of cookies."""

from django.conf import settings


def name(plain: str) -> str:
    """A cookie's name as it is sent: with the prefix `__Host-` under TLS."""
    return f"{settings.COOKIE_PREFIX}{plain}"
