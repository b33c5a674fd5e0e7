"""The account's name and its policy for keys."""

from typing import cast

from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.models import Account
from accounts.policy import Permission
from accounts.services import AccountSettings

from ..base import APIView
from ..serializers import ModelSerializer, StrictSerializer, writable


class AccountSerializer(StrictSerializer, ModelSerializer[Account]):
    class Meta:
        model = Account
        fields = [
            "slug",
            *writable("name", "max_key_lifetime_days", "accepts_query", "accepts_body", "revoke_exposed_keys"),
            "requires_two_factor",
            "created_at",
        ]


class AccountView(APIView):
    permissions = {"GET": Permission.ACCOUNT_READ, "PATCH": Permission.ACCOUNT_CHANGE}
    operations = {"GET": "get_account", "PATCH": "change_account"}
    request_serializers = {"PATCH": AccountSerializer}
    response_serializers = {"GET": AccountSerializer, "PATCH": AccountSerializer}
    has_etag = True

    def get(self, request: Request) -> Response:
        """Get the account."""
        return self.item(self.get_object())

    def patch(self, request: Request) -> Response:
        """Change the account's settings.

        A field that is left out keeps its value.
        """
        fields = cast(AccountSettings, self.validated())
        return self.item(services.change_account(actor=self.actor, **fields))

    def get_object(self) -> Account:
        return Account.objects.get(pk=self.actor.account.id)
