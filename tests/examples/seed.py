"""A service and keys for the examples."""

from collections.abc import Iterable
from typing import Any

from accounts.models import Account
from accounts.policy import KeyPermission
from apikeys import scopes
from tests import factories


def create(limited: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The id of the service, and the secrets of the keys. Those named in `limited` can be used once a day."""
    account = Account.objects.get(slug="acme")
    service = factories.make_service(account, gateways=["127.0.0.1/32"])

    def make(**fields: Any) -> str:
        return factories.make_key(account, permission=KeyPermission.READ, **fields).secret

    return service.id, {
        "read": make(),
        "reports": make(access=scopes.store((scopes.Entry(service.id, ("/reports/*",)),))),
        "network": make(allowed_networks=["203.0.113.0/24"]),
        "local": make(allowed_networks=["127.0.0.1/32"]),
        **{name: make(rate_limit="1/day") for name in limited},
    }
