"""Fills a new database with the demonstration and more, and prints ids and keys for schemathesis as JSON."""

import json

import django


def main() -> None:
    django.setup()
    from django.core.management import call_command

    from accounts.models import Account
    from accounts.policy import KeyPermission
    from tests import factories

    call_command("migrate", verbosity=0)
    call_command("demo")
    account = Account.objects.get(slug="acme")
    factories.make_service(factories.make_account("Elsewhere"), shared=True)
    factories.make_service(account, "Guarded", gateways=["127.0.0.1/32"])
    factories.make_invitation(account, "invited@example.com")
    keys = {
        "administrator": factories.make_key(account, "Fuzz: administrator", administrator=True),
        "read": factories.make_key(account, "Fuzz: read", permission=KeyPermission.READ),
        "write": factories.make_key(account, "Fuzz: write", permission=KeyPermission.WRITE),
    }
    secrets = {name: [issued.api_key.pk, issued.secret] for name, issued in keys.items()}
    print(json.dumps(secrets))  # noqa: T201


if __name__ == "__main__":
    main()
