"""How cookies are called."""

from django.conf import settings


def name(plain: str) -> str:
    """The name of a cookie of ours as it travels: with `__Host-` where TLS is."""
    return f"{settings.COOKIE_PREFIX}{plain}"
