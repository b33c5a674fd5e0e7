"""Services and keys of every kind for the gateways."""

import io
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.utils import timezone

from accounts.models import Account
from accounts.policy import KeyPermission
from apikeys import scopes
from tests import factories

GATEWAYS = ("nginx", "caddy", "traefik", "envoy", "haproxy")


def create() -> dict[str, Any]:
    """The ids of the services and the secrets of the keys."""
    call_command("maintenance", "on", stdout=io.StringIO())  # every row of the table must pass in maintenance
    account = Account.objects.get(slug="acme")
    plenty = "1000000/minute"
    service = factories.make_service(account, gateways=["127.0.0.1/32"])
    browsers = factories.make_service(account, "Browsers", gateways=["127.0.0.1/32"], preflight=True, query_keys=True)
    reading = factories.make_service(account, "Reading", gateways=["127.0.0.1/32"], reading_paths=["/reports/*"])
    now = timezone.now()

    def make(permission: KeyPermission, **fields: object) -> str:
        fields = {"rate_limit": plenty, **fields}
        return factories.make_key(account, "Ünï, key", permission, **fields).secret

    read, write = KeyPermission.READ, KeyPermission.READ_WRITE
    keys = {
        "read": make(read),
        "write": make(write),
        "revoked": make(write, revoked_at=now),
        "expired": make(write, expires_at=now - timedelta(days=1)),
        "disabled": make(write, disabled_at=now),
        "network": make(write, allowed_networks=["127.0.0.2/32"]),
        "reports": make(write, access=scopes.store((scopes.Entry(service.id, ("/reports/*",)),))),
        "elsewhere": make(write, access=scopes.store((scopes.Entry(scopes.API),))),
        "stranger": factories.make_key(factories.make_account("Elsewhere"), rate_limit=plenty).secret,
        # A separate key for each gateway, because they share the limits otherwise.
        **{f"limited-{name}": make(write, rate_limit="2/day") for name in GATEWAYS},
        **{f"twice-{name}": make(write, rate_limit="1/day") for name in GATEWAYS},
    }
    return {"service": service.id, "browsers": browsers.id, "reading": reading.id, "keys": keys}
