"""The demonstration and more, and keys for schemathesis."""

import io

from django.core.management import call_command

from accounts.models import Account
from accounts.policy import KeyPermission
from tests import factories


def create() -> dict[str, tuple[str, str]]:
    """The ids and secrets of the keys. The database is empty before."""
    call_command("migrate", verbosity=0)
    call_command("demo", stdout=io.StringIO())
    account = Account.objects.get(slug="acme")
    factories.make_service(factories.make_account("Elsewhere"), shared=True)
    factories.make_service(account, "Guarded", gateways=["127.0.0.1/32"])
    factories.make_invitation(account, "invited@example.com")
    keys = {
        "administrator": factories.make_key(account, "Fuzz: administrator", administrator=True),
        "read": factories.make_key(account, "Fuzz: read", permission=KeyPermission.READ),
        "changed": factories.make_key(account, "Fuzz: changed"),
        "write": factories.make_key(account, "Fuzz: write", permission=KeyPermission.WRITE),
    }
    return {name: (issued.api_key.pk, issued.secret) for name, issued in keys.items()}
