"""Items for the clients."""

from datetime import UTC, datetime

from accounts.models import Account
from accounts.policy import Role
from tests import factories


def create() -> dict[str, str | int]:
    """Their ids and keys."""
    account = Account.objects.get(slug="acme")
    member = factories.make_member(account, Role.USER, "colleague@example.com")
    key = factories.make_key(account, "Clients", administrator=True)
    other = factories.make_key(account, "Other")
    service = factories.make_service(account, "Guarded", gateways=["127.0.0.1/32"])
    factories.make_usage(other.api_key, datetime.now(UTC).date(), requests=3)
    return {
        "key": key.secret,
        "key_id": key.api_key.pk,
        "other_key": other.secret,
        "leaked_key": factories.make_key(account, "Leaked").secret,
        "service": service.id,
        "member": member.memberships.get().pk,
    }
