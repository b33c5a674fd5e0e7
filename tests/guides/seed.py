"""Creates an account for each guide, with its reader's items, and prints them as shell variables, in JSON."""

import json
import sys

import django


def main(names: list[str]) -> None:
    django.setup()
    from accounts.models import Account
    from tests import factories

    variables = {}
    for name in names:
        # These guides show the demonstration's account.
        is_shown = name in ("quick-start", "readme")
        account = Account.objects.get(slug="acme") if is_shown else factories.make_account(name)
        variables[name] = {
            "ACCOUNT": account.slug,
            "KEY": factories.make_key(account, "Deploys").secret,
            "ADMINISTRATOR_KEY": factories.make_key(account, "Administration", administrator=True).secret,
            "PROJECT": factories.make_project(account).id,
        }
    print(json.dumps(variables))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
