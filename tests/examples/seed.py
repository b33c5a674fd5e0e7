"""Fills a guard's database with a service and keys, and prints their ids and secrets as JSON."""

import json
import sys
from typing import Any

import django


def main(limited: list[str]) -> None:
    """`limited` has the names of keys that can be used once a day."""
    django.setup()
    from accounts.models import Account
    from accounts.policy import KeyPermission
    from apikeys import scopes
    from tests import factories

    account = Account.objects.get(slug="acme")
    service = factories.make_service(account, gateways=["127.0.0.1/32"])

    def make(**fields: Any) -> str:
        return factories.make_key(account, permission=KeyPermission.READ, **fields).secret

    keys = {
        "read": make(),
        "reports": make(access=scopes.store((scopes.Entry(service.id, ("/reports/*",)),))),
        "network": make(allowed_networks=["203.0.113.0/24"]),
        "local": make(allowed_networks=["127.0.0.1/32"]),
        **{name: make(rate_limit="1/day") for name in limited},
    }
    print(json.dumps({"service": service.id, "keys": keys}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
