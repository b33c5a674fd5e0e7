"""An account for each guide, with its reader's items."""

from collections.abc import Iterable

from accounts.models import Account
from tests import factories


def create(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Shell variables for the readers of these guides."""
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
    return variables
